//! Bodies on their way, both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, mpsc};
use usher_api::body::{Body, BodyError};
use usher_process::contract::port::CallError;

use crate::rig::{Program, data, driven, event, fed, get, read, request, whole};

/// More than the kernel and we hold of a body that nobody reads.
const HELD_MAX_BYTES: u64 = 32 << 20;
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn pieces_arrive_as_they_are_made() {
    let (step, steps) = mpsc::unbounded_channel();
    let steps = Arc::new(tokio::sync::Mutex::new(steps));
    let program = Program::start(move |mut raw, _| {
        let steps = Arc::clone(&steps);
        async move {
            raw.head().await;
            raw.send(CHUNKED).await;
            while let Some(piece) = steps.lock().await.recv().await {
                raw.send(piece).await;
            }
            let _ = raw.rest().await;
        }
    })
    .await;
    let answered = event(program.client().call(get("/"))).await.unwrap();
    let (response, rest) = driven(answered);
    let mut body = response.into_body();
    for (sent, seen) in [("3\r\none\r\n", "one"), ("3\r\ntwo\r\n", "two")] {
        step.send(sent).unwrap();
        let frame = event(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), seen);
    }
    step.send("0\r\nx-sum: 6\r\n\r\n").unwrap();
    let frame = event(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap()["x-sum"], "6");
    assert!(event(body.frame()).await.is_none());
    event(rest).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_is_passed_piece_by_piece_with_its_trailers() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let program = Program::start(move |mut raw, _| {
        let tell = tell.clone();
        async move {
            let mut head = raw.head().await.unwrap();
            head.make_ascii_lowercase();
            tell.send(head).unwrap();
            while let Some(line) = raw.until("\r\n").await {
                let end = line == "\r\n";
                tell.send(line).unwrap();
                if end {
                    raw.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .await;
                }
            }
        }
    })
    .await;
    let (feed, body) = fed();
    let mut client = program.client();
    let mut asked = request("POST", "/", body);
    asked
        .headers_mut()
        .insert("trailer", "x-sum".parse().unwrap());
    let call = tokio::spawn(async move { whole(&mut client, asked).await });
    let head = event(told.recv()).await.unwrap();
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    for piece in ["one", "two"] {
        feed.send(data(piece)).unwrap();
        assert_eq!(event(told.recv()).await.unwrap(), "3\r\n");
        assert_eq!(event(told.recv()).await.unwrap(), format!("{piece}\r\n"));
    }
    let trailers = [("x-sum".parse().unwrap(), "6".parse().unwrap())];
    let trailers = Frame::trailers(trailers.into_iter().collect());
    feed.send(Ok(trailers)).unwrap();
    drop(feed);
    for line in ["0\r\n", "x-sum: 6\r\n", "\r\n"] {
        assert_eq!(event(told.recv()).await.unwrap(), line);
    }
    assert_eq!(event(call).await.unwrap().unwrap().text, "");
}

#[tokio::test]
async fn a_chunked_body_is_sent_whatever_the_method() {
    let program = Program::start(|mut raw, _| async move {
        raw.head().await;
        let body = raw.until("0\r\n\r\n").await.unwrap();
        assert_eq!(body, "1\r\nx\r\n0\r\n\r\n");
        raw.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
    })
    .await;
    let (feed, body) = fed();
    feed.send(data("x")).unwrap();
    drop(feed);
    let reply = whole(&mut program.client(), request("GET", "/", body)).await;
    assert_eq!(reply.unwrap().text, "ok");
}

/// A body without an end that counts what was taken of it.
struct Endless(Arc<AtomicU64>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = Bytes::from_static(&[b'x'; 16 << 10]);
        self.0.fetch_add(piece.len() as u64, SeqCst);
        std::task::Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_the_writer_back() {
    let program = Program::start(|mut raw, _| async move {
        raw.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let taken = Arc::<AtomicU64>::default();
    let body = Body::stream(Endless(Arc::clone(&taken)));
    let mut client = program.client();
    let mut call = Box::pin(client.call(request("POST", "/", body)));
    // The kernel takes some megabytes; after that nothing moves, however often it is asked.
    let mut last = u64::MAX;
    while taken.load(SeqCst) != last && taken.load(SeqCst) < HELD_MAX_BYTES {
        last = taken.load(SeqCst);
        for _ in 0..2_000 {
            assert!(futures_util::poll!(&mut call).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let last = taken.load(SeqCst);
    assert!(last < HELD_MAX_BYTES, "{last} bytes were taken");
}

#[tokio::test]
async fn a_reply_that_nobody_reads_holds_the_program_back() {
    let sent = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&sent);
    let program = Program::start(move |mut raw, _| {
        let counted = Arc::clone(&counted);
        async move {
            raw.head().await;
            raw.send("HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n")
                .await;
            let piece = [b'x'; 16 << 10];
            while tokio::io::AsyncWriteExt::write_all(&mut raw.0, &piece)
                .await
                .is_ok()
            {
                counted.fetch_add(piece.len() as u64, SeqCst);
            }
        }
    })
    .await;
    let mut client = program.client();
    let answered = event(client.call(get("/"))).await.unwrap();
    let (response, rest) = driven(answered);
    let mut last = u64::MAX;
    while sent.load(SeqCst) != last && sent.load(SeqCst) < HELD_MAX_BYTES {
        last = sent.load(SeqCst);
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
    }
    let last = sent.load(SeqCst);
    assert!(last < HELD_MAX_BYTES, "{last} bytes were sent");
    drop(response);
    let error = event(rest).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Dropped), "{error}");
}

#[tokio::test]
async fn an_early_reply_is_passed_on_and_the_rest_of_the_request_is_given_up() {
    let program = Program::start(|mut raw, _| async move {
        raw.head().await;
        raw.send("HTTP/1.1 413 Too Much\r\ncontent-length: 4\r\n\r\nstop")
            .await;
        let _ = raw.rest().await;
    })
    .await;
    let (feed, body) = fed();
    feed.send(data("begun")).unwrap();
    let mut client = program.client();
    let reply = whole(&mut client, request("POST", "/", body))
        .await
        .unwrap();
    assert_eq!(
        (reply.head.status.as_u16(), reply.text.as_str()),
        (413, "stop")
    );
    assert!(feed.is_closed(), "the request's body was let go");
    // The connection with half a request on it is not used again.
    let (feed, body) = fed();
    drop(feed);
    whole(&mut client, request("GET", "/", body)).await.unwrap();
    assert_eq!(program.connections(), 2);
}

#[tokio::test]
async fn an_early_reply_is_read_although_the_program_has_closed() {
    let program = Program::start(|mut raw, _| async move {
        raw.head().await;
        raw.send("HTTP/1.1 403 No\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
            .await;
        // Closed with unread bytes in it, which resets the connection.
    })
    .await;
    for _ in 0..20 {
        let taken = Arc::<AtomicU64>::default();
        let body = Body::stream(Endless(taken));
        let reply = whole(&mut program.client(), request("POST", "/", body)).await;
        match reply {
            Ok(reply) => assert_eq!(
                (reply.head.status.as_u16(), reply.text.as_str()),
                (403, "no")
            ),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn the_head_of_an_early_reply_comes_before_the_request_is_over() {
    let program = Program::start(|mut raw, _| async move {
        raw.head().await;
        raw.send(CHUNKED).await;
        while let Some(size) = raw.until("\r\n").await {
            let length = usize::from_str_radix(size.trim_end(), 16).unwrap();
            let mut piece = vec![0; length + 2];
            raw.0.read_exact(&mut piece).await.unwrap();
            raw.send(&size).await;
            raw.send(std::str::from_utf8(&piece).unwrap()).await;
            if length == 0 {
                return;
            }
        }
    })
    .await;
    let (feed, body) = fed();
    let mut client = program.client();
    let answered = event(client.call(request("POST", "/", body)))
        .await
        .unwrap();
    let (response, rest) = driven(answered);
    let mut body = response.into_body();
    for piece in ["first", "second"] {
        feed.send(data(piece)).unwrap();
        let frame = event(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(feed);
    assert!(event(body.frame()).await.is_none());
    event(rest).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_whose_body_breaks_off_is_the_callers_fault() {
    let program = Program::start(|mut raw, _| async move {
        let _ = raw.rest().await;
    })
    .await;
    let (feed, body) = fed();
    feed.send(data("half")).unwrap();
    feed.send(Err(BodyError::Broken("gone".to_owned())))
        .unwrap();
    let error = whole(&mut program.client(), request("POST", "/", body))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CallError::RequestBody(text) if text.contains("gone")),
        "{error}"
    );
}

#[tokio::test]
async fn dropping_the_rest_closes_the_connection() {
    let gone = Arc::<Notify>::default();
    let noticed = Arc::clone(&gone);
    let program = Program::start(move |mut raw, _| {
        let noticed = Arc::clone(&noticed);
        async move {
            raw.head().await;
            raw.send(CHUNKED).await;
            raw.rest().await;
            noticed.notify_one();
        }
    })
    .await;
    let answered = event(program.client().call(get("/"))).await.unwrap();
    let body = answered.response;
    drop(answered.rest);
    event(gone.notified()).await;
    drop(body);
}

#[tokio::test]
async fn a_body_that_is_read_late_is_still_whole() {
    let program = Program::saying(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    )
    .await;
    let mut client = program.client();
    for _ in 0..3 {
        let answered = event(client.call(get("/"))).await.unwrap();
        assert_eq!(event(read(answered)).await.unwrap().text, "ok");
    }
    assert_eq!(program.connections(), 1);
}
