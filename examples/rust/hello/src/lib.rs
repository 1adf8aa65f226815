//! Greets: the smallest function.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Hello;

impl Guest for Hello {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        guest::answer(out, 200, b"Hello from Rust\n");
    }
}

wasip2::http::proxy::export!(Hello);
