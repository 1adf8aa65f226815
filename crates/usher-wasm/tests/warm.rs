//! Warm-up and the freshness lint: what an image may begin with, and what it may not.
//!
//! Every mechanism is shown with its control: what the lint finds does repeat where it is off, and
//! what it lets through does not.
#![expect(clippy::unwrap_used, reason = "tests")]

mod guests;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use usher_api::node::{ImageReport, Mode};
use usher_core::function::{Isolation, Lint, LintChoice, RenewalChoice, Sample, Settings};
use usher_engine::Engine;
use usher_wasm::WasmImage;

use guests::{Bench, example, revision};

fn sample(path: &str) -> Sample {
    Sample {
        path: Some(path.to_owned()),
        ..Sample::default()
    }
}

/// Settings that nothing is known of from an earlier run of this test: all of them share one cache,
/// so that big components compile once.
fn warmed(path: &str) -> Settings {
    let mut sample = sample(path);
    let nonce = format!("{:032x}", rand::random::<u128>());
    sample.headers.insert("x-run".to_owned(), nonce);
    Settings {
        warm_up: vec![sample],
        ..Settings::default()
    }
}

fn believed(settings: Settings) -> Settings {
    let lint = Lint {
        freshness: LintChoice::Off,
        ..Lint::default()
    };
    Settings { lint, ..settings }
}

/// What it is answered, from a first environment three times and from a second one.
async fn answers(bench: &Bench, image: &Arc<WasmImage>, target: &str) -> Vec<String> {
    let mut answers = Vec::new();
    let mut environment = bench.start(image).await;
    let other = bench.start(image).await;
    for _ in 0..3 {
        let (answer, _, clean) = bench.visit(environment, target).await;
        clean.audit().unwrap();
        answers.push(answer);
        environment = clean;
    }
    answers.push(bench.visit(other, target).await.0);
    answers
}

fn distinct(answers: &[String]) -> usize {
    answers.iter().collect::<BTreeSet<_>>().len()
}

fn notes(report: &ImageReport) -> String {
    report.notes.join(" ")
}

/// Each environment begins behind the warm-up, and goes back there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_warm_up_has_left_is_found_by_every_request() {
    for name in [
        "rust-counter",
        "c-counter",
        "js-counter",
        "py-counter",
        "wat-globals",
    ] {
        let bench = Bench::new();
        let image = bench.load(name, warmed("/")).await;
        let report = bench.engine.report(&image);
        assert_eq!(report.mode, Mode::Live, "{name}: {report:?}");
        assert!(
            notes(&report).starts_with("warm-up: GET / was answered 200"),
            "{name}: {report:?}"
        );
        let found = answers(&bench, &image, "/").await;
        for answer in &found {
            assert_eq!(guests::counter_of(answer), 2, "{name}: {found:?}");
        }
        // The control: without it each begins anew.
        let cold = bench.load(name, Settings::default()).await;
        let found = answers(&bench, &cold, "/").await;
        assert!(
            found.iter().all(|it| guests::counter_of(it) == 1),
            "{name}: {found:?}"
        );
    }
}

/// Kept state grows on from it, in each environment by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_is_kept_begins_behind_the_warm_up() {
    let bench = Bench::new();
    let settings = Settings {
        isolation: Isolation::None,
        ..warmed("/")
    };
    let image = bench.load("rust-counter", settings).await;
    for _ in 0..2 {
        let mut environment = bench.start(&image).await;
        for count in 2..5 {
            let (answer, _, clean) = bench.visit_and_keep(environment, "/").await;
            assert_eq!(guests::counter_of(&answer), count);
            environment = clean;
        }
    }
}

/// An identity that is drawn when it is first asked for, and a generator that is seeded then, as
/// Python's is: behind a warm-up all callers would be answered the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_image_that_repeats_random_values_is_named_and_dropped() {
    for (name, place) in [("js-identity", "at byte 0"), ("py-random", "at /random")] {
        let bench = Bench::new();
        let settings = warmed("/");
        let image = bench.load(name, settings.clone()).await;
        let report = bench.engine.report(&image);
        assert_eq!(report.mode, Mode::Live, "{name}: {report:?}");
        let told = notes(&report);
        for part in [
            "the image was taken without the warm-up: the freshness lint found that GET / answers",
            &format!("{place} again after each renewal"),
        ] {
            assert!(told.contains(part), "{name}: {told}");
        }
        let found = answers(&bench, &image, "/").await;
        assert_eq!(distinct(&found), found.len(), "{name}: {found:?}");
        // Once found it is known, and nothing is asked again.
        let (again, steps) = load_again(name, settings.clone()).await;
        assert_eq!(steps, ["compiling", "starting"], "{name}");
        assert_eq!(again.notes, report.notes);
        // The control: the warm image does repeat them.
        let image = bench.load(name, believed(warmed("/"))).await;
        let found = answers(&bench, &image, "/").await;
        let values: Vec<_> = found.iter().map(|it| value(it, place)).collect();
        assert_eq!(distinct(&values), 1, "{name}: {found:?}");
        // And without a warm-up there is nothing to name.
        let image = bench.load(name, Settings::default()).await;
        let report = bench.engine.report(&image);
        assert_eq!(
            (report.mode, report.notes),
            (Mode::Live, Vec::new()),
            "{name}"
        );
    }
}

/// The value that stands there in an answer.
fn value(answer: &str, place: &str) -> String {
    let Some(pointer) = place.strip_prefix("at /") else {
        return answer.to_owned();
    };
    let json: serde_json::Value = serde_json::from_str(answer).unwrap();
    json[pointer].to_string()
}

/// What another engine over the same cache makes of it, and by which steps.
async fn load_again(name: &str, settings: Settings) -> (ImageReport, Vec<String>) {
    let bench = Bench::new();
    let artifact = example(name);
    let revision = Arc::new(revision("default", &artifact, settings));
    let (progress, mut steps) = mpsc::channel(8);
    let image = bench
        .engine
        .load(revision, artifact, progress)
        .await
        .unwrap();
    let mut told = Vec::new();
    while let Some(step) = steps.recv().await {
        told.push(step.step);
    }
    (bench.engine.report(&image), told)
}

/// The platform's own generator is asked each time, and JavaScript's engine seeds its own anew for
/// each request: their values pass behind a warm-up too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_image_whose_values_are_fresh_passes() {
    let bench = Bench::new();
    for name in ["rust-random", "js-random"] {
        let settings = warmed("/");
        let image = bench.load(name, settings.clone()).await;
        let report = bench.engine.report(&image);
        assert!(notes(&report).starts_with("warm-up: "), "{report:?}");
        assert!(!notes(&report).contains("lint"), "{report:?}");
        let found = answers(&bench, &image, "/").await;
        assert_eq!(distinct(&found), found.len(), "{name}: {found:?}");
        // It is warmed up each time that it is loaded, and judged once.
        let (_, steps) = load_again(name, settings).await;
        assert_eq!(steps, ["compiling", "starting", "warming up"], "{name}");
    }
}

/// A start function that draws: the image alone freezes what it drew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_drawn_at_the_start_is_not_repeated() {
    let bench = Bench::new();
    let asked = Lint {
        requests: warmed("/").warm_up,
        ..Lint::default()
    };
    let settings = Settings {
        lint: asked,
        ..Settings::default()
    };
    let image = bench.load("wat-identity", settings.clone()).await;
    let report = bench.engine.report(&image);
    assert_eq!(report.mode, Mode::Fresh, "{report:?}");
    let told = report.reasons.join(" ");
    assert!(
        told.contains("the freshness lint found that GET / answers"),
        "{told}"
    );
    let found = answers(&bench, &image, "/").await;
    assert_eq!(distinct(&found), found.len(), "{found:?}");

    // The control, and who knows better is believed.
    let image = bench
        .load("wat-identity", believed(Settings::default()))
        .await;
    assert_eq!(bench.engine.report(&image).mode, Mode::Live);
    let environment = bench.start(&image).await;
    let (first, _, environment) = bench.visit(environment, "/").await;
    assert_eq!(bench.visit(environment, "/").await.0, first);

    // Who asks for live renewal is told why there is none.
    let settings = Settings {
        renewal: RenewalChoice::Live,
        ..settings
    };
    let refused = bench.try_load(example("wat-identity"), settings).await;
    let message = refused.map(drop).unwrap_err().message;
    assert!(message.contains("the freshness lint found"), "{message}");
}

/// A component that cannot be warmed up is served without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_up_that_fails_refuses_nothing() {
    let bench = Bench::new();
    let event = Settings {
        renewal: RenewalChoice::Fresh,
        ..warmed("/")
    };
    for (name, settings, said) in [
        // It serves one request in its life.
        (
            "js-counter-fetch",
            warmed("/"),
            "the image was taken without the warm-up",
        ),
        ("rust-probe-outbound", warmed("/"), "GET / was answered 400"),
        ("rust-hello", event, "the warm-up is not served"),
    ] {
        let image = bench.load(name, settings).await;
        let report = bench.engine.report(&image);
        assert!(notes(&report).contains(said), "{name}: {report:?}");
        let found = answers(&bench, &image, "/").await;
        assert_eq!(distinct(&found), 1, "{name}: {found:?}");
    }
}

/// Nothing goes out while no caller has asked, and nothing is waited for without an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_up_reaches_nothing_and_ends() {
    let bench = Bench::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = Settings {
        outbound: vec![format!("127.0.0.1:{port}")],
        ..warmed(&format!("/?url=http://127.0.0.1:{port}/"))
    };
    let image = bench.load("rust-probe-outbound", settings).await;
    let report = bench.engine.report(&image);
    let nobody = std::future::poll_fn(|cx| match listener.poll_accept(cx) {
        std::task::Poll::Ready(_) => std::task::Poll::Ready(false),
        std::task::Poll::Pending => std::task::Poll::Ready(true),
    });
    assert!(nobody.await, "somebody came: {report:?}");
    // The control: a caller's request goes out.
    let environment = bench.start(&image).await;
    let target = format!("/?url=http://127.0.0.1:{port}/");
    let (_, come) = tokio::join!(bench.visit(environment, &target), async {
        listener.accept().await.map(drop)
    });
    come.unwrap();

    let slow = bench.load("rust-slow", warmed("/?ms=3600000")).await;
    let report = bench.engine.report(&slow);
    assert!(notes(&report).contains("not answered within"), "{report:?}");
}
