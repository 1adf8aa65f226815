//! The audit log by itself: files, bounds, and what a full disk does.

use std::fs;
use std::path::Path;

use futures_util::StreamExt;
use usher_api::access::{AuditQuery, Who};
use usher_core::id::RequestId;

use super::files::Files;
use super::*;

fn line(number: u64) -> AuditLine {
    AuditLine {
        time_us: number,
        request: RequestId(u128::from(number)),
        who: Who::Anyone,
        key: None,
        key_owner: None,
        client: "127.0.0.1:1".to_owned(),
        method: "POST".to_owned(),
        path: "/v1/functions".to_owned(),
        owner: None,
        function: None,
        status: 200,
        label: None,
        took_us: 1,
    }
}

fn options(folder: &Path) -> AuditOptions {
    AuditOptions {
        folder: Some(folder.to_owned()),
        ..AuditOptions::default()
    }
}

async fn times(audit: &Audit, query: AuditQuery) -> Vec<u64> {
    let lines = audit.look().await.unwrap().lines(query);
    lines.map(|line| line.time_us).collect().await
}

#[tokio::test]
async fn the_line_of_a_change_is_there_when_it_is_answered_and_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let audit = Audit::open(&options(folder.path())).unwrap();
    for number in [1, 3] {
        let room = audit.room().await.unwrap();
        audit.change(line(number), room).await.unwrap();
        let written = fs::read_to_string(folder.path().join("changes.jsonl")).unwrap();
        assert!(written.ends_with("\"took_us\":1}\n"), "{written}");
        assert!(
            written.contains(&format!("\"time_us\":{number}")),
            "{written}"
        );
    }
    audit.note(Log::Reads, line(2), None);
    audit.note(Log::Refused, line(4), None);
    assert_eq!(times(&audit, AuditQuery::default()).await, [1, 2, 3, 4]);
    let since = AuditQuery {
        since_us: Some(3),
        ..AuditQuery::default()
    };
    assert_eq!(times(&audit, since).await, [3, 4]);
    drop(audit);
    // A line that a crash tore is cut off.
    let path = folder.path().join("changes.jsonl");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole, &b"{\"time_us\":9,"[..]].concat()).unwrap();
    let audit = Audit::open(&options(folder.path())).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    let room = audit.room().await.unwrap();
    audit.change(line(5), room).await.unwrap();
    assert_eq!(times(&audit, AuditQuery::default()).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_flood_of_refused_calls_pushes_out_itself_only() {
    let folder = tempfile::tempdir().unwrap();
    let small = AuditOptions {
        file_max_bytes: 1_000,
        files_max: 3,
        queue_max_lines: 10_000,
        ..options(folder.path())
    };
    let audit = Audit::open(&small).unwrap();
    let room = audit.room().await.unwrap();
    audit.change(line(1), room).await.unwrap();
    for number in 2..1_000 {
        audit.note(Log::Refused, line(number), None);
    }
    let kept = times(&audit, AuditQuery::default()).await;
    assert_eq!((kept[0], kept.last()), (1, Some(&999)));
    assert!((3..20).contains(&kept.len()), "{kept:?}");
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert!(file.metadata().unwrap().len() <= 1_000, "{file:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
}

#[test]
fn room_is_taken_before_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Files::open(folder.path(), "changes", 100_000, 2).unwrap();
    let mut files = open();
    files.append(b"one\n", false).unwrap();
    files.take(LINE_MAX_BYTES).unwrap();
    files.take(LINE_MAX_BYTES).unwrap();
    // The file is no longer for it.
    let path = folder.path().join("changes.jsonl");
    assert_eq!(fs::metadata(&path).unwrap().len(), 4);
    files.append(b"two\n", true).unwrap();
    files.give_back(LINE_MAX_BYTES);
    files.give_back(LINE_MAX_BYTES);
    files.sync().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
    drop(files);
    let mut files = open();
    files.append(b"three\n", false).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\nthree\n");
}
