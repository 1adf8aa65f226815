//! Replies that go on after their head.

use http_body_util::BodyExt;
use usher_api::body::Body;
use usher_api::node::{LogEvent, LogQuery, NodeControl};
use usher_core::function::Settings;
use usher_engine::contract::get;

use futures_util::StreamExt;

use crate::World;

fn one(settings: &mut Settings) {
    settings.limits.concurrency_max = 1;
}

#[tokio::test]
async fn the_head_and_the_first_piece_come_before_the_end() {
    let world = World::new();
    let revision = world.revision("stream", one);
    let reply = world
        .reply(&revision, get("http://stream.test/"))
        .await
        .unwrap();
    let mut body = reply.response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first\n");
    // The environment is the run's until the end.
    world.engine.gates().run.arrived(1).await;
    assert_eq!(world.status(&revision).busy, 1);
    let next = world.begin(&revision);
    world
        .until(|world| world.status(&revision).waiting == 1)
        .await;
    world.engine.gates().run.open();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "second\n");
    assert!(next.await.unwrap().is_ok());
    assert_eq!(world.quiet(&revision).await.started, 1);
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_run_and_its_environment() {
    let world = World::new();
    let revision = world.revision("stream", one);
    let reply = world
        .reply(&revision, get("http://stream.test/"))
        .await
        .unwrap();
    let mut body = reply.response.into_body();
    body.frame().await.unwrap().unwrap();
    world.engine.gates().run.arrived(1).await;
    drop(body);
    world.until(|world| world.alive() == 0).await;
    world.quiet(&revision).await;
    assert_eq!(world.totals(&revision).broken_off, 1);
    world.engine.gates().run.open();
    assert!(world.call(&revision).await.is_ok());
}

/// Servers drop a body as soon as it has its promised length, and never read that of a HEAD:
/// neither ends the run.
#[tokio::test]
async fn a_reader_that_has_all_it_was_promised_ends_nothing() {
    let world = World::new();
    world.engine.teach(
        "promised",
        std::sync::Arc::new(|_| {
            Box::pin(async {
                let (send, body) = usher_engine::fake::channel_body();
                let mut response = http::Response::new(body);
                let length = http::HeaderValue::from_static("4");
                response
                    .headers_mut()
                    .insert(http::header::CONTENT_LENGTH, length);
                let rest = async move {
                    // Whether anybody reads it is the reader's affair.
                    let _ = send.send(Ok(bytes::Bytes::from_static(b"four"))).await;
                    send.closed().await;
                    Ok(())
                };
                Ok(usher_engine::fake::Answer {
                    response,
                    rest: Some(Box::pin(rest)),
                })
            })
        }),
    );
    let revision = world.revision("promised", one);
    let reply = world
        .reply(&revision, get("http://promised.test/"))
        .await
        .unwrap();
    let mut body = reply.response.into_body();
    let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(piece, "four");
    drop(body);
    assert_eq!(world.quiet(&revision).await.clean, 1);

    let mut head = get("http://promised.test/");
    *head.method_mut() = http::Method::HEAD;
    let reply = world.reply(&revision, head).await.unwrap();
    drop(reply);
    let status = world.quiet(&revision).await;
    assert_eq!((status.clean, status.started), (1, 1));
    assert_eq!(world.totals(&revision).broken_off, 0);
}

#[tokio::test]
async fn a_trap_in_mid_stream_cuts_the_body_and_is_logged() {
    let world = World::new();
    let revision = world.revision("stream-trap", one);
    let reply = world
        .reply(&revision, get("http://stream.test/"))
        .await
        .unwrap();
    assert!(reply.response.into_body().collect().await.is_err());
    world.until(|world| world.alive() == 0).await;
    world.quiet(&revision).await;
    let totals = world.totals(&revision);
    assert_eq!((totals.broken_off, totals.requests["ok"]), (1, 1));
    let lines = world.node.logs(&revision.function, LogQuery::default());
    let lines = lines.collect::<Vec<_>>().await;
    assert!(lines.iter().any(|line| matches!(
        &line.event,
        LogEvent::Platform { text } if text.contains("broke off") && line.request.is_some()
    )));
}

#[tokio::test]
async fn a_body_is_echoed_piece_by_piece() {
    let world = World::new();
    let revision = world.revision("echo", one);
    let mut request = get("http://echo.test/");
    *request.body_mut() = Body::from("usher".to_owned());
    let reply = world.reply(&revision, request).await.unwrap();
    let body = reply.response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "usher");
    assert_eq!(world.quiet(&revision).await.clean, 1);
}
