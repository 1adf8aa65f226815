//! The generation page in programs that the platform puts back: it differs in each run, says the
//! same by every way to read it, and nothing that a program can do changes it.
//!
//! Needs the right to make sandboxes, and gcc.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio::sync::mpsc;
use usher_core::function::{Contract, Isolation, Process, RenewalChoice, Settings};
use usher_core::id::RequestId;
use usher_core::proof::Renewal;
use usher_engine::contract::{function, get, revision};
use usher_engine::{
    Call, Engine as _, Environment as _, GuestOutput, GuestStream, Over, Used as _,
};
use usher_process::bundle::pack;
use usher_process::sandbox::{Root, SandboxOptions};
use usher_process::{ProcessConfig, ProcessEngine, ProcessEnvironment};

/// Requests of a test; `USHER_COUNT` says otherwise.
const TIMES: u64 = 100;

/// What a program does to its page in one run, and is put back from.
const PUT_BACK: [&str; 5] = ["open", "dropped", "locked", "offset", "shut"];
/// What it does and is replaced for.
const REPLACED: [&str; 6] = ["unmap", "remap", "moved", "private", "exchanged", "child"];
/// Ways to change a file that are open where it is the program's own, among others.
const OPEN_TO_OWN: [&str; 17] = [
    "open-write",
    "open-append",
    "open-truncate",
    "truncate",
    "ftruncate",
    "punch",
    "pwrite",
    "map-write",
    "protect",
    "chmod",
    "fchmod",
    "chown",
    "times",
    "unlink",
    "reopen",
    "execute",
    "remove",
];

struct Silent;

impl GuestOutput for Silent {
    fn write(&self, request: RequestId, _: GuestStream, bytes: &[u8]) {
        println!("{request}: {}", String::from_utf8_lossy(bytes));
    }

    fn note(&self, request: RequestId, text: &str) {
        println!("{request}: {text}");
    }
}

/// One environment of the program, or those that take each other's place.
struct Seat {
    engine: ProcessEngine,
    environment: Option<ProcessEnvironment>,
    keeps: bool,
    requests: u128,
    _folder: TempDir,
}

/// What the page said.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    generation: u64,
    entropy: String,
}

/// What the program reads, by each of its ways.
struct Told {
    renewal: Renewal,
    calls: u64,
    /// The generation at its start.
    first: u64,
    pages: BTreeMap<String, Read>,
}

impl Seat {
    async fn new(isolation: Isolation, reuse: bool, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let code = folder.path().join("code");
        std::fs::create_dir(&code).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/restored/page.c");
        let compiled = Command::new("gcc")
            .args(["-O1", "-o"])
            .args([&code.join("server"), &source])
            .status();
        assert!(compiled.unwrap().success(), "gcc is needed");
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
        let keeps = isolation == Isolation::None;
        let variables = variables.iter();
        let settings = Settings {
            isolation,
            process: Some(Process {
                contract: Contract::Http,
                command: vec!["./server".to_owned()],
                handler: None,
                environment: variables
                    .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                reuse,
                areas: Vec::new(),
                snap_start: false,
            }),
            renewal: match reuse {
                true => RenewalChoice::InPlace,
                false => RenewalChoice::Auto,
            },
            ..Settings::default()
        };
        let packed = pack(&code, Default::default()).unwrap();
        let revision = Arc::new(revision(function("page"), &packed.bytes, settings));
        let (progress, _) = mpsc::channel(1);
        let image = engine.load(revision, packed.bytes, progress).await.unwrap();
        Self {
            environment: Some(engine.start(&image).await.unwrap()),
            engine,
            keeps,
            requests: 0,
            _folder: folder,
        }
    }

    /// What the program answers; then it is renewed.
    async fn ask(&mut self, what: &str) -> (String, Renewal) {
        self.requests += 1;
        let run = self
            .environment
            .take()
            .unwrap()
            .run(Call {
                request_id: RequestId(self.requests),
                request: get(&format!("http://page.test/{what}")),
                output: Arc::new(Silent),
            })
            .await;
        let body = run.reply.unwrap().into_body().collect().await.unwrap();
        let used = match run.over {
            Over::Now(used) => used,
            Over::Later(later) => later.await,
        };
        let used = used.unwrap_or_else(|ended| panic!("{what}: {ended:?}"));
        self.environment = Some(match self.keeps {
            true => used.keep().unwrap(),
            false => {
                used.renew(self.requests.is_multiple_of(10))
                    .await
                    .unwrap()
                    .clean
            }
        });
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        (text, run.facts.renewal)
    }

    async fn read(&mut self) -> Told {
        let (text, renewal) = self.ask("read").await;
        let mut told = Told {
            renewal,
            calls: 0,
            first: 0,
            pages: BTreeMap::new(),
        };
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["calls", calls] => told.calls = calls.parse().unwrap(),
                ["first", first] => told.first = first.parse().unwrap(),
                [way, generation, zero, entropy, _rest] => {
                    assert_eq!(zero, "0", "{text}");
                    let read = Read {
                        generation: generation.parse().unwrap(),
                        entropy: entropy.to_owned(),
                    };
                    told.pages.insert(way.to_owned(), read);
                }
                _ => panic!("{text}"),
            }
        }
        assert_eq!(told.pages.len(), 4, "{text}");
        told
    }

    fn why(&self) -> Option<String> {
        self.engine.counters().latest_not_put_back.lock().clone()
    }
}

fn count() -> u64 {
    let told = std::env::var("USHER_COUNT").ok();
    told.map_or(TIMES, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_reads_a_higher_generation_and_fresh_bytes() {
    let mut seat = Seat::new(Isolation::Request, true, &[]).await;
    let mut seen = BTreeSet::new();
    let mut last = 0;
    let times = count();
    for number in 0..times {
        let told = seat.read().await;
        assert_eq!(told.calls, 1, "{number}");
        let wanted = match number {
            0 => Renewal::Fresh,
            _ => Renewal::InPlace,
        };
        assert_eq!(told.renewal, wanted, "{number}: {:?}", seat.why());
        let page = told.pages["mapped"].clone();
        // It differs from what a part of the snapshot is, in the first run too.
        assert!(page.generation > told.first && page.generation > last);
        last = page.generation;
        for (way, read) in &told.pages {
            assert_eq!(*read, page, "{number}: {way}");
        }
        assert!(seen.insert(page.entropy[..32].to_owned()), "{number}");
        assert!(seen.insert(page.entropy[32..64].to_owned()), "{number}");
    }
    assert_eq!(seen.len() as u64, 2 * times);
}

/// The control: where nothing is put back the page stays as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_state_is_kept_the_page_stays_as_it_is() {
    let mut seat = Seat::new(Isolation::None, true, &[]).await;
    let first = seat.read().await;
    let second = seat.read().await;
    assert_eq!((first.calls, second.calls), (1, 2));
    assert_eq!(first.pages, second.pages);
    assert_eq!(first.pages["mapped"].generation, first.first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_are_replaced_read_other_bytes_each() {
    let mut seat = Seat::new(Isolation::Request, false, &[]).await;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let told = seat.read().await;
        assert_ne!(told.renewal, Renewal::InPlace);
        assert!(seen.insert(told.pages["mapped"].entropy.clone()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_way_to_change_it_is_open() {
    let mut seat = Seat::new(Isolation::Request, true, &[]).await;
    for _ in 0..3 {
        let before = seat.read().await.pages["mapped"].generation;
        assert_eq!(seat.ask("write").await.0, "could:\n");
        let after = seat.read().await;
        assert!(after.pages["mapped"].generation > before);
        let distinct: BTreeSet<_> = after.pages.values().map(|read| &read.entropy).collect();
        assert_eq!(distinct.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_does_to_its_mapping_the_next_one_does_not_see() {
    let mut seat = Seat::new(Isolation::Request, true, &[]).await;
    let mut seen = BTreeSet::new();
    let mut bad = Vec::new();
    for (what, wanted) in PUT_BACK
        .map(|what| (what, Renewal::InPlace))
        .into_iter()
        .chain(REPLACED.map(|what| (what, Renewal::Replaced)))
    {
        let (done, _) = seat.ask(what).await;
        assert_eq!(done, "done\n", "{what}");
        let why = seat.why();
        let told = seat.read().await;
        assert_eq!(told.calls, 1, "{what}");
        let page = &told.pages["mapped"];
        for (way, read) in &told.pages {
            assert_eq!(read, page, "{what}: {way}");
        }
        assert!(seen.insert(page.entropy.clone()), "{what}");
        if told.renewal != wanted {
            bad.push(format!("{what}: {:?}, {why:?}", told.renewal));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// The control: the same attempts succeed on a file of the program's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_ways_are_open_to_a_file_of_its_own() {
    let mut seat = Seat::new(Isolation::Request, true, &[]).await;
    let (could, _) = seat.ask("write-own").await;
    for way in OPEN_TO_OWN {
        assert!(
            could.split_whitespace().any(|it| it == way),
            "{way}: {could}"
        );
    }
}

/// A copy that a program makes of the page is a part of its state, as all else that it wrote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_its_own_goes_back_with_the_program() {
    let mut seat = Seat::new(Isolation::Request, true, &[("COPY", "1")]).await;
    let mut copies = BTreeSet::new();
    let mut last = 0;
    for number in 0..5 {
        let told = seat.read().await;
        assert_eq!(
            told.renewal == Renewal::InPlace,
            number > 0,
            "{:?}",
            seat.why()
        );
        let own = &told.pages["own"];
        assert_eq!(own.generation, told.first);
        copies.insert(own.entropy.clone());
        let mapped = &told.pages["mapped"];
        assert!(mapped.generation > last && mapped.entropy != own.entropy);
        last = mapped.generation;
    }
    assert_eq!(copies.len(), 1);
}
