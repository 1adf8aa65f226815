//! Plants a marker in every kind of memory that it has, and in a stream that it leaks, or looks for
//! one in all that it can address.
//!
//! `?plant=HEX` and `?seek=HEX` take 32 hexadecimal digits. What is planted is the marker with each
//! byte XORed by `MASK`: that form stands in no request and in no temporary, so what is found was
//! planted. Both answer JSON, with how often it stands in memory and how often this instance was
//! called.

use std::arch::wasm32;
use std::cell::Cell;
use std::hint::black_box;

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::{spawn_local, wit_stream};

const MASK: u8 = 0xa5;
const BYTES: usize = 16;
const PAGE_BYTES: usize = 64 * 1024;
const PLACE_BYTES: usize = 64;
/// Deep enough that the rest of the run does not write over it.
const STACK_BYTES: usize = 32 * 1024;

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
    static PLACE: Cell<[u8; PLACE_BYTES]> = const { Cell::new([0; PLACE_BYTES]) };
}

struct LeakProbe;

impl Guest for LeakProbe {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        CALLS.set(CALLS.get() + 1);
        let sent = |name| parse(&guest::query(&request, name)?);
        let (marker, planted) = match (sent("plant"), sent("seek")) {
            (Some(marker), _) => (marker, true),
            (None, Some(marker)) => (marker, false),
            (None, None) => return Ok(guest::answer(400, "say ?plant=HEX or ?seek=HEX\n")),
        };
        if planted {
            plant(&marker);
        }
        let (hits, calls) = (hits(&marker), CALLS.get());
        let json = format!("{{\"planted\":{planted},\"hits\":{hits},\"counter\":{calls}}}\n");
        Ok(guest::answer(200, json))
    }
}

fn parse(hex: &str) -> Option<[u8; BYTES]> {
    if hex.len() != 2 * BYTES || !hex.is_ascii() {
        return None;
    }
    let mut sent = [0; BYTES];
    for (at, byte) in sent.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(sent)
}

/// Writes the planted form over and over into `place`.
fn fill(marker: &[u8; BYTES], place: &mut [u8]) {
    for (byte, sent) in place.iter_mut().zip(marker.iter().cycle()) {
        // SAFETY: `byte` is a reference; volatile, so that the write is not found to be useless.
        unsafe { std::ptr::from_mut(byte).write_volatile(sent ^ MASK) };
    }
}

fn plant(marker: &[u8; BYTES]) {
    let mut place = [0; PLACE_BYTES];
    fill(marker, &mut place);
    PLACE.set(place);
    fill(marker, Box::leak(Box::new([0; PLACE_BYTES])));
    let mut freed = vec![0; PAGE_BYTES];
    fill(marker, &mut freed);
    drop(black_box(freed));
    deep(marker);
    // A write that nobody reads, in a stream that nobody drops.
    let (mut output, unread) = wit_stream::new();
    std::mem::forget(unread);
    let piece = place.to_vec();
    spawn_local(async move {
        let write = output.write(piece);
        drop(write);
        std::mem::forget(output);
    });
}

/// A frame that has returned: what it held stays below the stack pointer.
#[inline(never)]
fn deep(marker: &[u8; BYTES]) {
    let mut frame = [0; STACK_BYTES];
    fill(marker, black_box(&mut frame[..PLACE_BYTES]));
    black_box(&frame);
}

/// How often the planted form stands in memory, from the first byte to the last. Overlaps count.
fn hits(marker: &[u8; BYTES]) -> usize {
    let end = wasm32::memory_size::<0>() * PAGE_BYTES;
    (0..=end - BYTES).filter(|at| stands_at(marker, *at)).count()
}

fn stands_at(marker: &[u8; BYTES], at: usize) -> bool {
    marker.iter().enumerate().all(|(nth, sent)| {
        // SAFETY: Below the memory's size, so it can be read; volatile, so that nothing is assumed
        // of it.
        let found = unsafe { ((at + nth) as *const u8).read_volatile() };
        found ^ MASK == *sent
    })
}

wasip3::http::service::export!(LeakProbe);
