//! What is taken out of heads, what is put in, and which replies are refused.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode};
use tokio::sync::mpsc;
use usher_api::body::Body;
use usher_api::invoke::{Failure, Invocation};
use usher_core::fault::{Fault, TimeLimit};
use usher_core::function::Settings;

use crate::rig::{Fake, PROOF, Rig, data, fed, outcome, reply, text};

/// What the function saw of a request.
async fn seen(head: &str) -> HeaderMap {
    let (sender, mut heads) = mpsc::unbounded_channel();
    let rig = Rig::single(
        Settings::default(),
        Fake(move |invocation: Invocation| {
            sender.send(invocation.request.headers().clone()).unwrap();
            async { text("") }
        }),
    )
    .await;
    assert_eq!(rig.once(head).await.status, 200);
    heads.recv().await.unwrap()
}

#[tokio::test]
async fn the_function_sees_no_header_of_the_connection_and_none_that_is_forged() {
    let headers = seen(
        "GET / HTTP/1.1\r\nhost: a.b:1\r\nconnection: keep-alive, X-Secret\r\nx-secret: 1\r\n\
         keep-alive: 5\r\nproxy-authorization: x\r\nproxy: x\r\nte: trailers, deflate\r\n\
         upgrade: h2c\r\nusher-run: env=1\r\nUsher-Anything: 2\r\nforwarded: for=1.2.3.4\r\n\
         x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\n\
         x-forwarded-port: 1\r\nx-request-id: mine\r\nx-kept: yes\r\naccept: */*\r\n\r\n",
    )
    .await;
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "host",
            "te",
            "traceparent",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-kept",
            "x-request-id"
        ]
    );
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "a.b:1");
    let id = headers["x-request-id"].to_str().unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(headers["traceparent"].to_str().unwrap()[3..35], *id);
}

#[tokio::test]
async fn the_target_says_which_host_is_meant_and_no_other_is_seen() {
    let headers = seen("GET http://a.b/ HTTP/1.1\r\nhost: evil\r\n\r\n").await;
    assert_eq!(headers["host"], "a.b");
    assert_eq!(headers["x-forwarded-host"], "a.b");
    let headers = seen("GET http://a.b/ HTTP/1.0\r\n\r\n").await;
    assert_eq!(headers["host"], "a.b");
}

#[tokio::test]
async fn a_readable_trace_is_passed_on_and_an_unreadable_one_is_begun_anew() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let with = |trace: &str| {
        format!("GET / HTTP/1.1\r\nhost: a\r\ntraceparent: {trace}\r\ntracestate: v=1\r\n\r\n")
    };
    let headers = seen(&with(TRACE)).await;
    assert_eq!(headers["traceparent"], TRACE);
    assert_eq!(headers["tracestate"], "v=1");
    let headers = seen(&with("00-zz")).await;
    assert_eq!(headers["traceparent"].len(), 55);
    assert_eq!(headers.get("tracestate"), None);
}

#[tokio::test]
async fn the_caller_sees_the_proof_and_no_forgery_of_it() {
    let forged = |_| async {
        let mut response = Response::new(Body::from("x".to_owned()));
        for (name, value) in [
            ("usher-run", "env=0"),
            ("usher-else", "1"),
            ("connection", "x-mine, close"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("transfer-encoding", "gzip"),
            ("upgrade", "h2c"),
            ("x-request-id", "mine"),
            ("x-kept", "yes"),
        ] {
            response.headers_mut().append(name, value.parse().unwrap());
        }
        reply(response)
    };
    let rig = Rig::single(Settings::default(), Fake(forged)).await;
    let mut raw = rig.connect().await;
    raw.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = raw.answer().await;
    assert_eq!(answer.header("usher-run").unwrap(), PROOF.to_string());
    assert_eq!(answer.head.matches("usher-").count(), 1);
    assert_eq!(answer.head.matches("x-request-id").count(), 1);
    for gone in [
        "connection",
        "x-mine",
        "keep-alive",
        "transfer-encoding",
        "upgrade",
    ] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_eq!(answer.header("x-kept"), Some("yes"));
    raw.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(
        raw.answer().await.status,
        200,
        "the function cannot close the connection"
    );

    let hidden = Settings {
        hide_proof: true,
        ..Settings::default()
    };
    let rig = Rig::single(hidden, Fake(forged)).await;
    assert_eq!(rig.get("/").await.header("usher-run"), None);
}

#[tokio::test]
async fn faults_become_their_status_and_say_whose_they_are() {
    let faults = [
        (Fault::Trap, 502, "trap", "function"),
        (
            Fault::OutOfMemory {
                memory_max_bytes: 5,
            },
            502,
            "out-of-memory",
            "function",
        ),
        (
            Fault::TimeOut {
                limit: TimeLimit::FirstByte,
                limit_ms: 9,
            },
            504,
            "time-out",
            "function",
        ),
        (Fault::Unavailable, 503, "unavailable", "platform"),
    ];
    for (fault, status, label, blame) in faults {
        let message = fault.to_string();
        let rig = Rig::single(
            Settings::default(),
            Fake(move |_| {
                let fault = fault.clone();
                async move { Err(fault.into()) }
            }),
        )
        .await;
        let answer = rig.get("/").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("usher-run"), None);
        let error = answer.error();
        assert_eq!(error["label"], label);
        assert_eq!(error["blame"], blame);
        assert_eq!(error["message"], message);
        assert_eq!(outcome(&rig.gauge, label), 1);
    }
}

#[tokio::test]
async fn a_run_that_failed_shows_its_proof_unless_that_is_hidden() {
    for hide_proof in [false, true] {
        let settings = Settings {
            hide_proof,
            ..Settings::default()
        };
        let rig = Rig::single(
            settings,
            Fake(async |_| {
                Err(Failure {
                    fault: Fault::Trap,
                    proof: Some(PROOF),
                })
            }),
        )
        .await;
        let answer = rig.get("/").await;
        assert_eq!(answer.error()["label"], "trap");
        let shown = (!hide_proof).then(|| PROOF.to_string());
        assert_eq!(answer.header("usher-run"), shown.as_deref());
    }
}

#[tokio::test]
async fn replies_that_no_connection_can_carry_are_the_functions_fault() {
    type Bad = fn(&mut Response<Body>);
    let bad: [Bad; 5] = [
        |response| *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        |response| *response.status_mut() = StatusCode::CONTINUE,
        |response| {
            let headers = response.headers_mut();
            headers.insert(CONTENT_LENGTH, "+2".parse().unwrap());
        },
        |response| {
            let headers = response.headers_mut();
            headers.append(CONTENT_LENGTH, "2".parse().unwrap());
            headers.append(CONTENT_LENGTH, "3".parse().unwrap());
        },
        |response| {
            let headers = response.headers_mut();
            headers.insert(CONTENT_LENGTH, "3".parse().unwrap());
        },
    ];
    for bad in bad {
        let rig = Rig::single(
            Settings::default(),
            Fake(move |_| async move {
                let mut response = Response::new(Body::from("ok".to_owned()));
                bad(&mut response);
                reply(response)
            }),
        )
        .await;
        let answer = rig.get("/").await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.error()["label"], "trap");
        let run = answer.header("usher-run");
        assert_eq!(run, Some(PROOF.to_string().as_str()), "it has run");
    }
}

#[tokio::test]
async fn replies_without_a_body_keep_the_connection_and_complete() {
    let rig = Rig::single(
        Settings::default(),
        Fake(async |invocation: Invocation| {
            let path = invocation.request.uri().path().to_owned();
            let (feed, body) = fed();
            let mut response = Response::new(Body::Empty);
            match path.as_str() {
                "/204" => *response.status_mut() = StatusCode::NO_CONTENT,
                "/304" => *response.status_mut() = StatusCode::NOT_MODIFIED,
                "/whole" => *response.body_mut() = Body::from("hello".to_owned()),
                "/streamed" => {
                    feed.send(data("hello")).unwrap();
                    *response.body_mut() = body;
                }
                _ => {}
            }
            if path != "/streamed" && path != "/whole" {
                let headers = response.headers_mut();
                headers.insert(CONTENT_LENGTH, "5".parse().unwrap());
            }
            reply(response)
        }),
    )
    .await;
    let mut raw = rig.connect().await;
    for (line, status, length) in [
        ("GET /204", 204, None),
        ("GET /304", 304, None),
        ("HEAD /announced", 200, Some("5")),
        ("HEAD /whole", 200, Some("5")),
        ("HEAD /streamed", 200, None),
    ] {
        raw.send(&format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let head = raw.until("\r\n\r\n").await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {head}"
        );
        let announced = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        assert_eq!(announced, length, "{line}");
    }
    raw.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await;
    let end = String::from_utf8(raw.rest().await).unwrap();
    assert!(
        end.starts_with("HTTP/1.1 502"),
        "an empty body that claims five bytes: {end}"
    );
    crate::rig::figures(&rig.gauge, |figures| figures.running == 0).await;
    assert_eq!(outcome(&rig.gauge, "caller-gone"), 0);
}
