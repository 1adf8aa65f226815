//! AWS's own Python client with SnapStart's hooks, put back after each request: the hooks run
//! before each run, and what they make is fresh.
//!
//! `forgotten` is a generator that no hook seeds: that it repeats shows that the program was put
//! back, and that it is the hook alone which makes the other one fresh. So most of these tests run
//! the interpreter without the platform's shims (`-E`), which would see to both.
//!
//! Needs the right to make sandboxes, and `lambda-python` of the examples (`cargo xtask examples`).
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use usher_api::node::Mode;
use usher_core::function::{Contract, Isolation, Process, RenewalChoice, Settings};
use usher_core::id::{EnvironmentId, RequestId};
use usher_core::proof::Renewal;
use usher_engine::contract::{function, get, revision};
use usher_engine::{
    Call, Engine as _, Environment as _, GuestOutput, GuestStream, LoadError, Over, Used as _,
};
use usher_process::bundle::pack;
use usher_process::sandbox::{Root, SandboxOptions};
use usher_process::{ProcessConfig, ProcessEngine, ProcessEnvironment, ProcessImage};

/// Requests of each function; `USHER_COUNT` says otherwise.
const TIMES: u64 = 40;

/// A function, as its manifest has it.
#[derive(Clone, Copy)]
struct Function {
    /// Whether the platform's shims are loaded.
    shims: bool,
    snap_start: bool,
    isolation: fn() -> Isolation,
    variables: &'static [(&'static str, &'static str)],
}

const HOOKS_ALONE: Function = Function {
    shims: false,
    snap_start: true,
    isolation: || Isolation::Request,
    variables: &[],
};

#[derive(Default)]
struct Notes(Mutex<String>);

impl GuestOutput for Notes {
    fn write(&self, _: RequestId, _: GuestStream, bytes: &[u8]) {
        self.0.lock().push_str(&String::from_utf8_lossy(bytes));
    }

    fn note(&self, _: RequestId, text: &str) {
        self.0.lock().push_str(text);
    }
}

/// An engine of a test's own.
struct Rig {
    engine: ProcessEngine,
    folder: TempDir,
}

/// What came of one request.
#[derive(Debug)]
struct Told {
    status: u16,
    headers: http::HeaderMap,
    body: String,
    environment: EnvironmentId,
    renewal: Renewal,
    notes: String,
}

impl Told {
    fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let test = std::env::current_exe().unwrap();
        let built = test.parent().and_then(Path::parent).unwrap();
        let engine = ProcessEngine::new(ProcessConfig {
            bundles_folder: folder.path().join("bundles"),
            sandboxes: SandboxOptions {
                program: built.join("examples/sandbox-spawner"),
                args: Vec::new(),
                state_folder: folder.path().join("sandboxes"),
                stock: 2,
                root: Root::Host,
                predictors_apart: true,
            },
            areas: Default::default(),
        });
        Self { engine, folder }
    }

    async fn load(&self, of: Function) -> Result<Arc<ProcessImage>, LoadError> {
        let python = [
            "/usr/bin/python3",
            "-E",
            "-m",
            "awslambdaric",
            "app.handler",
        ];
        let words = python.iter().filter(|word| !of.shims || **word != "-E");
        let variables = of.variables.iter();
        let settings = Settings {
            isolation: (of.isolation)(),
            process: Some(Process {
                contract: Contract::Lambda,
                command: words.map(|&word| word.to_owned()).collect(),
                handler: Some("app.handler".to_owned()),
                environment: variables
                    .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                reuse: false,
                areas: Vec::new(),
                snap_start: of.snap_start,
            }),
            renewal: match of.snap_start {
                true => RenewalChoice::InPlace,
                false => RenewalChoice::Auto,
            },
            ..Settings::default()
        };
        let packed = pack(&built(), Default::default()).unwrap();
        let revision = Arc::new(revision(function("hooks"), &packed.bytes, settings));
        let (progress, _) = mpsc::channel(1);
        self.engine.load(revision, packed.bytes, progress).await
    }

    /// What a function answers to so many requests, one after the other in one environment.
    async fn asked(&self, of: Function, times: u64) -> Vec<Told> {
        let image = self.load(of).await.unwrap();
        let mut environment = self.engine.start(&image).await.unwrap();
        let mut all = Vec::new();
        for number in 1..=times {
            let (told, used) = call(environment, number).await;
            all.push(told);
            environment = match (of.isolation)() {
                Isolation::None => used.unwrap().keep().unwrap(),
                _ => {
                    used.unwrap()
                        .renew(number.is_multiple_of(8))
                        .await
                        .unwrap()
                        .clean
                }
            };
        }
        all
    }
}

fn built() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let folder = root.unwrap().join("target/examples/lambda-python");
    let shown = folder.display();
    assert!(
        folder.join("function.toml").is_file(),
        "{shown} is not there; `cargo xtask examples` builds it"
    );
    folder
}

async fn call(
    environment: ProcessEnvironment,
    number: u64,
) -> (Told, Option<usher_process::ProcessUsed>) {
    let notes = Arc::new(Notes::default());
    let request = http::Request::post("http://hooks.test/2015-03-31/functions/hooks/invocations");
    let request = match number {
        0 => get("http://hooks.test/hooks"),
        _ => request.body(r#"{"do":"hooks"}"#.to_owned().into()).unwrap(),
    };
    let run = environment
        .run(Call {
            request_id: RequestId(number.into()),
            request,
            output: notes.clone(),
        })
        .await;
    let (head, body) = run.reply.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let used = match run.over {
        Over::Now(used) => used,
        Over::Later(later) => later.await,
    };
    let told = Told {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
        environment: run.facts.environment,
        renewal: run.facts.renewal,
        notes: notes.0.lock().clone(),
    };
    (told, used.ok())
}

fn count() -> u64 {
    let told = std::env::var("USHER_COUNT").ok();
    told.map_or(TIMES, |count| count.parse().unwrap())
}

/// How many different values they told under this name.
fn distinct(all: &[Told], name: &str) -> usize {
    let values = all.iter().map(|told| told.value()[name].to_string());
    values.collect::<BTreeSet<_>>().len()
}

fn renewals(all: &[Told]) -> Vec<Renewal> {
    all.iter().map(|told| told.renewal).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_once_for_each_run_and_make_it_fresh() {
    let all = Rig::new().asked(HOOKS_ALONE, count()).await;
    for (at, told) in all.iter().enumerate() {
        let value = told.value();
        assert_eq!(value["calls"], 1, "{at}: {told:?}");
        assert_eq!(value["snapshots"], 1, "{at}: {told:?}");
        assert_eq!(value["restores"], 1, "{at}: {told:?}");
        assert_eq!(told.environment, all[0].environment, "{at}");
    }
    assert_eq!(all[0].renewal, Renewal::Fresh);
    let rest = &renewals(&all)[1..];
    assert!(rest.iter().all(|it| *it == Renewal::InPlace), "{rest:?}");
    assert_eq!(distinct(&all, "seeded"), all.len());
    // The control: what no hook makes fresh repeats, so it was this state that was put back.
    assert_eq!(distinct(&all, "forgotten"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_and_shims_go_together() {
    let both = Function {
        shims: true,
        ..HOOKS_ALONE
    };
    let all = Rig::new().asked(both, count()).await;
    for (at, told) in all.iter().enumerate() {
        let value = told.value();
        assert_eq!(
            (&value["calls"], &value["restores"]),
            (&1.into(), &1.into())
        );
        let wanted = match at {
            0 => Renewal::Fresh,
            _ => Renewal::InPlace,
        };
        assert_eq!(told.renewal, wanted, "{at}: {told:?}");
    }
    assert_eq!(distinct(&all, "seeded"), all.len());
    assert_eq!(distinct(&all, "forgotten"), all.len());
}

/// The control: without the word in the manifest no hook runs, and nothing is declared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_snap_start_no_hook_runs_and_the_program_is_replaced() {
    let silent = Function {
        snap_start: false,
        ..HOOKS_ALONE
    };
    let all = Rig::new().asked(silent, 3).await;
    for told in &all {
        let value = told.value();
        assert_eq!(value["calls"], 1, "{told:?}");
        assert_eq!(
            (&value["snapshots"], &value["restores"]),
            (&0.into(), &0.into())
        );
    }
    let wanted = [Renewal::Fresh, Renewal::Replaced, Renewal::Replaced];
    assert_eq!(renewals(&all), wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_state_is_kept_the_hooks_run_once_at_the_start() {
    let kept = Function {
        isolation: || Isolation::None,
        ..HOOKS_ALONE
    };
    let all = Rig::new().asked(kept, 3).await;
    for (at, told) in all.iter().enumerate() {
        let value = told.value();
        assert_eq!(value["calls"], at + 1, "{told:?}");
        assert_eq!(
            (&value["snapshots"], &value["restores"]),
            (&1.into(), &1.into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_whose_hook_fails_at_its_start_is_not_deployed() {
    let rig = Rig::new();
    for (variables, said) in [
        (
            &[("USHER_SNAPSHOT_FAIL", "1")] as &[_],
            "the hook before the snapshot fails on purpose",
        ),
        (
            &[("USHER_RESTORE_FAIL", "raise")],
            "the hook after the restore fails on purpose",
        ),
        (
            &[("USHER_RESTORE_FAIL", "exit")],
            "exited with code 9 while its hooks ran after a restore",
        ),
    ] {
        let failing = Function {
            variables,
            ..HOOKS_ALONE
        };
        let error = rig.load(failing).await.err().unwrap();
        assert!(error.0.message.contains(said), "{}", error.0.message);
    }
}

/// It starts well, and cannot be given back: the next request gets another program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_whose_hook_fails_after_a_put_back_is_replaced() {
    let rig = Rig::new();
    let later = Function {
        variables: &[("USHER_RESTORE_FAIL", "later")],
        ..HOOKS_ALONE
    };
    let all = rig.asked(later, 4).await;
    for told in &all {
        assert_eq!((told.status, &told.value()["restores"]), (200, &1.into()));
    }
    assert_eq!(renewals(&all)[1..], [Renewal::Replaced; 3]);
    let why = rig.engine.counters().latest_not_put_back.lock().clone();
    let why = why.unwrap();
    assert!(why.contains("Runtime.AfterRestoreError"), "{why}");
}

/// One that fails from some day on is answered as AWS answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_a_function_whose_hooks_fail_are_answered_as_on_aws() {
    let rig = Rig::new();
    let told_to = Function {
        variables: &[("USHER_RESTORE_FAIL", "told")],
        ..HOOKS_ALONE
    };
    let image = rig.load(told_to).await.unwrap();
    assert_eq!(rig.engine.report(&image).mode, Mode::Live);
    let environment = rig.engine.start(&image).await.unwrap();
    let (told, used) = call(environment, 1).await;
    assert_eq!(told.status, 200, "{told:?}");
    let app = found(rig.folder.path(), "app.py").unwrap();
    std::fs::write(app.with_file_name("fail"), "").unwrap();
    // Neither the program nor the one that takes its place can go on.
    let environment = used.unwrap().renew(false).await.unwrap().clean;
    let (told, used) = call(environment, 2).await;
    assert!(used.is_none());
    assert_eq!(told.status, 400, "{told:?}");
    assert_eq!(told.headers["x-amzn-errortype"], "SnapStartException");
    assert!(told.notes.contains("fails when it is told to"), "{told:?}");
    let environment = rig.engine.start(&image).await.unwrap();
    let (told, _) = call(environment, 0).await;
    let wanted = (502, "Internal Server Error");
    assert_eq!((told.status, told.body.as_str()), wanted);
}

/// The first file of this name below a folder.
fn found(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries.into_iter().find_map(|entry| {
        let path = entry.path();
        match entry.file_type().ok()?.is_dir() {
            true => found(&path, name),
            false => (entry.file_name() == name).then_some(path),
        }
    })
}
