//! Clones of an image: nothing runs, nothing is copied, everything is as it was saved.

use usher_wasm::rewrite::{CLONE_GLOBALS_MAX, CloneError, CloneImage, rewrite, strip_for_clone};
use wasmparser::Validator;
use wasmtime::component::{Component, Instance};
use wasmtime::{Engine, Store};

use crate::guest::{assemble, live, read_globals, save, without_bases};

/// Every word that an instance can show: globals, then sizes and first words of memories.
const WORDS: u32 = 11;

const TEXT: &str = r#"(component
  (core module $state
    (memory $m 1) (memory $n 2 9)
    (data (memory $m) (i32.const 0) "active")
    (data $passive "passive!")
    (table (export "t") 4 funcref)
    (elem (i32.const 1) $seven)
    (type $number (func (result i32)))
    (func $seven (result i32) (i32.const 7))
    (global $constant i32 (i32.const 77))
    (global $i32 (mut i32) (global.get $constant))
    (global $i64 (mut i64) (i64.const 2))
    (global $other i64 (i64.const 3))
    (global $f32 (mut f32) (f32.const nan:0xbeef))
    (global $f64 (mut f64) (f64.const 4.5))
    (global $v128 (mut v128) (v128.const i32x4 1 2 3 4))
    (func $change (export "change")
      (global.set $i32 (i32.add (global.get $i32) (i32.const -200)))
      (global.set $i64 (i64.sub (global.get $i64) (i64.const 3)))
      (global.set $f64 (f64.neg (global.get $f64)))
      (global.set $v128 (i32x4.sub (global.get $v128) (i32x4.splat (i32.const 3))))
      (memory.init $m $passive (i32.const 0) (i32.const 0) (i32.const 8))
      (drop (memory.grow $m (i32.const 2)))
      (drop (memory.grow $n (i32.const 3))))
    (start $change)
    (func (export "word") (param i32) (result i64)
      (block (block (block (block (block (block (block (block (block (block (block
        (br_table 0 1 2 3 4 5 6 7 8 9 10 (local.get 0)))
        (return (i64.extend_i32_u (global.get $i32))))
        (return (global.get $i64)))
        (return (i64.extend_i32_u (i32.reinterpret_f32 (global.get $f32)))))
        (return (i64.reinterpret_f64 (global.get $f64))))
        (return (i64x2.extract_lane 0 (global.get $v128))))
        (return (i64x2.extract_lane 1 (global.get $v128))))
        (return (i64.add (global.get $other) (i64.extend_i32_u (global.get $constant)))))
        (return (i64.extend_i32_u (call_indirect (type $number) (i32.const 1)))))
        (return (i64.extend_i32_u (memory.size $m))))
        (return (i64.extend_i32_u (memory.size $n))))
      (i64.load $m (i32.const 0))))
  (core instance $state (instantiate $state))
  (func (export "change") (canon lift (core func $state "change")))
  (func (export "word") (param "place" u32) (result u64)
    (canon lift (core func $state "word")))
  (instance $handler)
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

struct Probe {
    store: Store<()>,
    instance: Instance,
}

impl Probe {
    fn start(component: &[u8]) -> Self {
        let engine = Engine::default();
        let component = Component::new(&engine, component).expect("compiles");
        let mut store = Store::new(&engine, ());
        let instance = without_bases(&engine).instantiate(&mut store, &component);
        let instance = instance.expect("instantiates");
        Probe { store, instance }
    }

    fn change(&mut self) {
        let change = self
            .instance
            .get_typed_func::<(), ()>(&mut self.store, "change");
        change
            .expect("is there")
            .call(&mut self.store, ())
            .expect("does not trap");
    }

    fn words(&mut self) -> Vec<u64> {
        let word = self
            .instance
            .get_typed_func::<(u32,), (u64,)>(&mut self.store, "word");
        let word = word.expect("is there");
        let mut word = |place| {
            word.call(&mut self.store, (place,))
                .expect("does not trap")
                .0
        };
        (0..WORDS).map(&mut word).collect()
    }
}

#[test]
fn a_clone_begins_with_the_image_and_runs_nothing() {
    let rewritten = rewrite(&assemble(TEXT)).expect("the component is taken");
    let exports = live(&rewritten);
    let mut probe = Probe::start(&rewritten.bytes);
    probe.change();
    save(&probe.instance, &mut probe.store, exports);
    let globals = read_globals(&probe.instance, &mut probe.store, exports);
    assert_eq!(globals.len(), 5);
    let expected = probe.words();
    assert_eq!(
        &expected[8..],
        [5, 8, u64::from_le_bytes(*b"passive!")],
        "it has run twice"
    );

    let image = CloneImage {
        globals,
        memories: vec![5, 8],
    };
    let stripped = strip_for_clone(&rewritten.bytes, &image).expect("the image fits");
    let stripped = stripped.expect("the component can be cloned");
    Validator::new()
        .validate_all(&stripped)
        .expect("stays valid");
    let mut clone = Probe::start(&stripped);
    let words = clone.words();
    assert_eq!(words[..10], expected[..10]);
    assert_eq!(
        words[10], 0,
        "memories are the host's, and nobody has written to this one"
    );

    // The shadows are the image's too, and passive segments are still there.
    clone.change();
    let changed = clone.words();
    assert_ne!(changed[..6], expected[..6]);
    assert_eq!(changed[10], expected[10]);
    let renew = clone
        .instance
        .get_typed_func::<(u32, u32), (u32,)>(&mut clone.store, &exports.renew);
    renew
        .expect("is there")
        .call(&mut clone.store, (0, 0))
        .expect("does not trap");
    assert_eq!(clone.words()[..8], expected[..8]);
}

fn strip(text: &str, image: &CloneImage) -> Result<Option<Vec<u8>>, CloneError> {
    let rewritten = rewrite(&assemble(text)).expect("the component is taken");
    live(&rewritten);
    strip_for_clone(&rewritten.bytes, image)
}

fn around(core: &str) -> String {
    format!(
        r#"(component (core module $m {core}) (core instance (instantiate $m))
             (instance $handler) (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    )
}

#[test]
fn what_a_start_function_did_to_tables_or_segments_cannot_be_cloned() {
    let table = "(table 2 funcref) (func $f (table.set (i32.const 0) (ref.null func))) (start $f)";
    let segment = "(data $d \"x\") (func $f (data.drop $d)) (start $f)";
    for core in [table, segment] {
        let stripped = strip(&around(core), &CloneImage::default());
        assert!(matches!(stripped, Ok(None)), "{core}: {stripped:?}");
    }
}

#[test]
fn two_instances_of_a_module_with_state_cannot_be_cloned() {
    let one = around("(global (mut i32) (i32.const 0))");
    let instance = "(core instance (instantiate $m))";
    let two = one.replace(instance, &instance.repeat(2));
    let image = |globals: usize| CloneImage {
        globals: vec![1; globals],
        memories: Vec::new(),
    };
    assert!(matches!(strip(&one, &image(1)), Ok(Some(_))));
    assert!(matches!(strip(&two, &image(2)), Ok(None)));
}

#[test]
fn the_image_of_another_component_is_refused() {
    let text = around("(memory 2 4) (global (mut i32) (i32.const 0))");
    let image = |globals: &[u128], memories: &[u64]| {
        let (globals, memories) = (globals.to_vec(), memories.to_vec());
        CloneImage { globals, memories }
    };
    assert!(matches!(strip(&text, &image(&[1], &[3])), Ok(Some(_))));
    for other in [
        image(&[], &[3]),
        image(&[1, 1], &[3]),
        image(&[1], &[]),
        image(&[1], &[3, 3]),
        image(&[1], &[1]),
        image(&[1], &[5]),
        image(&[1 << 32], &[3]),
    ] {
        let stripped = strip(&text, &other);
        assert!(
            matches!(stripped, Err(CloneError::OtherImage { .. })),
            "{other:?}"
        );
    }
    let many = image(&vec![0; CLONE_GLOBALS_MAX + 1], &[3]);
    assert!(matches!(strip(&text, &many), Ok(None)));
}
