//! Streamed replies, byte by byte.

use http_body_util::BodyExt;
use usher_core::fault::Fault;
use usher_process::contract::lambda::{Broken, InvokeError};

use super::rig::{Fake, about, direct, ended, get, serve, whole};

const INTEGRATION: &str = "content-type: application/vnd.awslambda.http-integration-response\r\n";

/// More than all buffers between a program and a caller, in MiB.
const FLOOD_MIB: usize = 64;

/// The head of a streamed reply.
fn head(id: &str, headers: &str) -> String {
    format!(
        "POST /2018-06-01/runtime/invocation/{id}/response HTTP/1.1\r\nhost: a\r\n{headers}\
         lambda-runtime-function-response-mode: streaming\r\ntransfer-encoding: chunked\r\n\
         trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n"
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

const PRELUDE: &str = "{\"statusCode\":207,\"headers\":{\"x-a\":\"b\"}}\0\0\0\0\0\0\0\0body";

#[tokio::test]
async fn a_head_is_read_wherever_the_chunks_are_cut() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    for cut in 1..PRELUDE.len() {
        let program = async {
            let id = fake.next().await.id();
            fake.send(head(&id, INTEGRATION)).await;
            let (first, second) = PRELUDE.split_at(cut);
            fake.send(chunk(first)).await;
            fake.send(chunk(second)).await;
            fake.send("0\r\n\r\n").await;
            assert_eq!(fake.said().await.unwrap().status, 202);
        };
        let (answered, ()) = tokio::join!(api.invoke(get("/")), program);
        let whole = whole(answered.unwrap().response).await;
        assert_eq!(
            (whole.status, whole.text.as_str()),
            (207, "body"),
            "cut at {cut}"
        );
        assert_eq!(whole.header("x-a"), Some("b"));
        assert_eq!(whole.broken, None);
    }
}

#[tokio::test]
async fn frames_pass_as_they_come_and_no_faster_than_they_are_read() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let begin = async {
        let id = fake.next().await.id();
        fake.send(head(&id, "")).await;
        fake.send(chunk("one")).await;
        fake
    };
    let (answered, mut fake) = tokio::join!(api.invoke(get("/")), begin);
    let answered = answered.unwrap();
    assert_eq!(
        answered.response.headers()["content-type"],
        "application/octet-stream"
    );
    let mut body = answered.response.into_body();
    // The first frame is there while the second has not been written.
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(frame, "one");
    assert!(futures_util::poll!(std::pin::pin!(body.frame())).is_pending());
    fake.send(chunk("two")).await;
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(frame, "two");

    // Nobody reads now: what the program can get rid of is bounded by buffers on the way. Some
    // thousand turns of the scheduler would take it all, were it not.
    let piece = chunk(&"x".repeat(1 << 20));
    let flood = async {
        for _ in 0..FLOOD_MIB {
            fake.send(&piece).await;
        }
    };
    let mut flood = std::pin::pin!(flood);
    for _ in 0..10_000 {
        assert!(
            futures_util::poll!(&mut flood).is_pending(),
            "nothing slows the program down"
        );
        tokio::task::yield_now().await;
    }
    // It goes on when somebody reads.
    let reader = async {
        let mut read = 0;
        while read < FLOOD_MIB << 20 {
            read += body
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap()
                .len();
        }
    };
    tokio::join!(flood, reader);
}

#[tokio::test]
async fn trailers_break_the_body_off() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let begin = async {
        let id = fake.next().await.id();
        fake.send(head(&id, "")).await;
        fake.send(chunk("one")).await;
        // {"errorType":"E","errorMessage":"m"}
        fake.send(
            "0\r\nLambda-Runtime-Function-Error-Type: E\r\nLambda-Runtime-Function-Error-Body: \
             eyJlcnJvclR5cGUiOiJFIiwiZXJyb3JNZXNzYWdlIjoibSJ9\r\n\r\n",
        )
        .await;
        let said = fake.said().await.unwrap();
        assert_eq!(said.status, 202);
        fake.send("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        fake
    };
    let (answered, _fake) = tokio::join!(
        async { ended(api.invoke(get("/")).await.unwrap()).await },
        begin
    );
    let (whole, rest) = answered;
    assert_eq!((whole.status, whole.text.as_str()), (200, "one"));
    assert!(whole.broken.is_some());
    let error = rest.unwrap().unwrap_err();
    assert!(error.spares_environment());
    assert_eq!(error.fault(), Fault::Trap);
    let InvokeError::Stream(Broken::Function(error)) = error else {
        panic!("{error}");
    };
    assert_eq!(error.error_type, "E");
    assert_eq!(error.body, r#"{"errorType":"E","errorMessage":"m"}"#);
}

#[tokio::test]
async fn the_rust_clients_error_text_is_an_error_only_at_the_end_and_from_it() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let rust = "user-agent: aws-lambda-rust/1.5.0\r\n";
    let error = "Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\n\
                 Lambda-Runtime-Function-Error-Body: bQ==\r\n";
    let more = format!("{error}more");
    for (agent, chunks, text, broken) in [
        (rust, vec!["one", error], "one".to_owned(), true),
        (
            rust,
            vec!["one", &error[..20], &error[20..]],
            format!("one{error}"),
            false,
        ),
        (
            rust,
            vec!["one", &error[..50], &error[50..]],
            "one".to_owned(),
            true,
        ),
        (
            rust,
            vec!["one", error, "more"],
            format!("one{more}"),
            false,
        ),
        ("", vec!["one", error], format!("one{error}"), false),
    ] {
        let program = async {
            let id = fake.next().await.id();
            fake.send(head(&id, agent)).await;
            for piece in &chunks {
                fake.send(chunk(piece)).await;
            }
            fake.send("0\r\n\r\n").await;
            fake.said().await.unwrap()
        };
        let (whole, said) = tokio::join!(
            async { whole(api.invoke(get("/")).await.unwrap().response).await },
            program
        );
        assert_eq!(said.status, 202);
        assert_eq!(
            (whole.text, whole.broken.is_some()),
            (text, broken),
            "{chunks:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_no_end() {
    for prelude in [false, true] {
        let (mut api, address) = serve(about("h")).await;
        let mut fake = Fake::connect(address).await;
        let program = async {
            let id = fake.next().await.id();
            let headers = if prelude { INTEGRATION } else { "" };
            fake.send(head(&id, headers)).await;
            fake.send(chunk(PRELUDE)).await;
            drop(fake);
        };
        let (answered, ()) = tokio::join!(api.invoke(get("/")), program);
        let (whole, rest) = ended(answered.unwrap()).await;
        assert_eq!(whole.status, if prelude { 207 } else { 200 });
        assert!(whole.broken.is_some());
        let error = rest.unwrap().unwrap_err();
        assert!(matches!(error, InvokeError::Stream(Broken::Cut)), "{error}");
        assert!(!error.spares_environment());
    }
}

#[tokio::test]
async fn a_stream_without_its_head_is_malformed() {
    let zeros = "\0".repeat(8);
    for text in [
        "{}".to_owned(),
        "no zeros".to_owned(),
        "x".repeat(300 * 1024),
        format!("no json{zeros}"),
        format!("{{\"statusCode\":99}}{zeros}"),
    ] {
        let (mut api, address) = serve(about("h")).await;
        let mut fake = Fake::connect(address).await;
        let program = async {
            let id = fake.next().await.id();
            fake.send(head(&id, INTEGRATION)).await;
            fake.send(chunk(&text)).await;
            fake.send("0\r\n\r\n").await;
            assert_eq!(fake.said().await.unwrap().status, 202);
            fake.send("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n")
                .await;
            fake
        };
        let (answered, _fake) = tokio::join!(
            async { ended(api.invoke(get("/")).await.unwrap()).await },
            program
        );
        let (whole, rest) = answered;
        assert_eq!(
            (whole.status, whole.text.as_str()),
            (502, "Internal Server Error")
        );
        assert!(matches!(rest, Some(Ok(()))), "{rest:?}");
    }
}

#[tokio::test]
async fn an_error_before_the_first_byte_is_an_error_of_the_call() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let program = async {
        let id = fake.next().await.id();
        fake.send(head(&id, "")).await;
        fake.send("0\r\nLambda-Runtime-Function-Error-Type: E\r\n\r\n")
            .await;
        assert_eq!(fake.said().await.unwrap().status, 202);
    };
    let (answered, ()) = tokio::join!(api.invoke(direct("{}")), program);
    let whole = whole(answered.unwrap().response).await;
    assert_eq!(whole.header("x-amz-function-error"), Some("Unhandled"));
    assert_eq!(whole.json()["errorType"], "E");
}

#[tokio::test]
async fn a_caller_that_leaves_is_noticed_before_the_next_frame() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let program = async {
        let id = fake.next().await.id();
        fake.send(head(&id, "")).await;
        fake.send(chunk("one")).await;
        fake
    };
    let (answered, mut fake) = tokio::join!(api.invoke(get("/")), program);
    let answered = answered.unwrap();
    drop(answered.response);
    let error = answered.rest.unwrap().await.unwrap_err();
    assert_eq!(error.fault(), Fault::CallerGone);
    // The program may send the rest all the same.
    fake.send(chunk("two")).await;
    fake.send("0\r\n\r\n").await;
    assert_eq!(fake.said().await.unwrap().status, 202);
}

#[tokio::test]
async fn an_environment_that_is_dropped_breaks_its_stream_off() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let program = async {
        let id = fake.next().await.id();
        fake.send(head(&id, "")).await;
        fake.send(chunk("one")).await;
    };
    let (answered, ()) = tokio::join!(api.invoke(get("/")), program);
    drop(api);
    let (whole, rest) = ended(answered.unwrap()).await;
    assert_eq!(whole.text, "one");
    assert!(whole.broken.is_some());
    let error = rest.unwrap().unwrap_err();
    assert!(matches!(error, InvokeError::Stream(Broken::Cut)), "{error}");
}
