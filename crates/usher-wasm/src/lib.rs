//! The wasm engine: components, run in environments that are put back between requests.
//!
//! ```text
//! artifact ─compile (child process)→ code on disk ─map→ Component
//!          ─start→ live environment: two areas per memory ─run→ used ─turn, renew, scrub→ clean
//!               └→ fresh instance from the pool            ─run→ used ─next instance→ clean
//! ```
//!
//! This is the only crate that names wasmtime. Deliberately absent: HTTP routing, pools of
//! environments, and how many there are.

#![deny(unsafe_code)]

mod areas;
mod body;
mod cache;
mod child;
mod command;
mod compile;
mod concurrent;
mod engine;
mod environment;
mod fresh;
mod host;
mod image;
mod judged;
mod lint;
mod live;
mod means;
mod meter;
mod outbound;
mod output;
mod prepare;
mod rehearsal;
mod reply;
mod report;
pub mod rewrite;
mod run;
mod serving;
mod settings;
mod started;
mod swap_bench;
mod sys;
mod throughput_bench;
mod ticker;

pub use child::compile_child;
pub use command::run_command;
pub use compile::Compiler;
pub use engine::{EngineError, WasmConfig, WasmEngine};
pub use environment::{WasmEnvironment, WasmUsed};
pub use image::WasmImage;
pub use means::{ChangedPages, Means, means};
pub use report::Counters;
pub use settings::FreshPool;
pub use swap_bench::{SwapFigure, measure_swap};
pub use throughput_bench::{ThroughputFigure, measure_throughput};
