//! A platform of its own, for the tests that kill it, or run it on a machine that permits less.
//!
//! `sandbox-platform STATE CODE SPAWNER` says what its means are, then runs each
//! line of standard input in a sandbox and says what came of it. `hang` starts a program that
//! stays.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::BufRead as _;
use std::path::PathBuf;

use tokio::io::AsyncReadExt as _;
use usher_process::sandbox::{Bounds, Launch, Root, SandboxOptions, Sandboxes};

const BOUNDS: Bounds = Bounds {
    memory_max_bytes: 128 << 20,
    tasks_max: 64,
    cpu_max_millis: Some(500),
    scratch_max_bytes: 16 << 20,
    files_max: 256,
};

fn main() {
    let mut args = std::env::args().skip(1);
    let mut folder = || PathBuf::from(args.next().unwrap());
    let (state, code, spawner) = (folder(), folder(), folder());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve(state, code, spawner));
}

async fn serve(state_folder: PathBuf, code: PathBuf, spawner: PathBuf) {
    let options = SandboxOptions {
        program: spawner,
        args: Vec::new(),
        state_folder,
        stock: 1,
        root: Root::Host,
        predictors_apart: true,
    };
    let sandboxes = match Sandboxes::open(options).await {
        Ok(sandboxes) => sandboxes,
        Err(error) => {
            println!("refused: {error}");
            return;
        }
    };
    for mean in sandboxes.means().rows() {
        println!("{}: {}", mean.what, mean.full);
    }
    println!("ready");
    let mut hanging = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words = if line == "hang" { "sleep 1000" } else { &line };
        let launch = Launch {
            folder: code.clone(),
            command: words.split(' ').map(str::to_owned).collect(),
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            secrets: Vec::new(),
            bounds: BOUNDS,
        };
        let shell = sandboxes.shell().await.unwrap();
        let mut program = shell.launch(launch).await.unwrap();
        if line == "hang" {
            println!("{}", program.pid());
            hanging.push(program);
            continue;
        }
        let (mut output, _errors) = program.take_output().unwrap();
        let mut told = String::new();
        output.read_to_string(&mut told).await.unwrap();
        println!(
            "{:?} {}",
            program.exited().await,
            told.trim_end().replace('\n', ", ")
        );
        program.kill().await;
    }
    drop(hanging);
    sandboxes.close().await;
}
