//! The trace of a request, as a collector gets it: for a component and for a program, with the
//! caller's trace and without one, and what happens where no collector is.

use std::collections::BTreeSet;
use std::fs;

use http::Request;
use usher_api::body::Body;

use crate::caller::{Answer, Caller};
use crate::collector::{Collector, Span, Taken};
use crate::event;
use crate::folder::Folder;
use crate::server::Server;

/// A caller's trace, span and state.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const STATE: &str = "congo=t61rcWkgMzE";
/// What must not be seen by whom traces go to.
const SECRETS: [&str; 4] = [
    "secret-in-a-header",
    "secret-in-a-query",
    "secret-in-a-body",
    "secret-in-a-variable",
];

/// A program that answers with the trace that it was told.
const TELLS: &str = r#"
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Tells(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        told = "\n".join(f"{n}={self.headers[n]}" for n in ("traceparent", "tracestate")).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Tells).serve_forever()
"#;

/// A folder with that program.
fn tells() -> Folder {
    let folder = Folder::new();
    fs::write(folder.path().join("app.py"), TELLS).unwrap();
    let manifest = "name = \"it\"\n[process]\ncontract = \"http\"\n\
                    command = [\"/usr/bin/python3\", \"app.py\"]\n\
                    [process.environment]\nWORD = \"secret-in-a-variable\"\n\
                    [limits]\nstart_max_ms = 60000\nqueue_wait_max_ms = 60000\n";
    fs::write(folder.path().join("function.toml"), manifest).unwrap();
    folder
}

async fn up(collector: &Collector, data: &Folder, more: &[&str]) -> Server {
    let url = collector.url();
    Server::up_with(data.path(), &[&["--otlp", url.as_str()], more].concat()).await
}

fn asked(caller: &Caller, traced: bool) -> Request<Body> {
    let mut request = caller
        .request("/fn/it/deep/path?word=secret-in-a-query")
        .method("POST")
        .header("authorization", "Bearer secret-in-a-header");
    if traced {
        request = request
            .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
            .header("tracestate", STATE);
    }
    let body = Body::from("secret-in-a-body".to_owned());
    request.body(body).unwrap()
}

/// The span of the request with this id, once all that belongs to it is there.
fn own<'t>(taken: &'t Taken, answer: &Answer) -> Option<&'t Span> {
    let id = answer.request_id();
    let of = |span: &&Span| {
        span.attributes
            .get("faas.invocation_id")
            .is_some_and(|of| of == id)
    };
    taken.spans.iter().find(of)
}

fn children<'t>(taken: &'t Taken, of: &Span) -> Vec<&'t Span> {
    let mut children: Vec<_> = taken
        .spans
        .iter()
        .filter(|span| span.parent == of.id)
        .collect();
    children.sort_by_key(|span| span.began_ns);
    children
}

/// Steps come in their order, within the request, and belong to its trace. Whoever waits for a
/// renewal is served warm and has a step for that too.
fn is_whole(taken: &Taken, own: &Span, warm: bool) {
    let steps = children(taken, own);
    let names: Vec<_> = steps.iter().map(|span| span.name.as_str()).collect();
    let between = names.len().saturating_sub(3);
    let (before, after) = (&names[..2], &names[between..]);
    assert_eq!(before, ["receive", "loaded"], "{names:?}");
    assert_eq!(after, ["swap", "run", "respond"], "{names:?}");
    assert!(
        names[2..between].iter().all(|name| *name == "instantiate"),
        "{names:?}"
    );
    assert!(warm || between > 2, "{names:?}");
    for pair in steps.windows(2) {
        assert!(pair[0].ended_ns <= pair[1].began_ns, "{pair:?}");
    }
    for step in &steps {
        assert_eq!((step.trace.as_str(), step.kind), (own.trace.as_str(), 1));
        assert!(own.began_ns <= step.began_ns && step.ended_ns <= own.ended_ns);
        assert!(step.links.is_empty());
    }
    assert_eq!(steps[0].began_ns, own.began_ns);
    assert_eq!(steps.last().unwrap().ended_ns, own.ended_ns);
}

/// What stands in the span is what the caller was told.
fn says_how_it_was_served(own: &Span, answer: &Answer) {
    let run = answer.run();
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("http.route", "/fn/it"),
        ("url.scheme", "http"),
        ("url.path", "/fn/it/deep/path"),
        ("network.protocol.version", "1.1"),
        ("faas.trigger", "http"),
        ("faas.name", "it"),
        ("usher.owner", "default"),
        ("usher.environment", &run.environment.to_string()),
        ("usher.area", &run.area.to_string()),
        ("usher.generation", &run.generation.to_string()),
        ("usher.start", &run.start),
        ("usher.renewal", &run.renewal),
        ("faas.coldstart", &(run.start != "warm").to_string()),
    ] {
        assert_eq!(
            own.attributes.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(own.attributes["faas.version"].len(), 64);
    assert_eq!((own.kind, own.status), (2, 0));
    assert_eq!(own.name, "POST /fn/it");
    assert_eq!(own.resource["service.name"], "usher");
}

fn tells_no_secret(taken: &Taken) {
    for body in &taken.bodies {
        for secret in SECRETS {
            let found = body
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret}");
        }
    }
}

/// One request with the caller's trace, one without.
async fn is_traced(folder: &Folder) -> (Taken, Answer) {
    let (collector, data) = (Collector::start().await, Folder::new());
    let server = up(&collector, &data, &[]).await;
    server.run(&["deploy", folder.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let traced = caller.whole(asked(&caller, true)).await;
    let alone = caller.whole(asked(&caller, false)).await;
    assert_eq!(
        (traced.status, alone.status),
        (http::StatusCode::OK, http::StatusCode::OK)
    );
    let taken = collector
        .until("both traces and a renewal", |taken| {
            let both = own(taken, &traced).is_some() && own(taken, &alone).is_some();
            both && taken.spans.iter().any(|span| span.name == "renew")
        })
        .await;

    let of_traced = own(&taken, &traced).unwrap();
    assert_eq!(
        (of_traced.trace.as_str(), of_traced.parent.as_str()),
        (TRACE, PARENT)
    );
    assert_eq!(of_traced.state, STATE);
    is_whole(&taken, of_traced, traced.run().start == "warm");
    says_how_it_was_served(of_traced, &traced);

    let of_alone = own(&taken, &alone).unwrap();
    assert_eq!(
        of_alone.trace,
        alone.request_id(),
        "its id is the request's"
    );
    assert_eq!(
        (of_alone.parent.as_str(), of_alone.state.as_str()),
        ("", "")
    );
    is_whole(&taken, of_alone, alone.run().start == "warm");
    says_how_it_was_served(of_alone, &alone);

    let renewals = taken.spans.iter().filter(|span| span.name == "renew");
    let requests = [of_traced, of_alone].map(|span| (span.trace.clone(), span.id.clone()));
    for renewal in renewals {
        assert!(requests.contains(&renewal.links[0]), "{renewal:?}");
        assert_eq!(renewal.parent, "");
        assert!(requests.iter().all(|(trace, _)| *trace != renewal.trace));
        assert_eq!(renewal.attributes["faas.name"], "it");
    }
    let ids: BTreeSet<_> = taken.spans.iter().map(|span| &span.id).collect();
    assert_eq!(ids.len(), taken.spans.len(), "no two spans have one id");
    tells_no_secret(&taken);
    (taken, traced)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_a_component_is_one_trace_with_its_steps() {
    is_traced(&Folder::function("it", "rust-echo", "")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_a_program_is_one_trace_and_the_program_is_told_its_place_in_it() {
    let (taken, answer) = is_traced(&tells()).await;
    let span = &own(&taken, &answer).unwrap().id;
    let told = format!("traceparent=00-{TRACE}-{span}-01\ntracestate={STATE}");
    assert_eq!(answer.text(), told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_and_requests_for_nobody_are_traced_as_what_they_are() {
    let (collector, data) = (Collector::start().await, Folder::new());
    let function = Folder::function("it", "rust-hog", "");
    let server = up(&collector, &data, &[]).await;
    server.run(&["deploy", function.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let trapped = caller.get("/fn/it/?oob=1").await;
    assert_eq!(trapped.status, 502);
    let nobody = caller.get("/fn/nobody/").await;
    assert_eq!(nobody.status, 404);
    let both = |taken: &Taken| own(taken, &trapped).is_some() && own(taken, &nobody).is_some();
    let taken = collector.until("both", both).await;
    let trapped = own(&taken, &trapped).unwrap();
    assert_eq!(
        (trapped.attributes["error.type"].as_str(), trapped.status),
        ("trap", 2)
    );
    assert_eq!(trapped.attributes["http.response.status_code"], "502");
    assert!(trapped.attributes.contains_key("usher.environment"));
    let nobody = own(&taken, &nobody).unwrap();
    assert_eq!((nobody.name.as_str(), nobody.status), ("GET", 0));
    assert_eq!(nobody.attributes["error.type"], "no-such-function");
    assert!(children(&taken, nobody).is_empty());
}

/// What is not to be recorded is not, and the function is told so; the control is recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_decides_and_a_share_is_held() {
    let (collector, data, folder) = (Collector::start().await, Folder::new(), tells());
    let sampler = ["--otlp-sampler", "parentbased_traceidratio"];
    let none = [&sampler[..], &["--otlp-sampler-arg", "0"]].concat();
    let server = up(&collector, &data, &none).await;
    server.run(&["deploy", folder.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let alone = caller.whole(asked(&caller, false)).await;
    let told = alone.text().to_owned();
    let begun = format!("traceparent=00-{}-", alone.request_id());
    assert!(told.starts_with(&begun) && told.contains("-00\n"), "{told}");
    let refused = caller
        .request("/fn/it/")
        .method("POST")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-00"));
    let refused = caller
        .whole(refused.body(Body::from(String::new())).unwrap())
        .await;
    let unchanged = format!("traceparent=00-{TRACE}-{PARENT}-00");
    assert!(refused.text().starts_with(&unchanged), "{refused:?}");
    let traced = caller.whole(asked(&caller, true)).await;
    let taken = collector
        .until("the control", |taken| own(taken, &traced).is_some())
        .await;
    assert!(own(&taken, &alone).is_none() && own(&taken, &refused).is_none());
}

/// Without a collector requests are answered as ever, what is dropped is counted, and the end does
/// not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_collector_costs_spans_and_no_request() {
    let (data, function) = (Folder::new(), Folder::function("it", "rust-hello", ""));
    // It takes connections and never answers, which is worse than one that refuses them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut server = Server::up_with(data.path(), &["--otlp", &url]).await;
    server.run(&["deploy", function.text()]).await.done();
    let caller = Caller::new(server.gateway);
    for _ in 0..20 {
        assert_eq!(caller.get("/fn/it/").await.status, 200);
    }
    let client = server.client();
    let waits = async {
        loop {
            let metrics = client.metrics().await.unwrap();
            let figure = |name: &str| {
                let line = metrics.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap().trim().parse::<u64>().unwrap()
            };
            let waiting = figure("usher_trace_spans_waiting ");
            let dropped = figure("usher_trace_spans_dropped_total{reason=\"not-taken\"} ");
            if dropped > 0 {
                break (waiting, dropped);
            }
            assert!(waiting > 0, "{metrics}");
        }
    };
    event("spans are dropped, and that is counted", waits).await;
    server.terminate();
    assert!(server.ended().await.success());
}
