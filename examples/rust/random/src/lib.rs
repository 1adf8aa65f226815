//! Answers 16 random bytes of the platform's, in hexadecimal.
//!
//! `?hash=1` answers what the standard library seeds its hash maps with instead: on this target
//! that is no random value but the address of something, so it is the same in every clean area.

use std::hash::{BuildHasher, RandomState};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wasip2::random::random;

struct Random;

impl Guest for Random {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let text = if guest::query(&request, "hash").is_some() {
            format!("{:016x}\n", RandomState::new().hash_one(0))
        } else {
            let (high, low) = (random::get_random_u64(), random::get_random_u64());
            format!("{high:016x}{low:016x}\n")
        };
        guest::answer(out, 200, text.as_bytes());
    }
}

wasip2::http::proxy::export!(Random);
