//! The API as bytes on a connection: routes, errors, bounds, who may ask, and the end.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usher_api::node::{LogEvent, LogQuery};

use super::rig::{Rig, key, line};
use crate::api::{Api, BindError};

/// Sends these bytes, and reads the answer to its end: status and body.
pub(super) async fn ask(rig: &Rig, request: &str) -> (u16, String) {
    let text = raw(rig, request).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.unwrap_or(0), body.to_owned())
}

async fn raw(rig: &Rig, request: &str) -> String {
    let mut stream = connect(rig).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that closes with bytes unread resets the connection behind its answer.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn connect(rig: &Rig) -> TcpStream {
    let address = rig.client.url().replace("http://", "");
    TcpStream::connect(address).await.unwrap()
}

/// A request without a body.
pub(super) fn asked(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
}

pub(super) fn posted(path: &str, body: &str) -> String {
    let length = body.len();
    asked("POST", path, &format!("content-length: {length}\r\n")) + body
}

pub(super) fn error(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap();
    body["error"].clone()
}

#[tokio::test]
async fn every_route_is_in_the_document_and_is_served() {
    let rig = Rig::new().await;
    rig.deploy("hello", "one").await;
    let (status, document) = ask(&rig, &asked("GET", "/v1/openapi.json", "")).await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            routes.push(format!("{method} {path}"));
            let path = path.replace("{name}", "hello");
            let (status, body) = ask(&rig, &asked(&method.to_uppercase(), &path, "")).await;
            let unknown = status == 405 || body.contains("no-such-route");
            assert!(!unknown, "{method} {path}: {status} {body}");
        }
        let (status, body) = ask(&rig, &asked("PATCH", path, "")).await;
        assert_eq!(
            (status, &error(&body)["label"]),
            (405, &json!("no-such-method"))
        );
    }
    // Written out once more, so that a route that was dropped by accident is noticed.
    let all = [
        "delete /v1/functions/{name}",
        "delete /v1/keys/{id}",
        "get /",
        "get /healthz",
        "get /metrics",
        "get /readyz",
        "get /v1/audit",
        "get /v1/backup",
        "get /v1/functions",
        "get /v1/functions/{name}",
        "get /v1/functions/{name}/logs",
        "get /v1/functions/{name}/revisions",
        "get /v1/keys",
        "get /v1/openapi.json",
        "get /v1/owners",
        "get /v1/owners/{owner}",
        "post /v1/artifacts",
        "post /v1/functions",
        "post /v1/keys",
        "post /v1/restore",
        "put /v1/owners/{owner}",
    ];
    for one in all {
        assert!(routes.iter().any(|route| route == one), "{one} is gone");
    }
    let (status, body) = ask(&rig, &asked("GET", "/v2", "")).await;
    assert_eq!(
        (status, &error(&body)["label"]),
        (404, &json!("no-such-route"))
    );
}

#[tokio::test]
async fn all_mistakes_of_a_deployment_are_told_at_once() {
    let rig = Rig::new().await;
    let body = json!({
        "name": "No Name", "artifact": "12",
        "settings": {"renewal": "never", "isolaton": "none", "limits": {"memory_max_mib": 0}},
    });
    let (status, body) = ask(&rig, &posted("/v1/functions", &body.to_string())).await;
    let error = error(&body);
    assert_eq!(status, 422);
    assert_eq!(error["label"], "mistakes");
    assert_eq!(error["blame"], "caller");
    assert_eq!(error["details"].as_array().unwrap().len(), 5, "{error}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_reason() {
    let rig = Rig::with(|setup| setup.api.json_max_bytes = 64).await;
    for (request, status, label) in [
        (posted("/v1/functions", "{"), 400, "bad-json"),
        (
            posted("/v1/functions", &" ".repeat(65)),
            413,
            "body-too-large",
        ),
        (posted("/v1/functions", "[]"), 422, "mistakes"),
        (asked("GET", "/v1/functions/No_Name", ""), 400, "bad-name"),
        (
            asked("GET", "/v1/functions/hello?owner=-", ""),
            400,
            "bad-query",
        ),
        (
            asked("GET", "/v1/functions/hello?oner=a", ""),
            400,
            "bad-query",
        ),
        (asked("GET", "/v1/functions?limit=x", ""), 400, "bad-query"),
        (asked("GET", "/v1/functions?after=x", ""), 400, "bad-query"),
        (
            asked("GET", "/v1/functions/hello", ""),
            404,
            "no-such-function",
        ),
        (
            asked("GET", "/v1/functions/hello/logs", ""),
            404,
            "no-such-function",
        ),
    ] {
        let answer = ask(&rig, &request).await;
        assert_eq!(answer.0, status, "{request}: {}", answer.1);
        assert_eq!(error(&answer.1)["label"], label, "{request}");
    }
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused_on_every_route() {
    let rig = Rig::new().await;
    for path in ["/", "/metrics", "/v1/functions", "/nowhere"] {
        let foreign =
            format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        let (status, body) = ask(&rig, &foreign).await;
        assert_eq!(
            (status, &error(&body)["label"]),
            (403, &json!("bad-host")),
            "{path}"
        );
        let page = asked("GET", path, "origin: http://evil.example\r\n");
        let (status, body) = ask(&rig, &page).await;
        assert_eq!(
            (status, &error(&body)["label"]),
            (403, &json!("foreign-origin")),
            "{path}"
        );
    }
    // The control: the same without a foreign host or page is served.
    assert_eq!(ask(&rig, &asked("GET", "/", "")).await.0, 200);
    let own = asked("GET", "/", "origin: http://localhost\r\n");
    assert_eq!(ask(&rig, &own).await.0, 200);
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_unless_it_is_meant() {
    let rig = Rig::new().await;
    for (insecure, refused) in [(false, true), (true, false)] {
        let mut options = crate::api::ApiOptions::new("0.0.0.0:0".parse().unwrap());
        options.insecure = insecure;
        let (ready, metrics) = (rig.ready.subscribe(), std::sync::Arc::new(String::new));
        let bound = Api::bind(options, rig.controller.clone(), ready, metrics).await;
        assert_eq!(matches!(bound, Err(BindError::NotLoopback { .. })), refused);
        assert_eq!(bound.is_err(), refused);
    }
}

#[tokio::test]
async fn the_platform_tells_how_it_is() {
    let rig = Rig::new().await;
    assert!(rig.client.ready().await.unwrap());
    rig.ready.send_replace(false);
    assert!(!rig.client.ready().await.unwrap());
    assert_eq!(ask(&rig, &asked("GET", "/healthz", "")).await.0, 200);
    assert_eq!(rig.client.metrics().await.unwrap(), "usher_up 1\n");
    let (_, index) = ask(&rig, &asked("GET", "/", "")).await;
    assert!(index.contains("usher deploy"), "{index}");
}

fn said(line: Option<Result<usher_api::node::LogLine, impl std::fmt::Debug>>) -> String {
    match line.unwrap().unwrap().event {
        LogEvent::Stdout { text } => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn logs_come_as_lines_and_following_them_ends_with_the_api() {
    let mut rig = Rig::new().await;
    rig.deploy("hello", "one").await;
    rig.node
        .log
        .send_replace(["a", "b", "c"].map(line).to_vec());
    let mut query = LogQuery {
        tail: Some(2),
        ..LogQuery::default()
    };
    let mut log = rig.client.logs(&key("hello"), &query).await.unwrap();
    assert_eq!(said(log.next().await), "b");
    assert_eq!(said(log.next().await), "c");
    assert!(log.next().await.is_none());

    query.follow = true;
    query.tail = Some(0);
    let mut log = rig.client.logs(&key("hello"), &query).await.unwrap();
    rig.node.log.send_modify(|log| log.push(line("d")));
    assert_eq!(said(log.next().await), "d");
    rig.stop();
    assert!(log.next().await.is_none());
    drop(log);
    rig.stopped().await;
}

#[tokio::test]
async fn a_request_that_runs_is_finished_when_the_api_stops() {
    let mut rig = Rig::new().await;
    let request = rig.request("hello", "one").await;
    rig.node.open.send_replace(false);
    let client = rig.client.clone();
    let deploy = tokio::spawn(async move { client.deploy(&request, |_| {}).await });
    rig.node.was_asked_times(1).await;
    rig.stop();
    let gate = rig.node.clone();
    gate.open.send_replace(true);
    assert!(deploy.await.unwrap().unwrap().created);
    rig.stopped().await;
}

#[tokio::test]
async fn what_does_not_end_is_cut_when_the_api_stops() {
    let mut rig = Rig::with(|setup| setup.api.drain_max_ms = 1).await;
    let request = rig.request("hello", "one").await;
    rig.node.open.send_replace(false);
    let client = rig.client.clone();
    let deploy = tokio::spawn(async move { client.deploy(&request, |_| {}).await });
    rig.node.was_asked_times(1).await;
    rig.stop();
    assert!(deploy.await.unwrap().is_err());
    rig.stopped().await;
}

#[tokio::test]
async fn a_client_that_never_asks_is_shown_out() {
    let rig = Rig::with(|setup| setup.api.head_wait_max_ms = 1).await;
    let slow = raw(&rig, "GET / HTTP/1.1\r\nhost: loc").await;
    assert!(
        slow.is_empty() || slow.starts_with("HTTP/1.1 408"),
        "{slow}"
    );
    // Nor does one that has asked once stay for ever.
    let once = raw(&rig, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(once.starts_with("HTTP/1.1 200"), "{once}");
}

#[tokio::test]
async fn further_connections_wait_for_a_place() {
    let rig = Rig::with(|setup| setup.api.connections_max = 1).await;
    // Kept alive: it has the only place, and its answer shows that it was accepted.
    let mut first = connect(&rig).await;
    first
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'H');
    let second = asked("GET", "/", "");
    let second = ask(&rig, &second);
    tokio::pin!(second);
    let mut third = connect(&rig).await;
    tokio::select! {
        biased;
        answer = &mut second => panic!("served beyond the bound: {answer:?}"),
        written = third.write_all(b"GET ") => written.unwrap(),
    }
    drop((first, third));
    assert_eq!(second.await.0, 200);
}
