//! Takes too much of whatever it is told, to see whether the platform stands it.
//!
//! - `?mib=N` allocates N MiB and writes to each page; 507 when no more is given.
//! - `?grow=N` grows the memory by N pages of 64 KiB and writes to each; 507 when refused.
//! - `?oob=N` reads the Nth byte behind the memory's size: a trap.
//! - `?stack=1` recurses, `?loop=1` spins, both for ever; `?trap=1` traps at once,
//!   `?trap=mid` after 64 KiB of its reply.

use std::arch::wasm32;
use std::hint::black_box;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

const MIB: usize = 1024 * 1024;
const PAGE_BYTES: usize = 64 * 1024;
/// A page of the host's, the smallest unit that has to be touched to be counted.
const HOST_PAGE_BYTES: usize = 4096;
const STREAMED_BEFORE_TRAP_BYTES: usize = 64 * 1024;

struct Hog;

impl Guest for Hog {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let number = |name| guest::query_number(&request, name);
        if let Some(mib) = number("mib") {
            return allocate(mib, out);
        }
        if let Some(pages) = number("grow") {
            return grow(pages as usize, out);
        }
        if let Some(nth) = number("oob") {
            let byte = behind(nth as usize);
            return guest::answer(out, 200, format!("no trap: read {byte}\n").as_bytes());
        }
        if guest::query(&request, "stack").is_some() {
            let depth = recurse(0);
            return guest::answer(out, 200, format!("no trap: depth {depth}\n").as_bytes());
        }
        if guest::query(&request, "loop").is_some() {
            loop {
                black_box(());
            }
        }
        match guest::query(&request, "trap").as_deref() {
            Some("mid") => trap_in_reply(out),
            Some(_) => wasm32::unreachable(),
            None => guest::answer(out, 400, b"say what: mib, grow, oob, stack, loop or trap\n"),
        }
    }
}

fn allocate(mib: u64, out: ResponseOutparam) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for done in 0..mib {
        let mut block: Vec<u8> = Vec::new();
        if held.try_reserve(1).is_err() || block.try_reserve_exact(MIB).is_err() {
            drop(held);
            return guest::answer(out, 507, format!("refused after {done} MiB\n").as_bytes());
        }
        block.resize(MIB, 0);
        block
            .iter_mut()
            .step_by(HOST_PAGE_BYTES)
            .for_each(|byte| *byte = 1);
        held.push(block);
    }
    black_box(&held);
    guest::answer(out, 200, format!("{mib} MiB\n").as_bytes());
}

fn grow(pages: usize, out: ResponseOutparam) {
    let before = wasm32::memory_grow::<0>(pages);
    if before == usize::MAX {
        return guest::answer(out, 507, format!("refused {pages} pages\n").as_bytes());
    }
    for page in before..before + pages {
        let byte = (page * PAGE_BYTES) as *mut u8;
        // SAFETY: The page was added just now and belongs to nobody else.
        unsafe { byte.write_volatile(1) };
    }
    let now = wasm32::memory_size::<0>();
    guest::answer(out, 200, format!("{before} pages, now {now}\n").as_bytes());
}

/// Reads the `nth` byte behind the memory, counted from 1. Does not return if the engine is right.
fn behind(nth: usize) -> u8 {
    let size = wasm32::memory_size::<0>() * PAGE_BYTES;
    let byte = (size + nth.saturating_sub(1)) as *const u8;
    // SAFETY: There is none; that the engine traps here is what a test wants to see.
    unsafe { byte.read_volatile() }
}

#[expect(unconditional_recursion, reason = "this is what the function is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(frame[0] + 1) + black_box(frame)[1]
}

fn trap_in_reply(out: ResponseOutparam) {
    let body = guest::begin(out, 200, &[]);
    if let Ok(stream) = body.write() {
        let chunk = [b'x'; guest::CHUNK_MAX_BYTES];
        for _ in 0..STREAMED_BEFORE_TRAP_BYTES / chunk.len() {
            let _ = stream.blocking_write_and_flush(&chunk);
        }
    }
    wasm32::unreachable()
}

wasip2::http::proxy::export!(Hog);
