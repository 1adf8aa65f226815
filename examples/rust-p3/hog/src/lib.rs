//! Takes too much of whatever it is told, to see whether the platform stands it.
//!
//! - `?mib=N` allocates N MiB and writes to each page; 507 when no more is given. `?greedy=1` takes
//!   memory until it gives up for want of more.
//! - `?streams=N` makes N streams, `?tasks=N` leaves N timers waiting, and keeps them.
//! - `?stack=1` recurses, `?loop=1` spins, both for ever; `?trap=1` traps at once,
//!   `?trap=mid` after 64 KiB of its reply; `?error=1` answers with an error of wasi:http.
//! - `?wait=1` writes `begun` to its log and then waits for an hour before it answers;
//!   `?after=MS` works on for so many milliseconds after its reply, and then writes `done`.
//! - `?url=URL` fetches it, and answers the status or the error.

use std::arch::wasm32;
use std::cell::RefCell;
use std::hint::black_box;

use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_bindgen::StreamReader;
use wasip3::{cli, spawn_local, wit_future, wit_stream};

const MIB: usize = 1024 * 1024;
/// A page of the host's, the smallest unit that has to be touched to be counted.
const HOST_PAGE_BYTES: usize = 4096;
const CHUNK_BYTES: usize = 4096;
const STREAMED_BEFORE_TRAP_BYTES: usize = 64 * 1024;
const NS_PER_MS: u64 = 1_000_000;
const HOUR_NS: u64 = 3_600_000 * NS_PER_MS;

thread_local! {
    static KEPT: RefCell<Vec<StreamReader<u8>>> = const { RefCell::new(Vec::new()) };
}

struct Hog;

impl Guest for Hog {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let number = |name| guest::query_number(&request, name);
        if let Some(mib) = number("mib") {
            return Ok(allocate(mib));
        }
        if guest::query(&request, "greedy").is_some() {
            loop {
                black_box(Vec::leak(vec![1_u8; MIB]));
            }
        }
        if let Some(streams) = number("streams") {
            for _ in 0..streams {
                let (output, body) = wit_stream::new();
                std::mem::forget(output);
                KEPT.with_borrow_mut(|kept| kept.push(body));
            }
            return Ok(guest::answer(200, format!("{streams} streams\n")));
        }
        if let Some(tasks) = number("tasks") {
            for _ in 0..tasks {
                spawn_local(monotonic_clock::wait_for(HOUR_NS));
            }
            return Ok(guest::answer(200, format!("{tasks} tasks\n")));
        }
        if let Some(ms) = number("after") {
            spawn_local(async move {
                monotonic_clock::wait_for(ms * NS_PER_MS).await;
                log("done\n").await;
            });
            return Ok(guest::answer(200, "going on\n"));
        }
        if let Some(url) = guest::query(&request, "url") {
            return Ok(fetch(&url).await);
        }
        if guest::query(&request, "error").is_some() {
            return Err(ErrorCode::LoopDetected);
        }
        if guest::query(&request, "wait").is_some() {
            log("begun\n").await;
            monotonic_clock::wait_for(HOUR_NS).await;
        }
        if guest::query(&request, "stack").is_some() {
            let depth = recurse(0);
            return Ok(guest::answer(200, format!("no trap: depth {depth}\n")));
        }
        if guest::query(&request, "loop").is_some() {
            loop {
                black_box(());
            }
        }
        match guest::query(&request, "trap").as_deref() {
            Some("mid") => Ok(trap_in_reply()),
            Some(_) => wasm32::unreachable(),
            None => Ok(guest::answer(400, "say what\n")),
        }
    }
}

async fn log(text: &str) {
    let (mut output, lines) = wit_stream::new();
    let written = cli::stdout::write_via_stream(lines);
    let _unsent = output.write_all(text.as_bytes().to_vec()).await;
    drop(output);
    let _ = written.await;
}

fn allocate(mib: u64) -> Response {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for done in 0..mib {
        let mut block: Vec<u8> = Vec::new();
        if held.try_reserve(1).is_err() || block.try_reserve_exact(MIB).is_err() {
            drop(held);
            return guest::answer(507, format!("refused after {done} MiB\n"));
        }
        block.resize(MIB, 0);
        block
            .iter_mut()
            .step_by(HOST_PAGE_BYTES)
            .for_each(|byte| *byte = 1);
        held.push(block);
    }
    black_box(&held);
    guest::answer(200, format!("{mib} MiB\n"))
}

#[expect(unconditional_recursion, reason = "this is what the function is for")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(frame[0] + 1) + black_box(frame)[1]
}

fn trap_in_reply() -> Response {
    let (response, mut output) = guest::begin(200);
    spawn_local(async move {
        for _ in 0..STREAMED_BEFORE_TRAP_BYTES / CHUNK_BYTES {
            let _unsent = output.write_all(vec![b'x'; CHUNK_BYTES]).await;
        }
        wasm32::unreachable()
    });
    response
}

/// Asks for `http://HOST/PATH` and answers what came of it.
async fn fetch(url: &str) -> Response {
    let Some((authority, path)) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
    else {
        return guest::answer(400, "a URL is http://HOST/PATH\n");
    };
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (request, _sent) = Request::new(Fields::new(), None, no_trailers, None);
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_authority(Some(authority));
    let _ = request.set_path_with_query(Some(&format!("/{path}")));
    let text = match client::send(request).await {
        Ok(response) => format!("{}\n", response.get_status_code()),
        Err(error) => format!("{error:?}\n"),
    };
    guest::answer(200, text)
}

wasip3::http::service::export!(Hog);
