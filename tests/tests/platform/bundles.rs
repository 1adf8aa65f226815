//! Programs as authors bring them: what does harm is refused before anything is sent, and what
//! cannot be recognised is told with what to write.

use std::fs;
use std::io::{Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::server::run;

/// Deploys what stands at a path; nobody listens, so that only what fails before can be told.
async fn told(path: &std::path::Path) -> String {
    let error = run(None, &["deploy", path.to_str().unwrap()]).await.error();
    error["message"].as_str().unwrap().to_owned()
}

fn archive(fill: impl FnOnce(&mut ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    fill(&mut archive);
    archive.finish().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_archive_is_refused_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let options = SimpleFileOptions::default();
    let escape = archive(|it| it.start_file("../escaped", options).unwrap());
    let link = archive(|it| it.add_symlink("etc", "/etc", options).unwrap());
    let bomb = archive(|it| {
        it.start_file("bomb", options).unwrap();
        let piece = vec![0; 1 << 20];
        (0..100).for_each(|_| it.write_all(&piece).unwrap());
    });
    let many = archive(|it| {
        for at in 0..1_000_000 {
            it.start_file(format!("{at}"), options).unwrap();
        }
    });
    for (bytes, why) in [
        (escape, "leads out of its folder"),
        (link, "leads out of the bundle"),
        (bomb, "may unpack to"),
        (many, "zip64"),
        (b"PK no archive at all".to_vec(), "no zip archive"),
    ] {
        let path = folder.path().join("made.zip");
        fs::write(&path, bytes).unwrap();
        let told = told(&path).await;
        assert!(told.contains(why) && told.contains("made.zip"), "{told}");
    }
    assert!(!folder.path().join("escaped").exists());
    assert!(!std::env::temp_dir().join("escaped").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_no_program_is_told_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    let nothing = told(folder.path()).await;
    assert!(nothing.contains("looked for"), "{nothing}");
    assert!(nothing.contains("[process]"), "{nothing}");
    fs::write(
        folder.path().join("handler.py"),
        "def handler(event, context):",
    )
    .unwrap();
    let lacking = told(folder.path()).await;
    assert!(
        lacking.contains("pip install --target . awslambdaric"),
        "{lacking}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_tells_what_the_machine_gives() {
    let rows = run(None, &["doctor"]).await.done();
    assert!(!rows.is_empty());
    for row in rows {
        for key in ["mechanism", "found", "chosen", "why"] {
            assert!(
                row[key].as_str().is_some_and(|text| !text.is_empty()),
                "{row}"
            );
        }
        assert_eq!(row["ok"], true, "{row}");
    }
}
