//! Counts its own calls, in a static and in a list on the heap that grows by 16 KiB with each of
//! them.
//!
//! In a clean area the answer is always "1". A higher number is what somebody else left behind.

use std::cell::{Cell, RefCell};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

const STEP_BYTES: usize = 16 * 1024;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static HEAP: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

struct Counter;

impl Guest for Counter {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        CALLS.set(CALLS.get() + 1);
        let on_heap = HEAP.with_borrow_mut(|heap| {
            heap.push(vec![1; STEP_BYTES]);
            heap.len()
        });
        let text = match CALLS.get() {
            calls if calls == on_heap => format!("{calls}\n"),
            calls => format!("static {calls}, heap {on_heap}\n"),
        };
        guest::answer(out, 200, text.as_bytes());
    }
}

wasip2::http::proxy::export!(Counter);
