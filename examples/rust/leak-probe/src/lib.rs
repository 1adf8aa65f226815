//! Plants a marker in every kind of state that it has, or looks for one in all that it can reach.
//!
//! - `?plant=HEX` (32 digits) writes the marker to a static, the heap (held and freed), the shadow
//!   stack, memory that it grew, and globals; it leaks handles by the marker's first byte and frees
//!   others in an order by its second.
//! - `?seek=HEX` counts the marker in all memory and globals, and tells the numbers of its handles.
//!
//! Both answer JSON. What is planted is the marker **with each byte XORed by `MASK`**; that form
//! stands in no request and in no temporary, so what is found was planted, and a host may scan for
//! it as well.

// The assembler for this target is not stable yet; the compiler is told so by `cargo xtask
// examples`.
#![feature(asm_experimental_arch)]

mod globals;
mod handles;
mod marker;
mod places;

use std::arch::wasm32;
use std::cell::Cell;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use marker::Marker;

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

struct LeakProbe;

impl Guest for LeakProbe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        CALLS.set(CALLS.get() + 1);
        let numbers = handles::numbers();
        let first_handle = request.handle();
        let sent = |name| guest::query(&request, name);
        let (hits, planted) = match (sent("plant"), sent("seek")) {
            (Some(hex), _) => match Marker::parse(&hex) {
                Some(marker) => {
                    plant(&marker);
                    (marker.hits() + globals::hits(&marker), true)
                }
                None => return wrong(out),
            },
            (None, Some(hex)) => match Marker::parse(&hex) {
                Some(marker) => (marker.hits() + globals::hits(&marker), false),
                None => return wrong(out),
            },
            (None, None) => return wrong(out),
        };
        let json = format!(
            "{{\"planted\":{planted},\"hits\":{hits},\"first_handle\":{first_handle},\
             \"fields_handles\":{numbers:?},\"counter\":{},\"memory_pages\":{}}}\n",
            CALLS.get(),
            wasm32::memory_size::<0>(),
        );
        if planted {
            // The request's own handle is one of those that are left behind.
            std::mem::forget(request);
        }
        guest::answer(out, 200, json.as_bytes());
    }
}

fn plant(marker: &Marker) {
    places::plant_static(marker);
    places::plant_heap(marker);
    places::plant_freed(marker);
    places::plant_stack(marker);
    places::plant_grown(marker);
    globals::plant(marker);
    handles::leak(marker.byte(0));
    handles::free_in_order(marker.byte(1));
}

fn wrong(out: ResponseOutparam) {
    guest::answer(
        out,
        400,
        b"say ?plant=HEX or ?seek=HEX with 32 hexadecimal digits\n",
    );
}

wasip2::http::proxy::export!(LeakProbe);
