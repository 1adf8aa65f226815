//! Which components are served live, and the words for why not.

use usher_wasm::rewrite::{RewriteError, Verdict, rewrite};

use crate::guest::{assemble, component, text};

/// A component around core text, which may define modules and instances.
fn around(core: &str) -> Vec<u8> {
    assemble(&format!(
        r#"(component {core} (instance $handler)
             (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    ))
}

/// A component with one instantiated core module.
fn module(body: &str) -> Vec<u8> {
    around(&format!(
        "(core module $m {body}) (core instance (instantiate $m))"
    ))
}

/// The reasons, or none if the component is served live.
fn reasons(component: &[u8]) -> Vec<String> {
    let rewritten = rewrite(component).expect("the component is taken");
    match rewritten.plan.verdict {
        Verdict::Live(_) => Vec::new(),
        Verdict::Fresh { reasons } => {
            assert_eq!(
                rewritten.bytes, component,
                "nothing is changed for fresh instances"
            );
            assert!(!reasons.is_empty());
            reasons.iter().map(ToString::to_string).collect()
        }
    }
}

#[track_caller]
fn fresh(component: &[u8], why: &str) {
    let reasons = reasons(component);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert!(reasons[0].contains(why), "{reasons:?}");
}

#[track_caller]
fn live(component: &[u8]) {
    assert_eq!(reasons(component), [""; 0]);
}

#[test]
fn the_shape_of_the_tool_chains_is_live() {
    live(&component());
    live(&module(""));
    live(&module(
        "(memory 1) (table 4 funcref) (func $f) (elem (i32.const 0) $f)",
    ));
}

#[test]
fn memories_whose_place_cannot_be_read_are_fresh() {
    fresh(&module("(memory i64 1)"), "64-bit");
}

#[test]
fn tables_changed_while_serving_are_fresh() {
    let table = "(table $t 4 funcref) (elem $e func $f) (func $f)";
    for (body, why) in [
        ("(table.set $t (i32.const 0) (ref.null func))", "table.set"),
        (
            "(drop (table.grow $t (ref.null func) (i32.const 1)))",
            "table.grow",
        ),
        (
            "(table.fill $t (i32.const 0) (ref.null func) (i32.const 1))",
            "table.fill",
        ),
        (
            "(table.copy (i32.const 0) (i32.const 1) (i32.const 1))",
            "table.copy",
        ),
        (
            "(table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))",
            "table.init",
        ),
        ("(elem.drop $e)", "elem.drop"),
    ] {
        let exported = format!("{table} (func (export \"g\") {body})");
        fresh(&module(&exported), why);
        let started = format!("{table} (func $g {body}) (start $g)");
        live(&module(&started));
        // A start function that something else can call as well.
        fresh(
            &module(&format!("{started} (func (export \"h\") (call $g))")),
            why,
        );
        fresh(&module(&format!("{started} (elem (i32.const 0) $g)")), why);
        fresh(
            &module(&format!("{started} (global funcref (ref.func $g))")),
            why,
        );
        fresh(
            &module(&format!("{started} (func (export \"h\") (return_call $g))")),
            why,
        );
    }
}

#[test]
fn dropped_data_is_fresh_and_data_that_is_only_read_is_live() {
    let data = "(memory 1) (data $d \"x\")";
    fresh(
        &module(&format!("{data} (func (export \"f\") (data.drop $d))")),
        "data.drop",
    );
    live(&module(&format!(
        "{data} (func (export \"f\") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)))"
    )));
}

#[test]
fn state_that_has_no_shadow_is_fresh() {
    fresh(
        &module("(global (mut funcref) (ref.null func))"),
        "holds a reference",
    );
    fresh(
        &module("(global (mut externref) (ref.null extern))"),
        "mutable global 0",
    );
    fresh(&module("(memory 1 2 shared)"), "shared memory");
    fresh(&module("(type (struct (field (mut i32))))"), "struct type");
    fresh(&module("(type (array i8))"), "array type");
    fresh(&module("(tag)"), "exception tags");
    live(&module("(global funcref (ref.null func))"));
}

#[test]
fn a_reason_names_the_module_and_the_construct() {
    let named = around(
        "(core module) (core module $parser (global i32 (i32.const 0))
           (global (mut funcref) (ref.null func))) (core instance (instantiate $parser))",
    );
    assert_eq!(
        reasons(&named),
        ["core module 1 (\"parser\") has mutable global 1, which holds a reference"]
    );
}

#[test]
fn nested_components_with_anything_but_names_are_fresh() {
    let shim = |inside: &str| assemble(&text("wasi:http/types@0.2.4", inside));
    live(&shim("(type (record (field \"a\" u32)))"));
    live(&shim("(component (type (list u8)))"));
    fresh(
        &shim("(core module)"),
        "nested component 0 holds a core module",
    );
    fresh(&shim("(component (core module))"), "a core module");
    fresh(&shim("(core instance)"), "a core instance");
    fresh(
        &shim("(core func (canon resource.drop $request))"),
        "canonical functions",
    );
    fresh(&shim("(type (resource (rep i32)))"), "a resource type");
}

#[test]
fn resource_types_of_its_own_are_fresh() {
    fresh(
        &around("(type (resource (rep i32)))"),
        "a resource type of its own",
    );
    fresh(
        &around("(type $r (resource (rep i32))) (core func (canon resource.new $r))"),
        "a resource type of its own",
    );
}

#[test]
fn foreign_modules_are_fresh_when_instantiated() {
    let import = "(import \"m\" (core module $m))";
    fresh(
        &around(&format!("{import} (core instance (instantiate $m))")),
        "that it imports",
    );
    live(&around(import));
    fresh(&around("(import \"c\" (component))"), "imports a component");
    // An export gives the module a second index.
    live(&around(
        "(core module $m) (export $n \"n\" (core module $m)) (core instance (instantiate $n))",
    ));
}

#[test]
fn the_asynchronous_component_model_is_fresh() {
    fresh(
        &around("(core func (canon waitable-set.new))"),
        "waitable sets",
    );
    fresh(
        &around("(core func (canon backpressure.inc))"),
        "back-pressure",
    );
    fresh(
        &around("(core func (canon context.get i32 0))"),
        "task-local storage",
    );
    fresh(
        &around("(import \"f\" (func $f async)) (core func (canon lower (func $f) async))"),
        "the option `async`",
    );
}

#[test]
fn every_reason_is_told() {
    let two = around(
        "(core module (global (mut funcref) (ref.null func)) (memory 1 2 shared))
         (type (resource (rep i32)))",
    );
    assert_eq!(reasons(&two).len(), 3);
}

#[test]
fn the_added_names_follow_from_the_bytes() {
    let names = |bytes: &[u8]| rewrite(bytes).expect("the component is taken").plan.verdict;
    assert_eq!(names(&component()), names(&component()));
    assert_ne!(names(&component()), names(&module("")));
}

#[test]
fn what_is_not_a_component_for_requests_is_refused_in_words() {
    let refused = |bytes: &[u8]| rewrite(bytes).expect_err("is refused").to_string();
    let core = wat::parse_str("(module)").expect("is a module");
    assert!(refused(&core).contains("a core WebAssembly module, not a component"));
    assert!(refused(b"").contains("not a WebAssembly component"));
    assert!(refused(b"#!/bin/sh\necho").contains("not a WebAssembly component"));
    let none = assemble("(component)");
    assert!(refused(&none).contains("it exports nothing"));
    let command =
        assemble("(component (instance $i) (export \"wasi:cli/run@0.2.0\" (instance $i)))");
    assert!(matches!(
        rewrite(&command),
        Err(RewriteError::WrongWorld(_))
    ));
}
