//! Keeps the first `?value=V` that it is ever sent, and answers what it keeps.
//!
//! In a clean area that is always the value of this very request.

use std::cell::OnceCell;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

thread_local! {
    static KEPT: OnceCell<String> = const { OnceCell::new() };
}

struct Memo;

impl Guest for Memo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let sent = guest::query(&request, "value").unwrap_or_default();
        let text = KEPT.with(|kept| format!("{}\n", kept.get_or_init(|| sent)));
        guest::answer(out, 200, text.as_bytes());
    }
}

wasip2::http::proxy::export!(Memo);
