//! Guests by hand, each of which does one thing: they answer every request with an error of their
//! own, which is the shortest answer that there is, or do not answer at all.

use bytes::Bytes;

/// A component around core modules that gets the arguments of `handle` and can answer.
const SHELL: &str = include_str!("../../src/swap_bench/shell.wat");

/// What a guest has beside its code.
#[derive(Default)]
pub(crate) struct Parts<'a> {
    /// Imports and definitions of the component.
    pub(crate) outer: &'a str,
    /// Names that the core module gets from these, as `(export …)` items.
    pub(crate) lent: &'a str,
    /// Definitions of the core module.
    pub(crate) inner: &'a str,
}

/// A guest with one memory, whose `handle` is `body` and which can `(call $answer …)`.
pub(crate) fn guest(memory: &str, parts: &Parts<'_>, body: &str) -> Bytes {
    let Parts { outer, lent, inner } = parts;
    let state = format!(
        r#"(core module $memory (memory (export "memory") {memory}))
  (core instance $state (instantiate $memory))
  {outer}"#
    );
    let main = format!(
        r#"(core module $run
    (import "state" "memory" (memory {memory}))
    (import "host" "drop-request" (func $drop-request (param i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    {inner}
    (func $answer (param $request i32) (param $outparam i32)
      (call $drop-request (local.get $request))
      (call $set (local.get $outparam) (i32.const 1) (i32.const 38) (i32.const 0)
        (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
    (func (export "handle") (param $request i32) (param $outparam i32) {body}))
  (core instance $main (instantiate $run
    (with "state" (instance $state)) (with "host" (instance $host)) {lent}))"#
    );
    let text = SHELL.replace("@STATE@", &state).replace("@MAIN@", &main);
    wat::parse_str(text)
        .expect("the text is a component")
        .into()
}

/// Answers.
pub(crate) const ANSWER: &str = "(call $answer (local.get $request) (local.get $outparam))";

/// Traps at once.
pub(crate) fn trap() -> Bytes {
    guest("1 1", &Parts::default(), "unreachable")
}

/// Loops for ever.
pub(crate) fn spin() -> Bytes {
    guest("1 1", &Parts::default(), "(loop $again (br $again))")
}

/// Grows its memory until that is refused, and traps then.
pub(crate) fn hog() -> Bytes {
    let body = "(loop $again
      (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    guest("1", &Parts::default(), body)
}

/// Calls itself for ever, with something to do after each call.
pub(crate) fn deep() -> Bytes {
    let inner = "(func $deep (param $depth i64) (result i64)
      (i64.mul (local.get $depth)
        (call $deep (i64.add (local.get $depth) (i64.const 1)))))";
    let parts = Parts {
        inner,
        ..Parts::default()
    };
    guest("1 1", &parts, "(drop (call $deep (i64.const 1)))")
}

/// Reads the byte at `index + offset`, each below 4 GiB, and answers if that does not trap.
pub(crate) fn read(index: u32, offset: u32) -> Bytes {
    let body = format!(
        "(drop (i32.load8_u offset={offset} (i32.const {index}))) {ANSWER}",
        index = index.cast_signed()
    );
    guest("1 1", &Parts::default(), &body)
}

/// Sets an element of a table while it serves, which nobody puts back.
pub(crate) fn sets_a_table() -> Bytes {
    let inner = "(table $table 4 funcref)";
    let body = format!("(table.set $table (i32.const 0) (ref.null func)) {ANSWER}");
    let parts = Parts {
        inner,
        ..Parts::default()
    };
    guest("1 1", &parts, &body)
}

/// Writes `begun` to its standard output, and then waits for an hour.
pub(crate) fn slow() -> Bytes {
    let parts = Parts {
        outer: include_str!("slow/outer.wat"),
        lent: r#"(with "wasi" (instance
          (export "stdout" (func $get-stdout)) (export "write" (func $write))
          (export "subscribe" (func $subscribe)) (export "block" (func $block))))"#,
        inner: r#"(import "wasi" "stdout" (func $stdout (result i32)))
    (import "wasi" "write" (func $write (param i32 i32 i32 i32)))
    (import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "wasi" "block" (func $block (param i32)))
    (data (i32.const 16) "begun\n")"#,
    };
    let body = "(call $write (call $stdout) (i32.const 16) (i32.const 6) (i32.const 32))
      (call $block (call $subscribe (i64.const 3_600_000_000_000))) unreachable";
    guest("1 1", &parts, body)
}
