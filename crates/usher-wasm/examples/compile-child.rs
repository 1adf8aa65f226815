//! The compiler's process by itself, for the tests that give it hostile components.

use std::process::ExitCode;

fn main() -> ExitCode {
    usher_wasm::compile_child()
}
