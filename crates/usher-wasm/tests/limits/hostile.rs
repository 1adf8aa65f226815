//! What is given to the compiler, and what becomes of the compiler.

use std::fmt::Write;

use usher_core::fault::Blame;
use usher_wasm::Compiler;

use crate::{Place, assert_fault, child, guests};

fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn exporting(name: &str) -> Vec<u8> {
    assemble(&format!(
        r#"(component (instance $served) (export "{name}" (instance $served)))"#
    ))
}

#[tokio::test]
async fn what_is_no_component_of_this_world_is_refused_with_the_reason() {
    let place = Place::new(child());
    let whole = guests::silent("");
    let cases: [(&[u8], &str); 9] = [
        (b"", "not a WebAssembly component"),
        (b"#!/bin/sh\nexit 0\n", "not a WebAssembly component"),
        (&[0xa5; 4096], "not a WebAssembly component"),
        (&whole[..whole.len() / 2], "the component is not valid"),
        (&whole[..whole.len() - 1], "the component is not valid"),
        (&assemble("(module)"), "this is a core WebAssembly module"),
        (
            &exporting("wasi:cli/run@0.2.3"),
            "the component is a command",
        ),
        (
            &exporting("wasi:http/handler@0.3.0-rc-2026-03-15"),
            "is for 0.3.0-rc-2026-03-15, a draft of wasi:http 0.3",
        ),
        (&assemble("(component)"), "it exports nothing"),
    ];
    for (artifact, why) in cases {
        assert_fault(&place.refusal(artifact).await, Blame::Function, why);
    }
    place.still_works().await;
}

#[tokio::test]
async fn what_the_platform_lacks_is_named() {
    let place = Place::new(child());
    let text = r#"(component (import "acme:moon/base" (instance (export "land" (func))))
        (instance $served)
        (export "wasi:http/incoming-handler@0.2.0" (instance $served)))"#;
    let fault = place.refusal(&assemble(text)).await;
    assert_fault(&fault, Blame::Function, "acme:moon/base");
}

/// The compiler's process has room for the settings of fresh instances too.
#[tokio::test]
async fn the_child_compiles_what_cannot_be_put_back() {
    let place = Place::new(child());
    let changes_a_table = "(table $t 1 funcref)
        (func (export \"f\") (table.set $t (i32.const 0) (ref.null func)))";
    let image = place.load(&guests::silent(changes_a_table)).await;
    place.bench.start(&image.unwrap()).await;
}

/// Whatever comes of it: an image that starts, or the function's own fault, which is answered;
/// never more.
async fn ends(artifact: &[u8]) -> Option<String> {
    let place = Place::new(child());
    let refused = match place.load(artifact).await {
        Ok(image) => {
            drop(place.bench.start(&image).await);
            None
        }
        Err(fault) => {
            assert_fault(&fault, Blame::Function, "component");
            Some(fault.message)
        }
    };
    place.still_works().await;
    refused
}

#[tokio::test]
async fn many_functions_end() {
    let function = "(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3)))";
    let _either = ends(&guests::silent(&function.repeat(20_000))).await;
}

#[tokio::test]
async fn deep_blocks_end() {
    let depth = 10_000;
    let deep = format!(
        "(func {} nop {})",
        "block ".repeat(depth),
        "end ".repeat(depth)
    );
    let _either = ends(&guests::silent(&deep)).await;
}

#[tokio::test]
async fn a_function_of_many_branches_ends() {
    let mut body = String::from("(func (param i32) (result i32) (local i32 i32 i32)");
    for turn in 0..10_000 {
        let (to, from) = (turn % 3 + 1, turn % 4);
        let _fits = write!(
            body,
            "(if (local.get {from}) (then (local.set {to}
               (i32.xor (local.get 0) (local.get {from})))))"
        );
    }
    let _either = ends(&guests::silent(&(body + "(local.get 1))"))).await;
}

#[tokio::test]
async fn a_branch_to_everywhere_ends() {
    let targets = "0 ".repeat(60_000);
    let table = format!("(func (param i32) (block (br_table {targets} (local.get 0))))");
    let _either = ends(&guests::silent(&table)).await;
}

#[tokio::test]
async fn types_that_double_end() {
    let mut text = String::from("(component (type $t0 (tuple u64 u64))");
    for level in 1..40 {
        let below = level - 1;
        let _fits = write!(text, "(type $t{level} (tuple $t{below} $t{below}))");
    }
    text += r#"(instance $served)
        (export "wasi:http/incoming-handler@0.2.0" (instance $served)))"#;
    let _either = ends(&assemble(&text)).await;
}

/// Each component instantiates the one before it twice, so that few bytes make many instances.
fn doubling(levels: usize) -> Vec<u8> {
    let mut text = String::from(
        "(component (component $c0 (core module $m) (core instance (instantiate $m)))",
    );
    for level in 1..levels {
        let below = level - 1;
        let _fits = write!(
            text,
            "(component $c{level} (alias outer 1 $c{below} (component $below))
               (instance (instantiate $below)) (instance (instantiate $below)))"
        );
    }
    let top = levels - 1;
    let _fits = write!(
        text,
        r#"(instance (instantiate $c{top})) (instance $served)
           (export "wasi:http/incoming-handler@0.2.0" (instance $served)))"#
    );
    assemble(&text)
}

#[tokio::test]
async fn instances_that_double_end() {
    let _either = ends(&doubling(15)).await;
    let refused = ends(&doubling(20)).await;
    assert!(refused.is_some_and(|why| why.contains("of code")));
}

fn shell(script: &str) -> Compiler {
    Compiler::Child {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
    }
}

#[tokio::test]
async fn a_compiler_that_dies_is_one_clear_error() {
    let gave_up = "the compiler gave up on it";
    for (script, how) in [
        ("exit 1", "exit status: 1"),
        ("kill -9 $$", "signal: 9"),
        ("cat > /dev/null; kill -11 $$", "signal: 11"),
        ("cat > /dev/null; echo no answer", "exit status: 0"),
        (
            "cat > /dev/null; echo '{\"Compiled\":{}}'",
            "exit status: 0",
        ),
        ("cat > /dev/null; exec yes", "signal: 13"),
    ] {
        let place = Place::new(shell(script));
        let fault = place.refusal(&guests::silent("")).await;
        assert_fault(&fault, Blame::Function, gave_up);
        assert_fault(&fault, Blame::Function, how);
        let engine = place.folder.path().read_dir().unwrap().next().unwrap();
        let left = engine.unwrap().path().read_dir().unwrap().count();
        assert_eq!(left, 0, "nothing of {script:?} is kept");
    }
}

#[tokio::test]
async fn a_compiler_that_is_not_there_is_the_platforms_fault() {
    let place = Place::new(Compiler::Child {
        program: "/nowhere/compiler".into(),
        args: Vec::new(),
    });
    let fault = place.refusal(&guests::silent("")).await;
    assert_fault(&fault, Blame::Platform, "the compiler could not be started");
}
