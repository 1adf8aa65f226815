//! The freshness lint and the warm-up of programs, in an engine of the test's own.
//!
//! `python3 -E` and `node --no-addons` are the switches that turn the shims off: the interpreter
//! does not load them then, and `reuse = true` has the program put back all the same.
//!
//! Needs the right to make sandboxes, and what `cargo xtask examples` builds. `USHER_COUNT` says
//! how many runs each program has that must not repeat a value.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "lint/rig.rs"]
mod rig;
#[path = "lint/warm_up.rs"]
mod warm_up;

use std::collections::{BTreeMap, BTreeSet};

use usher_api::node::Mode;
use usher_core::function::{Lint, LintChoice, Sample};
use usher_core::proof::Renewal;

use crate::rig::{Image, Program, Rig, path};

/// Runs of each program in which nothing may repeat, without a count.
const RUNS: usize = 20;

const PYTHON: Program = Program::own(&["/usr/bin/python3", "app.py"]);
const NODE: Program = Program::own(&["/usr/bin/node", "app.cjs"]);
/// The same without the shims.
const UNTOLD_PYTHON: Program = Program::own(&["/usr/bin/python3", "-E", "app.py"]).reused();
const UNTOLD_NODE: Program = Program::own(&["/usr/bin/node", "--no-addons", "app.cjs"]).reused();

/// What a program draws, by the names of the generators.
type Values = BTreeMap<String, String>;

async fn drawn(image: &Image, runs: usize) -> (Vec<Values>, Vec<Renewal>) {
    let mut seat = image.seat().await;
    let mut all = Vec::new();
    for _ in 0..runs {
        let told: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&seat.ask("/").await.1).unwrap();
        assert_eq!(told["calls"], 1, "not a clean program");
        let drawn = told
            .into_iter()
            .filter(|(name, _)| name != "calls" && name != "build");
        all.push(
            drawn
                .map(|(name, value)| (name, value.to_string()))
                .collect(),
        );
    }
    (all, seat.served)
}

/// The generators that gave a value twice.
fn repeated(all: &[Values]) -> BTreeSet<&str> {
    let names = all[0].keys().map(String::as_str);
    let distinct = |name: &str| {
        all.iter()
            .map(|one| &one[name])
            .collect::<BTreeSet<_>>()
            .len()
    };
    names.filter(|name| distinct(name) < all.len()).collect()
}

/// Nothing is found, the program is put back, and no value repeats.
async fn passes(program: Program) {
    let rig = Rig::new();
    let image = rig.image(program, |_| {}).await.unwrap();
    let report = image.report();
    assert_eq!((report.mode, report.reasons), (Mode::Live, Vec::new()));
    assert_eq!(report.notes, Vec::<String>::new());
    let runs = std::env::var("USHER_COUNT").map_or(RUNS, |count| count.parse().unwrap());
    let (values, served) = drawn(&image, runs).await;
    assert_eq!(repeated(&values), BTreeSet::new());
    let put_back = served.iter().filter(|it| is_put_back(**it)).count();
    assert!(put_back * 2 >= runs - 1, "{put_back} of {runs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_python_that_is_told_passes_and_repeats_nothing() {
    passes(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_node_that_is_told_passes_and_repeats_nothing() {
    passes(NODE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lambda_function_in_python_that_is_told_passes_and_repeats_nothing() {
    passes(Program::lambda(&[
        "/usr/bin/python3",
        "-m",
        "awslambdaric",
        "app.handler",
    ]))
    .await;
}

/// Each generator that repeats is found by a request of its own, those of the kernel are not; then
/// the program is replaced, and repeats nothing. The control: without the lint callers see it.
async fn is_found(program: Program, stale: &[&str], kernel: &[&str]) {
    let rig = Rig::new();
    for name in stale {
        let requests = vec![path(&format!("/{name}"))];
        let image = rig
            .image(program, |it| it.lint.requests = requests)
            .await
            .unwrap();
        let report = image.report();
        assert_eq!(report.mode, Mode::Replaced, "{name}");
        let told = report.reasons.join(" ");
        assert!(
            told.contains(&format!(
                "the freshness lint found that GET /{name} answers "
            )),
            "{told}"
        );
        assert!(
            told.contains(&format!(" at /{name} again after each renewal")),
            "{told}"
        );
    }
    let requests: Vec<Sample> = kernel
        .iter()
        .map(|name| path(&format!("/{name}")))
        .collect();
    let image = rig
        .image(program, |it| it.lint.requests = requests)
        .await
        .unwrap();
    assert_eq!(image.report().reasons, Vec::<String>::new());

    let image = rig.image(program, |_| {}).await.unwrap();
    assert_eq!(image.report().mode, Mode::Replaced);
    let (values, served) = drawn(&image, 4).await;
    assert_eq!(repeated(&values), BTreeSet::new());
    assert!(!served.iter().any(|it| is_put_back(*it)), "{served:?}");

    let off = |it: &mut usher_core::function::Settings| it.lint.freshness = LintChoice::Off;
    let image = rig.image(program, off).await.unwrap();
    assert_eq!(image.report().mode, Mode::Live);
    let (values, _) = drawn(&image, 4).await;
    assert_eq!(repeated(&values), stale.iter().copied().collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_python_repeats_untold_is_found() {
    is_found(
        UNTOLD_PYTHON,
        &["random", "ssl", "tempfile"],
        &["uuid4", "secrets"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_node_repeats_untold_is_found() {
    is_found(UNTOLD_NODE, &["bytes", "math", "uuid", "web"], &["kernel"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lambda_function_repeats_untold_is_found() {
    let command = &[
        "/usr/bin/python3",
        "-E",
        "-m",
        "awslambdaric",
        "app.handler",
    ];
    let rig = Rig::new();
    let image = rig.image(Program::lambda(command).reused(), |_| {});
    let report = image.await.unwrap().report();
    assert_eq!(report.mode, Mode::Replaced);
    let told = report.reasons.join(" ");
    assert!(
        told.contains(" at /random again after each renewal"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_told_give_no_alarm() {
    let rig = Rig::new();
    for program in rig::EXAMPLES {
        let image = rig.image(program, |_| {}).await.unwrap();
        let report = image.report();
        let told = (report.mode, report.reasons, report.notes);
        assert_eq!(told, (Mode::Live, Vec::new(), Vec::new()), "{program:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lint_without_a_judgement_says_so_and_changes_nothing() {
    let rig = Rig::new();
    let requests = vec![path("/nowhere")];
    let image = rig
        .image(PYTHON, |it| it.lint.requests = requests)
        .await
        .unwrap();
    let report = image.report();
    assert_eq!((report.mode, report.reasons), (Mode::Live, Vec::new()));
    let told = report.notes.join(" ");
    assert!(
        told.contains(
            "no judgement: every request was answered with an error, such as 404 to GET /nowhere"
        ),
        "{told}"
    );
    // A program that is called goes on serving.
    let (_, served) = drawn(&image, 2).await;
    assert_eq!(served.len(), 2);

    let program = Program::example("http-c", &["./server"]);
    let requests = vec![path("/slow")];
    let image = rig.image(program, |it| it.lint.requests = requests);
    let told = image.await.unwrap().report().notes.join(" ");
    assert!(
        told.contains("GET /slow was not answered within 2000 ms"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_insists_on_being_put_back_is_not_deployed() {
    let rig = Rig::new();
    let live = |it: &mut usher_core::function::Settings| {
        it.renewal = usher_core::function::RenewalChoice::Live;
    };
    let refused = rig.image(UNTOLD_PYTHON, live).await.err().unwrap();
    assert!(
        refused.contains("renewal = \"live\" cannot be had: the freshness lint found"),
        "{refused}"
    );
    let image = rig.image(UNTOLD_PYTHON, |it| {
        live(it);
        it.lint = Lint {
            freshness: LintChoice::Off,
            requests: Vec::new(),
        };
    });
    assert!(image.await.is_ok());
}

fn is_put_back(renewal: Renewal) -> bool {
    matches!(renewal, Renewal::InPlace | Renewal::Swap)
}
