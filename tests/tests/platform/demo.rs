//! What anybody sees first: the bundled functions, and the demo that proves what it shows.

use futures_util::future::join_all;
use usher_api::body::Body;

use crate::caller::{Answer, Caller, Run, take_turns};
use crate::count;
use crate::folder::Folder;
use crate::server::{Server, run};

/// Requests that are under way at once.
const CALLERS: usize = 16;
/// Requests of a program.
const PROGRAMS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundled_function_answers_at_its_name_and_at_its_path() {
    let server = Server::demo().await;
    let caller = Caller::new(server.gateway);
    let by_path = caller.get("/fn/hello/").await;
    assert_eq!(by_path.text(), "Hello from Rust");
    let by_name = |host: &str| caller.request("/").header("host", host).body(Body::Empty);
    let named = caller.whole(by_name("hello.localhost").unwrap()).await;
    assert_eq!(named.text(), "Hello from Rust");
    let nobody = caller.whole(by_name("nobody.localhost").unwrap()).await;
    assert_eq!(nobody.error(404)["label"], "no-such-function");
    assert_eq!(nobody.error(404)["blame"], "caller");
    let nobody = caller.get("/fn/nobody/").await;
    assert_eq!(nobody.error(404)["label"], "no-such-function");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_meets_the_same_environment_and_another_area() {
    let server = Server::demo().await;
    let caller = Caller::new(server.gateway);
    for function in ["counter", "c-counter"] {
        let path = format!("/fn/{function}/");
        let mut before: Option<Run> = None;
        for nth in 0..count() {
            let answer = caller.get(&path).await;
            assert_eq!(answer.text(), "1", "{function}");
            let now = answer.run();
            if let Some(before) = before {
                assert_eq!(now.environment, before.environment, "{function} {nth}");
                assert_ne!(now.area, before.area, "{function} {nth}");
                assert_eq!(now.renewal, "swap", "{function} {nth}");
                assert_eq!(now.start, "warm", "{function} {nth}");
            }
            before = Some(now);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundled_program_answers_beside_the_components() {
    let server = Server::demo().await;
    let caller = Caller::new(server.gateway);
    assert_eq!(caller.get("/fn/c-program/").await.text(), "hello from C");
    for _ in 0..PROGRAMS {
        let answer = caller.get("/fn/c-program/counter").await;
        assert_eq!(answer.text(), "1");
        assert_ne!(answer.run().renewal, "replaced");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_count_to_one_and_nothing_is_compiled_again() {
    let (data, function) = (
        Folder::new(),
        Folder::function("counter", "rust-counter", ""),
    );
    let server = Server::up(data.path()).await;
    server.run(&["deploy", function.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let each = count().div_ceil(CALLERS);
    let callers = (0..CALLERS).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move {
            let mut runs = Vec::with_capacity(each);
            for _ in 0..each {
                let answer: Answer = caller.get("/fn/counter/").await;
                assert_eq!(answer.text(), "1");
                runs.push(answer.run());
            }
            runs
        })
    });
    let runs: Vec<Run> = join_all(callers)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    assert_eq!(runs.len(), each * CALLERS);
    take_turns(&runs);
    let metrics = server.client().metrics().await.unwrap();
    let figure = |name: &str| {
        let line = format!("{name}{{owner=\"default\",function=\"counter\"}} ");
        let mut found = metrics.lines().filter_map(|text| text.strip_prefix(&line));
        let figure = found.next().unwrap_or_else(|| panic!("{line}:\n{metrics}"));
        figure.parse::<u64>().unwrap()
    };
    assert_eq!(figure("usher_artifacts_compiled_total"), 1);
    assert_eq!(figure("usher_images_loaded_total"), 1);
    assert_eq!(figure("usher_quarantined_total"), 0);
    assert_eq!(figure("usher_audits_failed_total"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_holds_and_has_its_control() {
    let findings = run(None, &["demo"]).await.done();
    for finding in &findings {
        assert_eq!(finding["held"], true, "{finding}");
    }
    let value = |name: &str| {
        let found = findings.iter().find(|finding| finding["name"] == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {findings:?}"));
        found["value"].as_u64().unwrap()
    };
    assert_eq!(value("counter-says-one"), 200);
    assert!(value("renewed-by-swap") > 0);
    assert!(value("markers-planted") > 0);
    assert_eq!(value("markers-found-by-the-next"), 0);
    // The control: without isolation the same probes do find.
    assert!(value("without-isolation-markers-found") > 0);
    assert!(value("without-isolation-counter-says") > 1);
    // Programs, and their control.
    assert_eq!(value("program-counter-says-one"), 20);
    assert_eq!(value("program-processes"), 1);
    assert_eq!(value("program-renewed-in-place"), 20);
    assert!(value("without-isolation-program-says") > 1);
    assert!(value("without-isolation-program-stays") > 0);
    assert_eq!(value("program-crash-is-told"), 502);
    for language in ["python", "node"] {
        let value = |name: &str| value(&name.replace("LANGUAGE", language));
        assert_eq!(value("LANGUAGE-counter-says-one"), 100);
        assert_eq!(value("LANGUAGE-processes"), 1);
        assert_eq!(value("LANGUAGE-renewed-in-place"), 99);
        assert_eq!(value("LANGUAGE-random-values-repeated"), 0);
        assert_eq!(value("LANGUAGE-markers-found-by-the-next"), 0);
        assert_eq!(value("without-isolation-LANGUAGE-says"), 10);
        assert!(value("without-isolation-LANGUAGE-finds") > 0);
    }
    // Shown, not judged.
    for name in [
        "program-renewed-median",
        "program-kept-median",
        "python-request-median",
        "node-request-median",
    ] {
        assert!(
            findings.iter().any(|finding| finding["name"] == name),
            "{name}"
        );
    }
}
