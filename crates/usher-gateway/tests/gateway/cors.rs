//! What browsers are told about pages of other origins.

use http::Response;
use usher_api::body::Body;
use usher_api::invoke::Invocation;
use usher_core::cors::Cors;
use usher_core::fault::Fault;
use usher_core::function::{Isolation, Settings};
use usher_gateway::FunctionFigures;

use crate::rig::{Answer, Fake, Rig, outcome, reply};

const PAGE: &str = "https://page.example";

/// A function that says about CORS what it likes, and counts how often it is run.
async fn rig(cors: Option<Cors>) -> Rig {
    let settings = Settings {
        cors,
        // Preflights carry no such header.
        isolation: Isolation::Key("header:x-tenant".parse().unwrap()),
        ..Settings::default()
    };
    let invoker = Fake(async |invocation: Invocation| {
        if invocation.request.uri().path() == "/fails" {
            return Err(Fault::Trap.into());
        }
        let mut response = Response::new(Body::from("run".to_owned()));
        let headers = response.headers_mut();
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("vary", "accept"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        reply(response)
    });
    Rig::single(settings, invoker).await
}

fn cors(origins: &[&str]) -> Cors {
    Cors {
        origins: origins.iter().map(|one| (*one).to_owned()).collect(),
        methods: vec!["PUT".to_owned()],
        headers: vec!["x-tenant".to_owned()],
        expose: vec!["x-request-id".to_owned()],
        credentials: true,
        max_age_s: 7,
    }
}

async fn ask(rig: &Rig, line: &str, headers: &str) -> Answer {
    rig.once(&format!("{line} HTTP/1.1\r\nhost: a\r\n{headers}\r\n"))
        .await
}

async fn preflight(rig: &Rig, origin: &str, method: &str) -> Answer {
    let headers = format!(
        "origin: {origin}\r\naccess-control-request-method: {method}\r\n\
         access-control-request-headers: x-tenant\r\n"
    );
    ask(rig, "OPTIONS /", &headers).await
}

/// All that an answer says about CORS.
fn said(answer: &Answer) -> Vec<&str> {
    let lines = answer.head.split("\r\n");
    let mut said: Vec<_> = lines
        .filter(|line| line.starts_with("access-control-") || line.starts_with("vary"))
        .collect();
    said.sort_unstable();
    said
}

#[tokio::test]
async fn a_preflight_is_answered_without_the_function() {
    let rig = rig(Some(cors(&[PAGE]))).await;
    let answer = preflight(&rig, PAGE, "PUT").await;
    assert_eq!(answer.status, 204);
    let varies = [
        "vary: access-control-request-headers",
        "vary: access-control-request-method",
        "vary: origin",
    ];
    let permitted = [
        "access-control-allow-credentials: true",
        "access-control-allow-headers: x-tenant",
        "access-control-allow-methods: PUT",
        "access-control-allow-origin: https://page.example",
        "access-control-max-age: 7",
    ];
    assert_eq!(said(&answer), [&permitted[..], &varies].concat());
    assert!(answer.header("x-request-id").is_some());
    for (origin, method) in [
        ("https://evil.example", "PUT"),
        (PAGE, "DELETE"),
        ("null", "PUT"),
    ] {
        let answer = preflight(&rig, origin, method).await;
        assert_eq!(answer.status, 204);
        assert_eq!(said(&answer), varies, "{origin} {method}");
    }
    let figures = rig.gauge.snapshot();
    let ran = |it: &FunctionFigures| !it.figures.outcomes.is_empty();
    assert!(!figures.functions.iter().any(ran), "it has run");
    assert_eq!(figures.unrouted.outcomes, [("2xx", 4)].into());
}

#[tokio::test]
async fn replies_and_refusals_say_what_the_owner_permits_and_not_what_the_function_says() {
    let rig = rig(Some(cors(&[PAGE]))).await;
    let tenant = "x-tenant: t\r\n";
    let permitted = [
        "access-control-allow-credentials: true",
        "access-control-allow-origin: https://page.example",
        "access-control-expose-headers: x-request-id",
    ];
    let own = format!("origin: {PAGE}\r\n{tenant}");
    let answer = ask(&rig, "GET /", &own).await;
    assert_eq!(answer.body, "run");
    let varies = ["vary: accept", "vary: origin"];
    assert_eq!(said(&answer), [&permitted[..], &varies].concat());
    let answer = ask(&rig, "GET /fails", &own).await;
    assert_eq!(answer.status, 502);
    assert_eq!(said(&answer), [&permitted[..], &["vary: origin"]].concat());
    for headers in [
        format!("origin: https://evil.example\r\n{tenant}"),
        tenant.to_owned(),
    ] {
        assert_eq!(said(&ask(&rig, "GET /", &headers).await), varies);
    }
    // An OPTIONS request that is no preflight is the function's.
    assert_eq!(ask(&rig, "OPTIONS /", &own).await.body, "run");
    assert_eq!(outcome(&rig.gauge, "2xx"), 4);
}

#[tokio::test]
async fn a_function_whose_owner_says_nothing_speaks_for_itself() {
    let rig = rig(None).await;
    let answer = preflight(&rig, PAGE, "PUT").await;
    assert_eq!(
        answer.status, 400,
        "it names no key, and no preflight is seen in it"
    );
    let headers = format!("origin: {PAGE}\r\nx-tenant: t\r\n");
    let answer = ask(&rig, "GET /", &headers).await;
    let own = [
        "access-control-allow-credentials: true",
        "access-control-allow-origin: *",
        "vary: accept",
    ];
    assert_eq!(said(&answer), own);
}
