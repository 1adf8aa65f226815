//! What authors have on disk.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use usher_core::function::Contract;

use super::*;

#[test]
fn a_folder_is_read_by_its_manifest_and_a_file_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let component = folder.path().join("some.wasm");
    fs::write(&component, b"bytes").unwrap();
    let text = "name = \"fine\"\ncomponent = \"some.wasm\"\nisolation = \"none\"\n";
    let manifest = folder.path().join(MANIFEST_FILE);
    fs::write(&manifest, text).unwrap();
    for path in [folder.path(), &manifest] {
        let source = Source::read(path, None).unwrap();
        assert_eq!(source.name.as_str(), "fine");
        assert_eq!(source.artifact, "bytes");
        assert_ne!(source.settings, Settings::default());
    }
    let source = Source::read(&component, None).unwrap();
    assert_eq!(source.name.as_str(), "some");
    assert_eq!(source.settings, Settings::default());
    let named = Source::read(folder.path(), Some("other".parse().unwrap()));
    assert_eq!(named.unwrap().name.as_str(), "other");
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Source::read(&folder.path().join("gone"), None).unwrap_err();
    assert!(error.to_string().contains("is the path right"), "{error}");
    let error = Source::read(folder.path(), None).unwrap_err();
    assert!(error.to_string().contains("nothing to ship"), "{error}");
    fs::write(folder.path().join("README"), b"").unwrap();
    let error = Source::read(folder.path(), None).unwrap_err();
    assert!(format!("{error:#}").contains(MANIFEST_FILE), "{error:#}");
    let text = "name = \"fine\"\ncomponent = \"some.wasm\"\n";
    fs::write(folder.path().join(MANIFEST_FILE), text).unwrap();
    let error = Source::read(folder.path(), None).unwrap_err();
    assert!(error.to_string().contains("build it first"), "{error}");
}

#[test]
fn a_program_is_recognised_in_a_folder_and_in_its_archive() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("My App.v2");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("app.py"), b"app = Flask(__name__)").unwrap();
    let source = Source::read(&folder, None).unwrap();
    assert_eq!(source.name.as_str(), "my-app-v2");
    assert_eq!(source.recognised.unwrap(), "a Flask application, app.py");
    let process = source.settings.process.unwrap();
    assert_eq!(process.contract, Contract::Http);
    assert_eq!(process.command[..3], ["python3", "-m", "flask"]);

    // The bundle is an archive as any other tool makes them.
    let archive = around.path().join("made.zip");
    fs::write(&archive, &source.artifact).unwrap();
    let again = Source::read(&archive, None).unwrap();
    assert_eq!(again.name.as_str(), "made");
    assert_eq!(again.artifact, source.artifact);
    assert_eq!(again.settings.process, Some(process));
    fs::write(&archive, b"PK\x03\x04").unwrap();
    let error = Source::read(&archive, None).unwrap_err();
    assert!(format!("{error:#}").contains("no zip archive"), "{error:#}");
}

#[test]
fn what_is_not_packed_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["app.py", "main.py"] {
        fs::write(folder.path().join(name), b"").unwrap();
    }
    let error = Source::read(folder.path(), None).unwrap_err();
    assert!(format!("{error:#}").contains("several"), "{error:#}");
    fs::write(folder.path().join(".usherignore"), b"main.py\n").unwrap();
    let name = Some("f".parse().unwrap());
    let process = Source::read(folder.path(), name).unwrap().settings.process;
    assert_eq!(process.unwrap().command, ["python3", "app.py"]);
}

#[test]
fn a_file_is_shipped_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secret"), b"").unwrap();
    let script = folder.path().join("echo.py");
    fs::write(&script, b"print()").unwrap();
    let source = Source::read(&script, None).unwrap();
    assert_eq!(source.name.as_str(), "echo");
    assert_eq!(
        source.settings.process.unwrap().command,
        ["python3", "echo.py"]
    );
    let held = String::from_utf8_lossy(&source.artifact).into_owned();
    assert!(held.contains("echo.py") && !held.contains("secret"));
    let program = folder.path().join("server");
    let mut file = File::create(&program).unwrap();
    file.write_all(b"\x7fELF").unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o755))
        .unwrap();
    let process = Source::read(&program, None).unwrap().settings.process;
    assert_eq!(process.unwrap().command, ["./server"]);
}

#[test]
fn a_manifest_says_which_folder_is_shipped_and_how_it_is_started() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("dist")).unwrap();
    fs::write(folder.path().join("dist/run"), b"").unwrap();
    fs::write(folder.path().join("source"), b"").unwrap();
    let text = "name = \"fine\"\n[process]\ncontract = \"http\"\ncommand = [\"./run\"]\n\
                folder = \"dist\"\n";
    fs::write(folder.path().join(MANIFEST_FILE), text).unwrap();
    let source = Source::read(folder.path(), None).unwrap();
    assert_eq!(source.settings.process.unwrap().command, ["./run"]);
    assert_eq!(source.recognised, None);
    let held = String::from_utf8_lossy(&source.artifact).into_owned();
    assert!(held.contains("run") && !held.contains("source"));
    fs::remove_dir_all(folder.path().join("dist")).unwrap();
    let error = Source::read(folder.path(), None).unwrap_err();
    assert!(error.to_string().contains("dist"), "{error}");
}
