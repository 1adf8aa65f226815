//! Lines reach the log of their function, and no request waits for them.

use std::fs;
use std::path::Path;

use futures_util::StreamExt;
use usher_api::node::{FunctionLogLine, LogEvent, LogLine, LogQuery, NodeControl};
use usher_core::id::RequestId;
use usher_node::NodeOptions;
use usher_node::logs::LogOptions;

use crate::World;

fn in_folder(folder: &Path, adapt: impl FnOnce(&mut LogOptions)) -> World {
    let mut options = NodeOptions::default();
    options.logs.folder = Some(folder.to_owned());
    adapt(&mut options.logs);
    World::with(options)
}

async fn lines(world: &World, guest: &str, query: LogQuery) -> Vec<LogLine> {
    let function = usher_engine::contract::function(guest);
    world.node.logs(&function, query).collect().await
}

fn words(lines: &[LogLine]) -> Vec<String> {
    let word = |line: &LogLine| match &line.event {
        LogEvent::Stdout { text } => format!("out {text}"),
        LogEvent::Stderr { text } => format!("err {text}"),
        LogEvent::Request { target, status, .. } => format!("{target} {status}"),
        LogEvent::Platform { text } => format!("! {text}"),
    };
    lines.iter().map(word).collect()
}

#[tokio::test]
async fn lines_are_put_together_and_carry_request_and_proof() {
    let world = World::new();
    let revision = world.revision("print", |_| {});
    let (_, proof) = world.call(&revision).await.unwrap();
    let all = lines(&world, "print", LogQuery::default()).await;
    assert_eq!(
        words(&all),
        ["out one line", "err oh", "out half", "GET /path 200"]
    );
    assert!(all.iter().all(|line| line.request == Some(RequestId(1))));
    assert!(all.iter().all(|line| line.revision == revision.id));
    let LogEvent::Request { proof: logged, .. } = &all[3].event else {
        panic!("the last line is the request's");
    };
    assert_eq!(logged, &Some(proof));

    let last = LogQuery {
        tail: Some(1),
        ..LogQuery::default()
    };
    assert_eq!(
        words(&lines(&world, "print", last).await),
        ["GET /path 200"]
    );
    let other = LogQuery {
        request: Some(RequestId(2)),
        ..LogQuery::default()
    };
    assert!(lines(&world, "print", other).await.is_empty());
}

#[tokio::test]
async fn a_failed_request_is_logged_with_its_inner_cause() {
    let world = World::new();
    let revision = world.revision("trap", |_| {});
    world.call(&revision).await.unwrap_err();
    let all = lines(&world, "trap", LogQuery::default()).await;
    let LogEvent::Request {
        status,
        error,
        proof,
        ..
    } = &all[0].event
    else {
        panic!("the line is the request's");
    };
    assert_eq!(*status, 502);
    assert!(proof.is_some());
    assert!(error.as_ref().unwrap().ends_with("unreachable"));
}

#[tokio::test]
async fn whoever_follows_gets_old_and_new_lines_until_the_node_ends() {
    let world = World::new();
    let revision = world.revision("hello", |_| {});
    world.call(&revision).await.unwrap();
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut followed = world.node.logs(&revision.function, query);
    assert_eq!(words(&[followed.next().await.unwrap()]), ["GET /path 200"]);
    world.call(&revision).await.unwrap();
    assert_eq!(words(&[followed.next().await.unwrap()]), ["GET /path 200"]);
    world.node.drain().await;
    assert_eq!(followed.next().await, None);
}

#[tokio::test]
async fn the_file_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let world = in_folder(folder.path(), |_| {});
    let revision = world.revision("print", |_| {});
    world.call(&revision).await.unwrap();
    world.node.drain().await;
    let path = folder.path().join("default/print.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4);

    // A line that a crash cut short does no harm.
    fs::write(&path, format!("{text}{{\"time_us\":1,")).unwrap();
    let world = in_folder(folder.path(), |_| {});
    let before = lines(&world, "print", LogQuery::default()).await;
    assert_eq!(
        words(&before),
        ["out one line", "err oh", "out half", "GET /path 200"]
    );
}

#[tokio::test]
async fn files_are_bounded_in_size_and_number() {
    let folder = tempfile::tempdir().unwrap();
    let file_max_bytes = 2_000;
    let world = in_folder(folder.path(), |options| {
        options.file_max_bytes = file_max_bytes;
        options.files_max = 2;
    });
    let revision = world.revision("hello", |_| {});
    for _ in 0..40 {
        world.call(&revision).await.unwrap();
        // Each line is a batch of its own.
        lines(&world, "hello", LogQuery::default()).await;
    }
    let mut names = fs::read_dir(folder.path().join("default"))
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            assert!(file.metadata().unwrap().len() <= file_max_bytes);
            file.file_name().into_string().unwrap()
        })
        .collect::<Vec<_>>();
    names.sort();
    assert_eq!(names, ["hello.1.jsonl", "hello.jsonl"]);
}

#[tokio::test]
async fn what_does_not_fit_is_counted_and_said() {
    let mut options = NodeOptions::default();
    options.logs.queue_max_lines = 0;
    let world = World::with(options);
    let revision = world.revision("print", |_| {});
    world.call(&revision).await.unwrap();
    assert_eq!(world.node.snapshot().log_lines_dropped, 4);

    let mut options = NodeOptions::default();
    options.logs.request_max_bytes = 10;
    options.logs.line_max_bytes = 4;
    let world = World::with(options);
    let revision = world.revision("print", |_| {});
    world.call(&revision).await.unwrap();
    let all = words(&lines(&world, "print", LogQuery::default()).await);
    assert_eq!(
        all[..3],
        [
            "out one ",
            "out line",
            "! the request wrote more than 10 bytes; the rest is not logged"
        ]
    );
}

#[tokio::test]
async fn lines_of_requests_can_be_left_out_but_not_those_of_failures() {
    let mut options = NodeOptions::default();
    options.logs.request_lines = false;
    let world = World::with(options);
    world.call(&world.revision("hello", |_| {})).await.unwrap();
    assert!(lines(&world, "hello", LogQuery::default()).await.is_empty());
    world
        .call(&world.revision("trap", |_| {}))
        .await
        .unwrap_err();
    let failed = lines(&world, "trap", LogQuery::default()).await;
    assert_eq!(words(&failed), ["GET /path 502"]);
}

fn names(lines: &[FunctionLogLine]) -> Vec<String> {
    let name = |line: &FunctionLogLine| line.function.name.to_string();
    lines.iter().map(name).collect()
}

#[tokio::test]
async fn all_functions_are_followed_those_that_come_later_too() {
    let world = World::new();
    let (hello, trap) = (
        world.revision("hello", |_| {}),
        world.revision("trap", |_| {}),
    );
    world.call(&hello).await.unwrap();
    let query = LogQuery {
        follow: true,
        ..LogQuery::default()
    };
    let mut all = world.node.all_logs(None, query.clone());
    let stranger = Some("stranger".parse().unwrap());
    let strangers = world.node.all_logs(stranger, query);
    let mut lines = vec![all.next().await.unwrap()];
    world.call(&trap).await.unwrap_err();
    lines.push(all.next().await.unwrap());
    world.call(&hello).await.unwrap();
    lines.push(all.next().await.unwrap());
    assert_eq!(names(&lines), ["hello", "trap", "hello"]);
    world.node.drain().await;
    assert_eq!(all.next().await, None);
    assert_eq!(strangers.count().await, 0);

    let tail = LogQuery {
        tail: Some(2),
        ..LogQuery::default()
    };
    let lines: Vec<_> = world.node.all_logs(None, tail).collect().await;
    assert_eq!(names(&lines), ["trap", "hello"], "the latest, oldest first");
}

/// A folder where a file is to be takes no line, as a full disk does.
#[tokio::test]
async fn lines_that_the_disk_does_not_take_are_counted_and_told_when_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let world = in_folder(folder.path(), |_| {});
    let revision = world.revision("hello", |_| {});
    let path = folder.path().join("default/hello.jsonl");
    fs::create_dir_all(&path).unwrap();
    for _ in 0..2 {
        world.call(&revision).await.unwrap();
        lines(&world, "hello", LogQuery::default()).await;
    }
    assert_eq!(world.node.snapshot().log_lines_lost, 2);
    fs::remove_dir(&path).unwrap();
    world.call(&revision).await.unwrap();
    world.node.drain().await;
    assert_eq!(world.node.snapshot().log_lines_lost, 2);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(
        text.contains("2 lines before this one could not be written"),
        "{text}"
    );
}

#[tokio::test]
async fn the_files_of_all_functions_together_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let total_max_bytes = 2_000;
    let world = in_folder(folder.path(), |options| {
        options.file_max_bytes = 400;
        options.total_max_bytes = total_max_bytes;
    });
    for guest in ["hello", "counter", "print"] {
        let revision = world.revision(guest, |_| {});
        for _ in 0..20 {
            world.call(&revision).await.unwrap();
            lines(&world, guest, LogQuery::default()).await;
        }
    }
    let files = fs::read_dir(folder.path().join("default")).unwrap();
    let bytes = files.map(|file| file.unwrap().metadata().unwrap().len());
    let bytes: u64 = bytes.sum();
    assert!(bytes <= total_max_bytes, "{bytes}");
    assert!(world.node.snapshot().log_bytes_removed > 0);
}
