//! What becomes of programs where the machine does not permit to put them back: each means is taken
//! away in turn, and every request still meets a program that has served nobody.
//!
//! A test cannot take anything away from itself and give it back, so each case is this very test
//! program in a process of its own, in which one test looks. Needs `examples/http` in C
//! (`cargo xtask examples`).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use usher_api::node::Mode;
use usher_core::function::{Contract, Isolation, Process, Settings};
use usher_core::id::RequestId;
use usher_core::proof::Renewal;
use usher_engine::contract::{function, get, revision};
use usher_engine::{
    Call, Engine as _, Environment as _, GuestOutput, GuestStream, Over, Used as _,
};
use usher_process::bundle::pack;
use usher_process::sandbox::{Root, SandboxOptions};
use usher_process::{ProcessConfig, ProcessEngine};

/// Requests of each case.
const REQUESTS: u128 = 5;
/// Tells the look what it is to find: `replaced`, or the beginning of why not.
const EXPECTED: &str = "USHER_TEST_EXPECTED";
/// The look.
const LOOK: &str = "programs_are_put_back_or_replaced";

/// Nobody's log.
struct Unheard;

impl GuestOutput for Unheard {
    fn write(&self, _: RequestId, _: GuestStream, _: &[u8]) {}

    fn note(&self, _: RequestId, _: &str) {}
}

fn engine(folder: &Path) -> ProcessEngine {
    ProcessEngine::new(ProcessConfig {
        bundles_folder: folder.join("bundles"),
        sandboxes: SandboxOptions {
            program: example("sandbox-spawner"),
            args: Vec::new(),
            state_folder: folder.join("sandboxes"),
            stock: 1,
            root: Root::Host,
            predictors_apart: true,
        },
        areas: Default::default(),
    })
}

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    built.join("examples").join(name)
}

fn counter() -> (Settings, bytes::Bytes) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let built = root.unwrap().join("target/examples/http-c");
    let settings = Settings {
        isolation: Isolation::Request,
        process: Some(Process {
            contract: Contract::Http,
            command: vec!["./server".to_owned()],
            handler: None,
            environment: Default::default(),
            reuse: false,
            areas: Vec::new(),
            snap_start: false,
        }),
        ..Settings::default()
    };
    (settings, pack(&built, Default::default()).unwrap().bytes)
}

/// What each request was answered, how its environment had become clean, and the reasons that the
/// image gives for replacing.
async fn served() -> (Vec<(String, Renewal)>, Mode, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let (settings, artifact) = counter();
    let revision = Arc::new(revision(function("counter"), &artifact, settings));
    let (progress, _) = mpsc::channel(1);
    let image = engine.load(revision, artifact, progress).await.unwrap();
    let mut environment = engine.start(&image).await.unwrap();
    let mut answers = Vec::new();
    for number in 1..=REQUESTS {
        let run = environment.run(Call {
            request_id: RequestId(number),
            request: get("http://counter.test/counter"),
            output: Arc::new(Unheard),
        });
        let run = run.await;
        let body = run.reply.unwrap().into_body().collect();
        let over = async {
            match run.over {
                Over::Now(used) => used,
                Over::Later(used) => used.await,
            }
        };
        let (used, body) = tokio::join!(over, body);
        let text = String::from_utf8(body.unwrap().to_bytes().into()).unwrap();
        answers.push((text.trim().to_owned(), run.facts.renewal));
        environment = used.ok().unwrap().renew(true).await.unwrap().clean;
    }
    drop(environment);
    let report = engine.report(&image);
    drop(image);
    engine.close().await;
    (answers, report.mode, report.reasons)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_put_back_or_replaced() {
    let expected = std::env::var(EXPECTED).ok();
    let (answers, mode, reasons) = served().await;
    let renewals: &[Renewal] = match expected {
        Some(_) => &[Renewal::Replaced],
        None => &[Renewal::InPlace, Renewal::Swap],
    };
    for (number, (count, renewed)) in answers.iter().enumerate() {
        assert_eq!(count, "1", "{answers:?}");
        match number {
            0 => assert_eq!(*renewed, Renewal::Fresh),
            _ => assert!(renewals.contains(renewed), "{answers:?}"),
        }
    }
    match expected {
        Some(why) => {
            assert_eq!(mode, Mode::Replaced);
            assert!(reasons.iter().any(|it| it.contains(&why)), "{reasons:?}");
            println!("{reasons:?}");
        }
        None => assert_eq!((mode, reasons), (Mode::Live, Vec::new())),
    }
}

/// Has the look made behind these words.
fn looks(before: &[&str], expected: Option<&str>) {
    let test = std::env::current_exe().unwrap();
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).arg(test);
    command.args([LOOK, "--exact", "--nocapture"]);
    match expected {
        Some(expected) => command.env(EXPECTED, expected),
        None => command.env_remove(EXPECTED),
    };
    let looked = command.output().unwrap();
    let told = String::from_utf8_lossy(&looked.stdout);
    let passed = looked.status.success() && told.contains("1 passed");
    let errors = String::from_utf8_lossy(&looked.stderr);
    assert!(passed, "{before:?}: {told}{errors}");
    println!("{before:?}: {told}");
}

#[test]
fn without_what_putting_back_needs_every_program_is_replaced() {
    let withhold = example("withhold");
    let cases = [
        ("tracing", "for want of tracing"),
        ("comparing", "for want of comparing open files"),
        ("holding", "for want of holding open files"),
        ("listeners", "for want of news of dropped memory"),
        ("images", "for want of finding written memory"),
    ];
    for (withheld, why) in cases {
        looks(&[withhold.to_str().unwrap(), withheld, "--"], Some(why));
    }
}

#[test]
fn without_what_only_makes_it_faster_programs_are_put_back() {
    let withhold = example("withhold");
    for withheld in ["page-scan", "one-mapping"] {
        looks(&[withhold.to_str().unwrap(), withheld, "--"], None);
    }
    let hidden = "mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"";
    looks(&["unshare", "--mount", "sh", "-c", hidden, "sh"], None);
}
