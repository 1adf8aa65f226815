//! Clients of HTTP/2 who mean no good. Each is refused, and others are served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::AsyncWriteExt;
use usher_api::invoke::{Failure, Invocation, Reply};
use usher_core::function::Settings;
use usher_gateway::Bounds;

use crate::frames::{
    CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING,
    PROTOCOL_ERROR, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, block, frame, get,
};
use crate::rig::{Fake, Rig, event, figures, outcome, text};

async fn hello(bounds: Bounds) -> Rig {
    Rig::with_bounds(bounds, Settings::default(), Fake(async |_| text("hello"))).await
}

/// Never answers who asks with `x-slow`, and others at once.
async fn slow_or_hello(invocation: Invocation) -> Result<Reply, Failure> {
    match invocation.request.headers().contains_key("x-slow") {
        true => std::future::pending().await,
        false => text("hello"),
    }
}

/// Whether somebody else is served.
async fn serves(rig: &Rig) {
    assert_eq!(rig.get("/").await.body, "hello");
}

/// Heads that RFC 9113 calls malformed.
fn malformed() -> Vec<Vec<u8>> {
    let with = |more: &[(&str, &str)]| get(more);
    vec![
        with(&[("connection", "close")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "1")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "websocket")]),
        with(&[("te", "gzip")]),
        with(&[("X-Upper", "1")]),
        with(&[("x", "a\r\nb")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\0b")]),
        with(&[("x\r\n", "a")]),
        with(&[("x y", "a")]),
        with(&[("", "a")]),
        with(&[("content-length", "1")]),
        with(&[("content-length", "+0")]),
        with(&[("content-length", "0"), ("content-length", "1")]),
        with(&[(":path", "/twice")]),
        with(&[("x", "1"), (":path", "/late")]),
        with(&[(":status", "200")]),
        with(&[(":protocol", "websocket")]),
        with(&[(":made-up", "1")]),
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
        block(&[(":method", "GET"), (":authority", "a"), (":path", "/")]),
        block(&[(":scheme", "http"), (":authority", "a"), (":path", "/")]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", ""),
        ]),
        block(&[
            (":method", "G T"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a b"),
            (":path", "/"),
        ]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/ x"),
        ]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/\r\nx: y"),
        ]),
    ]
}

#[tokio::test]
async fn requests_that_are_malformed_are_reset_and_reach_no_function() {
    let reached = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&reached);
    let rig = Rig::single(
        Settings::default(),
        Fake(move |_| {
            counted.fetch_add(1, Relaxed);
            async { text("hello") }
        }),
    )
    .await;
    for (at, case) in malformed().iter().enumerate() {
        let mut frames = Frames::open(&rig).await;
        frames.ask(1, case).await;
        let refused = frames.next_of(&[RST_STREAM, GOAWAY, HEADERS]).await;
        let code = refused
            .filter(|frame| frame.kind != HEADERS)
            .map(|frame| frame.code());
        assert!(
            matches!(code, Some(PROTOCOL_ERROR | 9)),
            "case {at}: {code:?}"
        );
    }
    assert_eq!(reached.load(Relaxed), 0);
    serves(&rig).await;
}

#[tokio::test]
async fn targets_that_no_function_can_have_are_400() {
    let rig = hello(Bounds::default()).await;
    // Written as hyper writes it: the name from the static table, the value in Huffman's code.
    const BAD_REQUEST: u8 = 0x8c;
    for case in [
        block(&[(":method", "CONNECT"), (":authority", "a:80")]),
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "u@a"),
            (":path", "/"),
        ]),
        get(&[("host", "b")]),
        get(&[("host", "a"), ("host", "a")]),
    ] {
        let mut frames = Frames::open(&rig).await;
        frames.ask(1, &case).await;
        let answer = frames.answer().await;
        assert_eq!(answer.kind, HEADERS);
        assert_eq!(answer.payload[0], BAD_REQUEST);
    }
    serves(&rig).await;
}

#[tokio::test]
async fn a_body_that_is_not_what_was_announced_breaks_off() {
    let rig = Rig::single(
        Settings::default(),
        Fake(async |invocation: Invocation| {
            use http_body_util::BodyExt;
            match invocation.request.into_body().collect().await {
                Ok(_) => text("hello"),
                Err(_) => Err(usher_core::fault::Fault::Trap.into()),
            }
        }),
    )
    .await;
    for body in ["1234", "123456"] {
        let mut frames = Frames::open(&rig).await;
        let head = get(&[("content-length", "5")]);
        frames.send(HEADERS, END_HEADERS, 1, &head).await;
        frames.send(DATA, END_STREAM, 1, body.as_bytes()).await;
        let refused = frames.answer().await;
        assert_eq!((refused.kind, refused.code()), (RST_STREAM, PROTOCOL_ERROR));
    }
    figures(&rig.gauge, |now| now.running == 0).await;
    assert_eq!(outcome(&rig.gauge, "2xx"), 0);
    serves(&rig).await;
}

#[tokio::test]
async fn requests_that_are_begun_only_to_be_given_up_end_the_connection() {
    let begun = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&begun);
    let bounds = Bounds {
        abandoned_max: 20,
        ..Bounds::default()
    };
    let rig = Rig::with_bounds(
        bounds,
        Settings::default(),
        Fake(move |invocation: Invocation| {
            counted.fetch_add(1, Relaxed);
            slow_or_hello(invocation)
        }),
    )
    .await;
    // One after the other, so that each is begun before it is given up. What the gateway answers
    // by itself between them makes good for none.
    let mut frames = Frames::open(&rig).await;
    let (slow, refused) = (get(&[("x-slow", "1")]), get(&[("host", "b")]));
    for at in 0..=20_u32 {
        frames.ask(4 * at + 1, &refused).await;
        let answer = frames.next_of(&[HEADERS, GOAWAY]).await.unwrap();
        assert_eq!((answer.kind, answer.stream), (HEADERS, 4 * at + 1));
        let stream = 4 * at + 3;
        frames.ask(stream, &slow).await;
        figures(&rig.gauge, |now| now.running == 1).await;
        frames.give_up(stream).await;
        figures(&rig.gauge, |now| now.running == 0).await;
    }
    // The connection is looked at when something happens on it.
    let _ = frames.0.write_all(&frame(PING, 0, 0, &[0; 8])).await;
    frames.farewell().await;
    figures(&rig.gauge, |now| now.connections == 0).await;
    assert_eq!(begun.load(Relaxed), 21);

    // All at once, as fast as they can be written.
    let mut frames = Frames::open(&rig).await;
    let mut flood = Vec::new();
    for at in 0..10_000_u32 {
        flood.extend(frame(HEADERS, WHOLE, 2 * at + 1, &slow));
        flood.extend(frame(RST_STREAM, 0, 2 * at + 1, &8_u32.to_be_bytes()));
    }
    let _ = frames.0.write_all(&flood).await;
    frames.farewell().await;
    figures(&rig.gauge, |now| now.connections == 0 && now.running == 0).await;
    let begun = begun.load(Relaxed);
    assert!(begun < 1_000, "{begun} requests were begun for nobody");
    serves(&rig).await;
}

#[tokio::test]
async fn a_client_that_lets_most_of_its_requests_end_may_give_some_up() {
    let bounds = Bounds {
        abandoned_max: 1,
        ..Bounds::default()
    };
    let rig = Rig::with_bounds(bounds, Settings::default(), Fake(slow_or_hello)).await;
    let mut frames = Frames::open(&rig).await;
    for at in 0..20_u32 {
        let stream = 4 * at + 1;
        frames.ask(stream, &get(&[("x-slow", "1")])).await;
        figures(&rig.gauge, |now| now.running == 1).await;
        frames.give_up(stream).await;
        figures(&rig.gauge, |now| now.running == 0).await;
        frames.ask(stream + 2, &get(&[])).await;
        let ended = frames.next_of(&[DATA, GOAWAY]).await.unwrap();
        assert_eq!(ended.kind, DATA, "{at}");
    }
    assert_eq!(rig.gauge.snapshot().connections, 1);
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let rig = hello(Bounds::default()).await;
    // Headers that never end, in many frames.
    let mut frames = Frames::open(&rig).await;
    frames.send(HEADERS, END_STREAM, 1, &get(&[])).await;
    let piece = block(&[("x-more", &"y".repeat(1_000))]);
    frames.flood(&frame(CONTINUATION, 0, 1, &piece)).await;
    let code = frames.farewell().await;
    assert!(
        matches!(code, None | Some(CALM | PROTOCOL_ERROR)),
        "{code:?}"
    );
    // The same with nothing in them.
    let mut frames = Frames::open(&rig).await;
    frames.send(HEADERS, END_STREAM, 1, &get(&[])).await;
    frames.flood(&frame(CONTINUATION, 0, 1, &[])).await;
    let code = frames.farewell().await;
    assert!(matches!(code, None | Some(CALM)), "{code:?}");
    figures(&rig.gauge, |now| now.connections == 0).await;
    serves(&rig).await;
}

#[tokio::test]
async fn heads_beyond_the_bounds_are_431() {
    let rig = hello(Bounds::default()).await;
    // 431 in the plain form: a literal whose name is of the static table.
    let is_431 = |payload: &[u8]| payload.starts_with(&[0x08]) || payload.starts_with(&[0x48]);
    for (headers, value) in [(101, "y"), (70, "yyyyyyyyyy")] {
        let value = value.repeat(if headers == 70 { 100 } else { 1 });
        let names: Vec<_> = (0..headers).map(|at| format!("x-{at}")).collect();
        let more: Vec<_> = names.iter().map(|name| (&**name, &*value)).collect();
        let head = get(&more);
        let mut frames = Frames::open(&rig).await;
        let mut pieces = head.chunks(16_000).peekable();
        let mut kind = HEADERS;
        let mut flags = END_STREAM;
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                flags |= END_HEADERS;
            }
            frames.send(kind, flags, 1, piece).await;
            (kind, flags) = (CONTINUATION, 0);
        }
        let answer = frames.answer().await;
        assert_eq!(answer.kind, HEADERS, "{headers}: {answer:?}");
        assert!(is_431(&answer.payload), "{headers}: {answer:?}");
    }
    // As many cookies as a browser may split are one header.
    let crumbs: Vec<_> = (0..150).map(|_| ("cookie", "a=1")).collect();
    let mut frames = Frames::open(&rig).await;
    frames.ask(1, &get(&crumbs)).await;
    let answer = frames.answer().await;
    assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88));
    serves(&rig).await;
}

#[tokio::test]
async fn a_client_that_only_talks_is_cut() {
    let bounds = Bounds {
        chatter_max_bytes: 16 * 1024,
        ..Bounds::default()
    };
    let rig = hello(bounds).await;
    for talk in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]),
        frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        // A frame of a kind that nobody knows.
        frame(0xbe, 0, 0, &[0; 100]),
    ] {
        let mut frames = Frames::open(&rig).await;
        frames.ask(1, &get(&[])).await;
        let ended = frames.next_of(&[DATA, GOAWAY]).await.unwrap();
        assert_eq!(ended.kind, DATA);
        let (mut read, mut write) = frames.0.into_split();
        let spoken = tokio::spawn(async move {
            let mut written = 0;
            while write.write_all(&talk).await.is_ok() {
                written += talk.len();
            }
            written
        });
        let mut sink = tokio::io::sink();
        let _ = event(tokio::io::copy(&mut read, &mut sink)).await;
        let written = event(spoken).await.unwrap();
        assert!(written >= 16 * 1024, "{written}");
    }
    figures(&rig.gauge, |now| now.connections == 0).await;
    serves(&rig).await;
}

#[tokio::test]
async fn a_request_whose_reply_is_not_taken_is_reset_while_its_connection_goes_on() {
    let bounds = Bounds {
        write_stall_max_ms: 50,
        ..Bounds::default()
    };
    let rig = Rig::with_bounds(
        bounds,
        Settings::default(),
        Fake(async |_| text("x".repeat(100_000))),
    )
    .await;
    // A window of nothing for each request, told at the beginning.
    let mut frames = Frames::open_with(&rig, &[0, 4, 0, 0, 0, 0]).await;
    for stream in [1, 3] {
        frames.ask(stream, &get(&[])).await;
        let head = frames.next_of(&[HEADERS]).await.unwrap();
        assert_eq!(head.stream, stream);
        let reset = frames.next_of(&[RST_STREAM, GOAWAY, DATA]).await.unwrap();
        assert_eq!((reset.kind, reset.stream), (RST_STREAM, stream));
        figures(&rig.gauge, |now| now.running == 0).await;
    }
    assert_eq!(outcome(&rig.gauge, "caller-gone"), 2);
    assert_eq!(rig.gauge.snapshot().connections, 1);
}

#[tokio::test]
async fn window_games_end_the_connection() {
    let rig = hello(Bounds::default()).await;
    for (kind, stream, payload) in [
        (WINDOW_UPDATE, 0, 0_u32),
        (WINDOW_UPDATE, 0, 0x7fff_ffff),
        (SETTINGS, 0, 0),
    ] {
        let mut frames = Frames::open(&rig).await;
        let payload = match kind {
            // An initial window beyond what a window can be.
            SETTINGS => vec![0, 4, 0xff, 0xff, 0xff, 0xff],
            _ => payload.to_be_bytes().to_vec(),
        };
        frames.send(kind, 0, stream, &payload).await;
        let code = frames.farewell().await;
        assert!(code.is_some_and(|code| code != 0), "{kind}: {code:?}");
    }
    // More of a body than the window is open for.
    let mut frames = Frames::open(&rig).await;
    frames.send(HEADERS, END_HEADERS, 1, &get(&[])).await;
    let piece = frame(DATA, 0, 1, &[0; 16_000]);
    frames.flood(&piece).await;
    frames.farewell().await;
    figures(&rig.gauge, |now| now.connections == 0).await;
    serves(&rig).await;
}

#[tokio::test]
async fn connections_that_say_nothing_or_stop_in_the_middle_are_closed() {
    let bounds = Bounds {
        head_wait_max_ms: 20,
        idle_wait_max_ms: 20,
        ..Bounds::default()
    };
    let rig = hello(bounds).await;
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = frame(SETTINGS, 0, 0, &[]);
    let half = frame(HEADERS, END_STREAM, 1, &get(&[]));
    for said in [
        begin[..10].to_vec(),
        begin.clone(),
        [&*begin, &settings].concat(),
        [&*begin, &settings, &half].concat(),
        [&*begin, &settings, &half[..20]].concat(),
    ] {
        let mut raw = rig.connect().await;
        raw.0.write_all(&said).await.unwrap();
        event(raw.rest()).await;
    }
    // One that has been served is told that it ends.
    let mut frames = Frames::open(&rig).await;
    frames.ask(1, &get(&[])).await;
    assert_eq!(frames.farewell().await, Some(0));
    figures(&rig.gauge, |now| now.connections == 0).await;
}

#[tokio::test]
async fn no_more_requests_run_at_once_than_the_connection_may_have() {
    let bounds = Bounds {
        streams_max: 4,
        ..Bounds::default()
    };
    let rig = Rig::with_bounds(bounds, Settings::default(), Fake(slow_or_hello)).await;
    let mut frames = Frames::open(&rig).await;
    for at in 0..8_u32 {
        frames.ask(2 * at + 1, &get(&[("x-slow", "1")])).await;
    }
    for _ in 0..4 {
        let refused = frames.next_of(&[RST_STREAM, GOAWAY]).await.unwrap();
        // REFUSED_STREAM: it has not run, and may be sent again.
        assert_eq!((refused.kind, refused.code()), (RST_STREAM, 7));
    }
    figures(&rig.gauge, |now| now.running == 4).await;
    serves(&rig).await;
}
