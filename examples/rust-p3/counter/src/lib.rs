//! Counts its own calls, in a static and in a list on the heap that grows by 16 KiB with each of
//! them.
//!
//! In a clean area the answer is always "1". A higher number is what somebody else left behind.

use std::cell::{Cell, RefCell};

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};

const STEP_BYTES: usize = 16 * 1024;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static HEAP: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

struct Counter;

impl Guest for Counter {
    async fn handle(_request: Request) -> Result<Response, ErrorCode> {
        CALLS.set(CALLS.get() + 1);
        let on_heap = HEAP.with_borrow_mut(|heap| {
            heap.push(vec![1; STEP_BYTES]);
            heap.len()
        });
        let text = match CALLS.get() {
            calls if calls == on_heap => format!("{calls}\n"),
            calls => format!("static {calls}, heap {on_heap}\n"),
        };
        Ok(guest::answer(200, text))
    }
}

wasip3::http::service::export!(Counter);
