//! Takes `?ms=N` milliseconds before it answers: asleep, or with `&spin=1` at full speed.

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

const NANOSECONDS_PER_MS: u64 = 1_000_000;

struct Slow;

impl Guest for Slow {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let ms = guest::query_number(&request, "ms").unwrap_or(100);
        let wait = ms.saturating_mul(NANOSECONDS_PER_MS);
        if guest::query(&request, "spin").is_some() {
            let begun = monotonic_clock::now();
            while monotonic_clock::now() - begun < wait {}
        } else {
            monotonic_clock::subscribe_duration(wait).block();
        }
        guest::answer(out, 200, format!("{ms} ms\n").as_bytes());
    }
}

wasip2::http::proxy::export!(Slow);
