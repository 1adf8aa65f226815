//! The examples, where they have been built: every tool chain's component is served live.

use std::path::Path;

use usher_wasm::rewrite::rewrite;
use wasmparser::Validator;
use wasmtime::{Engine, component::Component};

use crate::guest::live;

/// Larger ones hold an interpreter and take the compiler many seconds; validity is shown for all.
const COMPILED_MAX_BYTES: usize = 1 << 20;

#[test]
fn the_examples_of_every_tool_chain_are_live_and_valid() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("examples");
    let Ok(entries) = directory.read_dir() else {
        eprintln!("skipped: no examples were built");
        return;
    };
    let engine = Engine::default();
    for entry in entries {
        let path = entry.expect("the directory can be read").path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        // Components of wasi:http 0.3 keep state beside their memories, and are never live.
        if path.to_string_lossy().contains("-p3-") {
            continue;
        }
        let bytes = std::fs::read(&path).expect("the example can be read");
        let rewritten = rewrite(&bytes).expect("the example is taken");
        let exports = live(&rewritten);
        assert_eq!(exports.releasable, 3, "{}", path.display());
        assert!(
            exports
                .resources
                .iter()
                .any(|resource| resource.name == "fields")
        );
        Validator::new()
            .validate_all(&rewritten.bytes)
            .expect("stays valid");
        if bytes.len() <= COMPILED_MAX_BYTES {
            Component::new(&engine, &rewritten.bytes).expect("compiles");
        }
    }
}
