//! Writes to `?kib=N` KiB of memory that it has from the start, every second page of it.
//!
//! For benchmarks: what it takes to clean up after a run, told apart from what growing takes.

use std::sync::atomic::{AtomicU8, Ordering};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// A page of the host's, the smallest unit that has to be cleaned.
const PAGE_BYTES: usize = 4096;
/// The most pages that can be dirtied: 8 MiB.
const PAGES_MAX: usize = 2048;

/// Twice as large as what is written, so that no two dirty pages are neighbours.
static STATE: [AtomicU8; 2 * PAGES_MAX * PAGE_BYTES] =
    [const { AtomicU8::new(0) }; 2 * PAGES_MAX * PAGE_BYTES];

struct Dirty;

impl Guest for Dirty {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let kib = guest::query_number(&request, "kib").unwrap_or(0) as usize;
        let pages = (kib * 1024 / PAGE_BYTES).min(PAGES_MAX);
        for place in STATE.iter().step_by(2 * PAGE_BYTES).take(pages) {
            place.fetch_add(1, Ordering::Relaxed);
        }
        guest::answer(out, 200, format!("{pages} pages\n").as_bytes());
    }
}

wasip2::http::proxy::export!(Dirty);
