//! Greets: the smallest function.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};

struct Hello;

impl Guest for Hello {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        Ok(guest::answer(200, "Hello from Rust\n"))
    }
}

wasip3::http::service::export!(Hello);
