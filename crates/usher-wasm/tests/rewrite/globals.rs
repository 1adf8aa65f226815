//! Globals: back to the instant of `save`, in every module and every instance.

use usher_wasm::rewrite::rewrite;
use wasmtime::component::{Component, Instance};
use wasmtime::{Engine, Store};

use crate::guest::{assemble, live, read_globals, save, without_bases};

/// `state` keeps globals of all types and three memories, and its start function changes them;
/// `other` changes one of them from outside. `state` is instantiated twice.
const TEXT: &str = r#"(component
  (core module $state
    (memory $m 1) (memory $n 2 5) (memory $big 1)
    (global (export "fixed") i32 (i32.const 5))
    (global $i32 (export "i32") (mut i32) (i32.const 1))
    (global $i64 (mut i64) (i64.const 2))
    (global $f32 (mut f32) (f32.const 3))
    (global $f64 (mut f64) (f64.const nan:0xdead))
    (global $v128 (mut v128) (v128.const i32x4 1 2 3 4))
    (func $change (export "change")
      (global.set $i32 (i32.add (global.get $i32) (i32.const 1)))
      (global.set $i64 (i64.mul (global.get $i64) (i64.const 3)))
      (global.set $f32 (f32.neg (global.get $f32)))
      (global.set $f64 (f64.neg (global.get $f64)))
      (global.set $v128 (i32x4.add (global.get $v128) (global.get $v128)))
      (drop (memory.grow $m (i32.const 1)))
      (drop (memory.grow $n (i32.const 1)))
      (drop (memory.grow $big (i32.const 1))))
    (start $change)
    (func (export "read") (param i32) (result i64)
      (block (block (block (block (block (block (block (block
        (br_table 0 1 2 3 4 5 6 7 (local.get 0)))
        (return (i64.extend_i32_u (global.get $i32))))
        (return (global.get $i64)))
        (return (i64.extend_i32_u (i32.reinterpret_f32 (global.get $f32)))))
        (return (i64.reinterpret_f64 (global.get $f64))))
        (return (i64x2.extract_lane 0 (global.get $v128))))
        (return (i64x2.extract_lane 1 (global.get $v128))))
        (return (i64.extend_i32_u (i32.add (memory.size $m) (memory.size $n)))))
      (i64.extend_i32_u (memory.size $big))))
  (core module $other
    (import "state" "i32" (global $i32 (mut i32)))
    (func (export "change") (global.set $i32 (i32.const 99))))
  (core instance $one (instantiate $state))
  (core instance $two (instantiate $state))
  (core instance $other (instantiate $other (with "state" (instance $one))))
  (func (export "change-one") (canon lift (core func $one "change")))
  (func (export "change-two") (canon lift (core func $two "change")))
  (func (export "change-other") (canon lift (core func $other "change")))
  (func (export "read-one") (param "what" u32) (result u64)
    (canon lift (core func $one "read")))
  (func (export "read-two") (param "what" u32) (result u64)
    (canon lift (core func $two "read")))
  (instance $handler)
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

/// Places of `read` that are globals; two sizes of memories follow.
const GLOBALS: u32 = 6;
const PLACES: u32 = 8;

struct Probe {
    store: Store<()>,
    instance: Instance,
}

impl Probe {
    fn call(&mut self, name: &str) {
        let function = self
            .instance
            .get_typed_func::<(), ()>(&mut self.store, name);
        function
            .expect(name)
            .call(&mut self.store, ())
            .expect("does not trap");
    }

    fn read(&mut self) -> Vec<u64> {
        let mut all = Vec::new();
        for name in ["read-one", "read-two"] {
            let read = self
                .instance
                .get_typed_func::<(u32,), (u64,)>(&mut self.store, name);
            let read = read.expect(name);
            all.extend((0..PLACES).map(|place| {
                read.call(&mut self.store, (place,))
                    .expect("does not trap")
                    .0
            }));
        }
        all
    }
}

#[test]
fn globals_of_every_type_and_instance_return_to_the_instant_of_save() {
    let rewritten = rewrite(&assemble(TEXT)).expect("the component is taken");
    let exports = live(&rewritten).clone();
    let engine = Engine::default();
    let component = Component::new(&engine, &rewritten.bytes).expect("compiles");
    let mut store = Store::new(&engine, ());
    let instance = without_bases(&engine)
        .instantiate(&mut store, &component)
        .expect("instantiates");
    let mut probe = Probe { store, instance };
    // Start functions and warm-up belong to the image.
    probe.call("change-two");
    save(&instance, &mut probe.store, &exports);
    let image = probe.read();
    assert_eq!(image[0], 2, "the start function has run");
    assert_eq!(
        image[PLACES as usize], 3,
        "so has the warm-up, in the second instance"
    );

    for round in 1..=3 {
        for change in ["change-one", "change-two", "change-other"] {
            probe.call(change);
        }
        let changed = probe.read();
        assert_eq!(changed[0], 99);
        let renew = instance.get_typed_func::<(u32, u32), (u32,)>(&mut probe.store, &exports.renew);
        let renew = renew.expect("renew is there");
        assert_eq!(
            renew
                .call(&mut probe.store, (0, 0))
                .expect("does not trap")
                .0,
            0
        );
        let renewed = probe.read();
        for (place, value) in (0..).zip(&renewed) {
            let is_global = place % PLACES < GLOBALS;
            let place = place as usize;
            // The host names the areas and their sizes; growing by nothing changes neither.
            let expected = if is_global {
                image[place]
            } else {
                changed[place]
            };
            assert_eq!(*value, expected, "place {place}, round {round}");
            assert_ne!(
                changed[place], image[place],
                "control: place {place} had changed"
            );
        }
    }
}

/// What `read` answers of one instance `write` gives to another one, which has it from the next
/// `renew` on.
#[test]
fn another_instance_is_given_the_globals_of_an_image() {
    let rewritten = rewrite(&assemble(TEXT)).expect("the component is taken");
    let exports = live(&rewritten).clone();
    let engine = Engine::default();
    let component = Component::new(&engine, &rewritten.bytes).expect("compiles");
    let linker = without_bases(&engine);
    let [mut one, mut other] = [(), ()].map(|()| {
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &component);
        let instance = instance.expect("instantiates");
        Probe { store, instance }
    });
    one.call("change-two");
    one.call("change-other");
    save(&one.instance, &mut one.store, &exports);
    let globals = read_globals(&one.instance, &mut one.store, &exports);
    let write = other
        .instance
        .get_typed_func::<(u32, u64, u64), ()>(&mut other.store, &exports.write)
        .expect("write is there");
    for (place, bits) in (0..).zip(&globals) {
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("a half");
        let halves = (place, half(*bits), half(*bits >> 64));
        write.call(&mut other.store, halves).expect("knows it");
    }
    let behind = (exports.globals, 0, 0);
    let renew = other
        .instance
        .get_typed_func::<(u32, u32), (u32,)>(&mut other.store, &exports.renew)
        .expect("renew is there");
    let [wanted, before] = [one.read(), other.read()];
    renew.call(&mut other.store, (0, 0)).expect("does not trap");
    let after = other.read();
    for place in (0..after.len()).filter(|place| place % (PLACES as usize) < GLOBALS as usize) {
        assert_eq!(after[place], wanted[place], "place {place}");
    }
    assert_ne!(before[0], wanted[0], "control: they had differed");
    write
        .call(&mut other.store, behind)
        .expect_err("there is no such global");
}

#[test]
fn the_report_counts_what_each_module_keeps() {
    let rewritten = rewrite(&assemble(TEXT)).expect("the component is taken");
    let facts = &rewritten.plan.modules;
    assert_eq!(facts.len(), 2);
    assert_eq!((facts[0].mutable_globals, facts[0].memories), (5, 3));
    assert!(facts[0].grows && facts[0].has_start);
    assert_eq!((facts[1].mutable_globals, facts[1].memories), (0, 0));
    assert!(!facts[1].grows && !facts[1].has_start);
    assert_eq!(facts[1].module.name.as_deref(), Some("other"));
    assert_eq!(rewritten.plan.other_exports.len(), 5);
}
