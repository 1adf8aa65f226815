//! Builds the native part of the shims, which is carried in this crate and loaded by programs.
//!
//! The compiler is the one that other crates of the workspace need already. Deliberately absent:
//! Node's headers; the few functions of it that are called are declared in the file itself.

use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let source = "src/restored/shims/restored.c";
    println!("cargo::rerun-if-changed={source}");
    let target = Path::new(&env::var("OUT_DIR")?).join("restored.so");
    let compiler = cc::Build::new()
        .opt_level(2)
        .debug(false)
        .pic(true)
        .try_get_compiler()?;
    let mut command = compiler.to_command();
    command.args(["-std=gnu11", "-shared", "-pthread", "-Wl,-z,lazy", "-s"]);
    command.args(["-Wall", "-Wextra", "-fvisibility=hidden"]);
    command.arg(source).arg("-o").arg(&target).arg("-ldl");
    let ended = command.status()?;
    if !ended.success() {
        return Err(format!("{source} could not be compiled: {command:?} {ended}").into());
    }
    Ok(())
}
