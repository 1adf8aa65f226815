//! The spawner by itself, for the tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    usher_process::sandbox::spawner_main()
}
