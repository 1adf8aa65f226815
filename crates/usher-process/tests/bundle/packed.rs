//! Folders that are packed, and come out of the bundle as they were.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use usher_process::bundle::{
    Bounds, Bundles, IGNORE_FILE, Member, MemberKind, PackError, Packed, pack, pack_file,
};

use super::stored::{DIGEST, tree, unpacked};

fn write(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn paths(packed: &Packed) -> Vec<&str> {
    packed
        .members
        .iter()
        .map(|member| member.path.as_str())
        .collect()
}

#[tokio::test]
async fn the_same_files_give_the_same_bytes_and_come_out_again() {
    let make = |order: [&str; 3]| {
        let root = tempfile::tempdir().unwrap();
        for path in order {
            write(root.path(), path, path.as_bytes());
        }
        fs::create_dir(root.path().join("empty")).unwrap();
        symlink("b/run", root.path().join("link")).unwrap();
        fs::set_permissions(root.path().join("b/run"), Permissions::from_mode(0o700)).unwrap();
        root
    };
    let one = make(["b/run", "b/a", "c"]);
    let other = make(["c", "b/a", "b/run"]);
    let packed = pack(one.path(), Bounds::default()).unwrap();
    assert_eq!(
        packed.bytes,
        pack(other.path(), Bounds::default()).unwrap().bytes
    );
    assert_eq!(paths(&packed), ["b", "b/a", "b/run", "c", "empty", "link"]);
    assert_eq!(packed.unpacked_bytes, 9);
    let out = unpacked(packed.bytes.to_vec()).await;
    assert_eq!(out.keys().collect::<Vec<_>>(), paths(&packed));
    assert_eq!(out["b/run"], (0o100_755, b"b/run".to_vec()));
    assert_eq!(out["c"], (0o100_644, b"c".to_vec()));
    assert_eq!(out["link"].1, b"b/run");
}

#[tokio::test]
async fn what_tools_leave_and_what_is_named_is_not_packed() {
    let root = tempfile::tempdir().unwrap();
    for path in [
        "app.py",
        ".git/config",
        "pkg/__pycache__/a.pyc",
        "pkg/a.py",
        "target/kept",
        "notes/a.md",
        "notes/keep.md",
        "deep/target/kept",
    ] {
        write(root.path(), path, b"");
    }
    let all = pack(root.path(), Bounds::default()).unwrap();
    let expected = "app.py deep deep/target deep/target/kept notes notes/a.md notes/keep.md pkg \
                    pkg/a.py target target/kept";
    assert_eq!(paths(&all).join(" "), expected);
    write(root.path(), "Cargo.toml", b"");
    let lines = b"*.md\n!keep.md\n/deep/\nCargo.toml\n!.git\n";
    write(root.path(), IGNORE_FILE, lines);
    let fewer = pack(root.path(), Bounds::default()).unwrap();
    let expected = ".git .git/config app.py notes notes/keep.md pkg pkg/a.py";
    assert_eq!(paths(&fewer).join(" "), expected);
    write(root.path(), IGNORE_FILE, b"[z-a]\n");
    assert!(matches!(
        pack(root.path(), Bounds::default()),
        Err(PackError::Ignore(_))
    ));
}

#[tokio::test]
async fn links_that_lead_out_are_told_and_those_of_an_interpreter_left_out() {
    let around = tempfile::tempdir().unwrap();
    let root = around.path().join("app");
    write(around.path(), "outside", b"secret");
    write(&root, "app.py", b"");
    write(&root, ".venv/pyvenv.cfg", b"");
    write(&root, ".venv/lib/a.py", b"");
    fs::create_dir(root.join(".venv/bin")).unwrap();
    symlink("lib", root.join(".venv/lib64")).unwrap();
    symlink("/bin/sh", root.join(".venv/bin/python3")).unwrap();
    symlink("python3", root.join(".venv/bin/python")).unwrap();
    let packed = pack(&root, Bounds::default()).unwrap();
    let expected = ".venv .venv/bin .venv/lib .venv/lib/a.py .venv/lib64 .venv/pyvenv.cfg app.py";
    assert_eq!(paths(&packed).join(" "), expected);
    unpacked(packed.bytes.to_vec()).await;
    for (target, why) in [
        ("../outside", "leads out"),
        ("/bin/sh", "leads out"),
        (".venv/lib64/a.py", "through another link"),
        (".git/config", "through what is left out"),
    ] {
        let _ = fs::remove_file(root.join("link"));
        symlink(target, root.join("link")).unwrap();
        let error = pack(&root, Bounds::default()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.to_string().contains(IGNORE_FILE), "{error}");
    }
    // Outside of an environment there is no such exception.
    fs::remove_file(root.join("link")).unwrap();
    fs::remove_file(root.join(".venv/pyvenv.cfg")).unwrap();
    assert!(matches!(
        pack(&root, Bounds::default()),
        Err(PackError::Link { .. })
    ));
}

#[tokio::test]
async fn what_is_too_large_is_told_with_sizes_and_names() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "large", &[7; 5_000]);
    write(root.path(), "small", b"x");
    let told = |bounds| pack(root.path(), bounds).unwrap_err().to_string();
    let bounds = Bounds::default();
    let unpacked = told(Bounds {
        unpacked_max_bytes: 5_000,
        ..bounds
    });
    assert!(
        unpacked.contains("5001 bytes") && unpacked.contains("large (5000)"),
        "{unpacked}"
    );
    let packed = told(Bounds {
        packed_max_bytes: 100,
        ..bounds
    });
    assert!(
        packed.contains("the bundle has") && packed.contains("large (5000)"),
        "{packed}"
    );
    assert!(
        told(Bounds {
            entries_max: 1,
            ..bounds
        })
        .contains("more than 1 files")
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        pack(empty.path(), bounds),
        Err(PackError::Empty(_))
    ));
    let gone = empty.path().join("gone");
    assert!(matches!(pack(&gone, bounds), Err(PackError::Io { .. })));
    let pipe = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    assert!(told(bounds).contains("socket"));
    drop(pipe);
}

#[tokio::test]
async fn a_file_is_packed_alone() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "app.py", b"print()");
    write(root.path(), "other", b"");
    let packed = pack_file(&root.path().join("app.py"), Bounds::default()).unwrap();
    let kind = MemberKind::File {
        bytes: 7,
        executable: false,
    };
    let path = "app.py".to_owned();
    assert_eq!(packed.members, [Member { path, kind }]);
    let out = unpacked(packed.bytes.to_vec()).await;
    assert_eq!(out["app.py"].1, b"print()");
}

fn folders() -> impl Strategy<Value = Vec<(String, Vec<u8>, bool)>> {
    let name = "[a-c.ä ]{1,3}/?[a-c]{0,2}/?[d-f]{1,2}";
    let file = (
        name,
        proptest::collection::vec(any::<u8>(), 0..300),
        any::<bool>(),
    );
    proptest::collection::vec(file, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_folder_comes_out_as_it_went_in(files in folders()) {
        let root = tempfile::tempdir().unwrap();
        let mut any = false;
        for (path, bytes, executable) in files {
            let path = root.path().join(path.trim_start_matches(['.', '/']));
            // Two paths may not go together.
            let folder = fs::create_dir_all(path.parent().unwrap());
            let made = folder.is_ok() && fs::write(&path, bytes).is_ok();
            if made {
                let mode = if executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
                any = true;
            }
        }
        prop_assume!(any);
        let packed = pack(root.path(), Bounds::default()).unwrap();
        let store = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bundles = Bundles::open(store.path(), Bounds::default()).unwrap();
        let folder = runtime.block_on(bundles.unpack(packed.bytes, DIGEST)).unwrap();
        let (before, after) = (tree(root.path()), tree(folder.path()));
        prop_assert_eq!(before, after);
    }
}
