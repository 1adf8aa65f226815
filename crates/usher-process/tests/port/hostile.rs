//! Programs that speak HTTP badly, or on purpose badly: one clear error each.

use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use usher_process::contract::port::CallError;

use crate::rig::{Program, driven, event, get, whole};

async fn failure(reply: &'static str) -> CallError {
    let program = Program::start(move |mut raw, _| async move {
        raw.head().await;
        raw.send(reply).await;
    })
    .await;
    whole(&mut program.client(), get("/")).await.unwrap_err()
}

#[tokio::test]
async fn garbage_is_malformed() {
    for reply in [
        "garbage\r\n\r\n",
        "<html>hello</html>\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
    ] {
        let error = failure(reply).await;
        assert!(
            matches!(error, CallError::Malformed(_)),
            "{reply:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_end_before_the_head_is_told() {
    for reply in [
        "",
        "HTTP/1.1",
        "HTTP/1.1 200 OK\r\nx: y\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let error = failure(reply).await;
        assert!(matches!(error, CallError::Closed), "{reply:?}: {error:?}");
    }
}

#[tokio::test]
async fn an_end_within_the_body_is_told_to_reader_and_driver() {
    for reply in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    ] {
        let program = Program::start(move |mut raw, _| async move {
            raw.head().await;
            raw.send(reply).await;
        })
        .await;
        let answered = event(program.client().call(get("/"))).await.unwrap();
        let (response, rest) = driven(answered);
        let mut body = response.into_body();
        let first = event(body.frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "abc");
        assert!(event(body.frame()).await.unwrap().is_err(), "{reply:?}");
        let error = event(rest).await.unwrap().unwrap_err();
        assert!(
            matches!(error, CallError::Broken(_)),
            "{reply:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn more_than_was_announced_is_cut_off() {
    let program = Program::start(|mut raw, _| async move {
        raw.head().await;
        raw.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef")
            .await;
        let _ = raw.rest().await;
    })
    .await;
    let mut client = program.client();
    for used in 1..3 {
        assert_eq!(whole(&mut client, get("/")).await.unwrap().text, "abc");
        assert_eq!(program.connections(), used);
    }
}

/// Sends a beginning, and then a piece for as long as anybody takes it.
async fn endless(begin: &'static str, piece: &'static str) -> CallError {
    let program = Program::start(move |mut raw, _| async move {
        raw.head().await;
        raw.send(begin).await;
        while raw.0.write_all(piece.as_bytes()).await.is_ok() {}
    })
    .await;
    whole(&mut program.client(), get("/")).await.unwrap_err()
}

#[tokio::test]
async fn heads_without_an_end_and_floods_of_interim_replies_are_bounded() {
    for (begin, piece) in [
        ("HTTP/1.1 200 OK\r\n", "x-more: and more\r\n"),
        ("HTTP/1.1 200 OK\r\nx-long: ", "longer and longer "),
        ("HTTP/1.1 200 ", "O"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n"),
    ] {
        let error = endless(begin, piece).await;
        assert!(
            matches!(error, CallError::HeadTooLarge { .. }),
            "{piece:?}: {error:?}"
        );
    }
    // Blank lines before a reply are passed over by some, but not without an end.
    let error = endless("", "\r\n").await;
    assert!(
        matches!(
            error,
            CallError::HeadTooLarge { .. } | CallError::Malformed(_)
        ),
        "{error:?}"
    );
}
