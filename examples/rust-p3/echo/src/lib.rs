//! Streams the request's body back, chunk by chunk, at the pace of whoever reads the reply, and its
//! trailers behind it. With `?pass` the stream itself is handed on, and no byte comes by here.
//!
//! Holds one chunk at a time, so a body of any length passes at flat memory.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_bindgen::{StreamReader, StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_stream};

const CHUNK_MAX_BYTES: usize = 64 * 1024;

struct Echo;

impl Guest for Echo {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let pass = guest::query(&request, "pass").is_some();
        let (input, trailers) = guest::body(request);
        if pass {
            return Ok(guest::reply(200, input, trailers));
        }
        let (output, body) = wit_stream::new();
        spawn_local(copy(input, output));
        Ok(guest::reply(200, body, trailers))
    }
}

/// Passes everything on, as long as there is a reader.
async fn copy(mut input: StreamReader<u8>, mut output: StreamWriter<u8>) {
    loop {
        let (result, chunk) = input.read(Vec::with_capacity(CHUNK_MAX_BYTES)).await;
        let unsent = output.write_all(chunk).await;
        if !unsent.is_empty() || !matches!(result, StreamResult::Complete(_)) {
            return;
        }
    }
}

wasip3::http::service::export!(Echo);
