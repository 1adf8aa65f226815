//! A function for the official Rust client (`lambda_runtime`): everything that can go right or
//! wrong. What it does is the event's `do`, or the path of a function URL.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use lambda_runtime::{
    Error, FunctionResponse, LambdaEvent, MetadataPrelude, StreamResponse, service_fn,
};
use serde_json::{Value, json};

type Streamed = BoxStream<'static, Result<Bytes, Error>>;
type Reply = FunctionResponse<Value, Streamed>;

static CALLS: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if std::env::var_os("USHER_INIT_FAIL").is_some() {
        return Err("the initialisation fails on purpose".into());
    }
    lambda_runtime::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Reply, Error> {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let (event, context) = event.into_parts();
    let path = event["rawPath"].as_str().unwrap_or("/").trim_matches('/');
    let what = event["do"].as_str().unwrap_or(path);
    let number = |name: &str, otherwise: u64| {
        let text = event["queryStringParameters"][name].as_str();
        let number = text.and_then(|text| text.parse().ok());
        number.or_else(|| event[name].as_u64()).unwrap_or(otherwise)
    };
    let reply = match what {
        "" | "hello" => json!("hello from Rust"),
        "counter" => json!(calls),
        "context" => json!({
            "id": context.request_id,
            "arn": context.invoked_function_arn,
            "name": context.env_config.function_name,
            "memory": context.env_config.memory,
            "left_ms": context.deadline,
            "trace": context.xray_trace_id,
            "client": context.client_context.map(|client| json!(client.custom)),
        }),
        "reply" => json!({
            "statusCode": 418,
            "headers": {"Content-Type": "text/plain", "X-Kind": "tea"},
            "cookies": ["a=1", "b=2"],
            "body": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "a teapot"),
            "isBase64Encoded": true,
        }),
        "raise" => return Err("raised on purpose".into()),
        "panic" => panic!("panicked on purpose"),
        "large" => json!("x".repeat(7 * 1024 * 1024)),
        "sleep" => {
            tokio::time::sleep(Duration::from_millis(number("ms", 60_000))).await;
            json!("slept")
        }
        "exit" => std::process::exit(i32::try_from(number("status", 7))?),
        "malformed" => json!({"statusCode": "no status"}),
        "stream" => return Ok(streamed(["one,", "two,", "three"].map(Ok).to_vec())),
        "cut" => return Ok(streamed(vec![Ok("one,"), Ok("two,"), Err("cut on purpose")])),
        "echo" => event,
        _ => json!({"statusCode": 404, "body": "nothing is called so"}),
    };
    Ok(FunctionResponse::BufferedResponse(reply))
}

/// A streamed reply, its pieces some time apart.
fn streamed(pieces: Vec<Result<&'static str, &'static str>>) -> Reply {
    let pieces = stream::iter(pieces).then(async |piece| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        piece.map(Bytes::from).map_err(Error::from)
    });
    let mut head = MetadataPrelude::default();
    head.status_code = http::StatusCode::CREATED;
    head.headers.insert("content-type", http::HeaderValue::from_static("text/plain"));
    head.headers.insert("x-kind", http::HeaderValue::from_static("stream"));
    head.cookies = vec!["a=1".to_owned()];
    FunctionResponse::StreamingResponse(StreamResponse {
        metadata_prelude: head,
        stream: pieces.boxed(),
    })
}
