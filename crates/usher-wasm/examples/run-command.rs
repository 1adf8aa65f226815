//! Runs a command line program of WASI 0.3 over the host functions of this engine.

use std::process::ExitCode;
use std::sync::Arc;

use usher_core::id::RequestId;
use usher_engine::{GuestOutput, GuestStream};

/// Passes on what the program writes.
struct Passed;

impl GuestOutput for Passed {
    fn write(&self, _: RequestId, stream: GuestStream, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        match stream {
            GuestStream::Stdout => print!("{text}"),
            GuestStream::Stderr => eprint!("{text}"),
        }
    }

    fn note(&self, _: RequestId, text: &str) {
        eprintln!("{text}");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("say which component");
        return ExitCode::FAILURE;
    };
    let ended = match std::fs::read(&path) {
        Ok(bytes) => usher_wasm::run_command(&bytes, Arc::new(Passed)).await,
        Err(error) => Err(error.to_string()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}
