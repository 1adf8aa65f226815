//! Random components: a module of `wasm-smith`'s, and a driver that shows what it does.
//!
//! The random module is the first thing in the component. The text of the component has an empty
//! module in that place, for which the random one is put in.

use arbitrary::Unstructured;
use wasmparser::{ExternalKind, FuncType, Parser, Payload, ValType, Validator};
use wasmtime::{Engine, Instance, Module, Store, Val};

use crate::guests;

/// Loop turns and calls that a random module makes before it is made to trap.
const FUEL: u32 = 100_000;
/// Words of eight bytes that a random module is made from.
const CHOICES: usize = 1_500;
/// Digits that one result is told in.
const DIGITS: usize = 16;

/// A component by its seed. None where the generator made nothing, or nothing that lasts.
pub(crate) fn component(seed: u64) -> Option<Vec<u8>> {
    let module = module(seed)?;
    let mut exported = exported(&module);
    exported.functions = lasting(&module, exported.functions)?;
    let text = guests::shell(STATE, &driver(&exported));
    Some(put_in(&text, &module))
}

const STATE: &str = r#"(core module)
    (core instance $random (instantiate 0))
    (core module $memory (memory (export "memory") 1))
    (core instance $state (instantiate $memory))"#;

/// Puts the module into the place of the component's first one.
fn put_in(component: &[u8], module: &[u8]) -> Vec<u8> {
    let first = Parser::new(0).parse_all(component).find_map(|payload| {
        let payload = payload.unwrap();
        match payload {
            Payload::ModuleSection {
                unchecked_range, ..
            } => Some(unchecked_range),
            _ => None,
        }
    });
    let first = first.unwrap();
    let mut whole = wasm_encoder::Component::new();
    whole.section(&wasm_encoder::RawSection {
        id: 1,
        data: module,
    });
    let mut whole = whole.finish();
    whole.extend_from_slice(&component[first.end..]);
    whole
}

/// A random module without imports that always ends.
fn module(seed: u64) -> Option<Vec<u8>> {
    let config = wasm_smith::Config {
        max_imports: 0,
        min_memories: 1,
        max_memories: 3,
        max_memory32_bytes: 8 << 16,
        // What the rewriting adds names memories of 32 bits alone.
        memory64_enabled: false,
        max_table_elements: 100,
        export_everything: true,
        min_types: 4,
        min_funcs: 4,
        min_globals: 2,
        max_tags: 0,
        exceptions_enabled: false,
        gc_enabled: false,
        // The engine is built without a collector, and so without references to host objects.
        reference_types_enabled: false,
        threads_enabled: false,
        // Bulk operations may change tables, which is served fresh, but copy memory as well.
        bulk_memory_enabled: seed.is_multiple_of(4),
        disallow_traps: true,
        ..wasm_smith::Config::default()
    };
    let choices = choices(seed);
    let mut module = wasm_smith::Module::new(config, &mut Unstructured::new(&choices)).ok()?;
    module.ensure_termination(FUEL).ok()?;
    Some(module.to_bytes())
}

/// The generator's decisions: a stream of bytes from a short seed (splitmix64).
fn choices(mut seed: u64) -> Vec<u8> {
    let words = (0..CHOICES).map(|_| {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    });
    words.flatten().collect()
}

/// What a module exports, by names.
#[derive(Default)]
struct Exported {
    functions: Vec<Function>,
    globals: Vec<(String, ValType)>,
    memories: Vec<String>,
}

/// A function that takes and gives numbers alone.
struct Function {
    name: String,
    parameters: Vec<ValType>,
    results: Vec<ValType>,
}

fn exported(module: &[u8]) -> Exported {
    let types = Validator::new().validate_all(module).unwrap();
    let types = types.as_ref();
    let mut found = Exported::default();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(exports) = payload.unwrap() else {
            continue;
        };
        for export in exports.into_iter().map(Result::unwrap) {
            let name = export.name.to_owned();
            match export.kind {
                ExternalKind::Func => {
                    let ty = types[types.core_function_at(export.index)].unwrap_func();
                    found.functions.extend(numeric(name, ty));
                }
                ExternalKind::Global => {
                    let ty = types.global_at(export.index);
                    if ty.mutable && plain(&ty.content_type) {
                        found.globals.push((name, ty.content_type));
                    }
                }
                ExternalKind::Memory => found.memories.push(name),
                _ => {}
            }
        }
    }
    found
}

fn numeric(name: String, ty: &FuncType) -> Option<Function> {
    let mut all = ty.params().iter().chain(ty.results());
    all.all(plain).then(|| Function {
        name,
        parameters: ty.params().to_vec(),
        results: ty.results().to_vec(),
    })
}

fn plain(ty: &ValType) -> bool {
    !matches!(ty, ValType::Ref(_) | ValType::V128)
}

/// As many of the functions as can be called in turn without a trap, which would end a run. None
/// where the module cannot be instantiated, or no function is left.
fn lasting(module: &[u8], mut functions: Vec<Function>) -> Option<Vec<Function>> {
    let engine = Engine::default();
    let module = Module::new(&engine, module).unwrap();
    loop {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).ok()?;
        let mut traps = |function: &Function| {
            let called = instance.get_func(&mut store, &function.name).unwrap();
            let arguments: Vec<_> = function.parameters.iter().map(argument).collect();
            let mut results = vec![Val::I32(0); function.results.len()];
            called.call(&mut store, &arguments, &mut results).is_err()
        };
        match functions.iter().position(&mut traps) {
            Some(place) => drop(functions.remove(place)),
            None => return (!functions.is_empty()).then_some(functions),
        }
    }
}

/// What every parameter of a type is given, here and by the driver.
const ARGUMENT: u8 = 3;

fn argument(ty: &ValType) -> Val {
    match ty {
        ValType::I32 => Val::I32(ARGUMENT.into()),
        ValType::I64 => Val::I64(ARGUMENT.into()),
        ValType::F32 => Val::F32(f32::from(ARGUMENT).to_bits()),
        _ => Val::F64(f64::from(ARGUMENT).to_bits()),
    }
}

/// Instructions that tell the value on the stack.
fn tell(ty: &ValType) -> &'static str {
    match ty {
        ValType::I32 => "i64.extend_i32_u (call $tell)\n",
        ValType::F32 => "i32.reinterpret_f32 i64.extend_i32_u (call $tell)\n",
        ValType::F64 => "i64.reinterpret_f64 (call $tell)\n",
        _ => "(call $tell)\n",
    }
}

/// A name as a string of the text format, whatever is in it.
fn quoted(name: &str) -> String {
    let bytes: String = name.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!("\"{bytes}\"")
}

/// The parts of the driver that depend on the random module.
#[derive(Default)]
struct Parts {
    imports: String,
    /// Tells all globals and what all memories hold.
    look: String,
    calls: String,
    /// Words that one run tells.
    words: usize,
}

impl Parts {
    fn of(exported: &Exported) -> Self {
        let mut parts = Self::default();
        for (place, (name, ty)) in exported.globals.iter().enumerate() {
            let name = quoted(name);
            parts.imports += &format!("(import \"random\" {name} (global $g{place} (mut {ty})))\n");
            parts.look += &format!("(global.get $g{place}) {}", tell(ty));
        }
        for (place, name) in exported.memories.iter().enumerate() {
            let name = quoted(name);
            parts.imports += &format!("(import \"random\" {name} (memory $m{place} 0))\n");
            parts.look += &sum(place);
        }
        parts.words = 2 * (exported.globals.len() + exported.memories.len());
        for (place, function) in exported.functions.iter().enumerate() {
            parts.call(place, function);
        }
        parts
    }

    fn call(&mut self, place: usize, function: &Function) {
        let types =
            |types: &[ValType]| -> String { types.iter().map(|ty| format!(" {ty}")).collect() };
        self.imports += &format!(
            "(import \"random\" {} (func $f{place} (param{}) (result{})))\n",
            quoted(&function.name),
            types(&function.parameters),
            types(&function.results)
        );
        for ty in &function.parameters {
            self.calls += &format!("({ty}.const {ARGUMENT}) ");
        }
        self.calls += &format!("(call $f{place})\n");
        for ty in function.results.iter().rev() {
            self.calls += tell(ty);
        }
        self.words += function.results.len();
    }
}

/// Tells a memory's size and bytes, folded into one word.
fn sum(place: usize) -> String {
    format!(
        r#"(local.set $sum (i64.extend_i32_u (memory.size $m{place})))
        (local.set $at (i32.mul (memory.size $m{place}) (i32.const 65536)))
        (block $done (loop $next
          (br_if $done (i32.eqz (local.get $at)))
          (local.set $at (i32.sub (local.get $at) (i32.const 8)))
          (local.set $sum (i64.xor (i64.load $m{place} (local.get $at))
            (i64.mul (local.get $sum) (i64.const 0x100000001b3))))
          (br $next)))
        (call $tell (local.get $sum))
        "#
    )
}

/// Tells the state, calls the functions in turn, tells their results, and the state once more.
fn driver(exported: &Exported) -> String {
    let parts = Parts::of(exported);
    let Parts {
        imports,
        look,
        calls,
        words,
    } = &parts;
    let length = words * DIGITS;
    assert!(length < 1 << 16, "the answer fits in a page");
    format!(
        r#"(core module $run
      (import "state" "memory" (memory $told 1))
      {imports}
      (import "host" "drop-request" (func $drop-request (param i32)))
      (import "host" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
      (global $end (mut i32) (i32.const 0))
      (func $tell (param $bits i64) (local $digit i32)
        (loop $next
          (i32.store8 $told (global.get $end)
            (i32.add (i32.const 97) (i32.wrap_i64 (i64.and (local.get $bits) (i64.const 15)))))
          (local.set $bits (i64.shr_u (local.get $bits) (i64.const 4)))
          (global.set $end (i32.add (global.get $end) (i32.const 1)))
          (local.set $digit (i32.add (local.get $digit) (i32.const 1)))
          (br_if $next (i32.lt_u (local.get $digit) (i32.const {DIGITS})))))
      (func $look (local $at i32) (local $sum i64)
        {look})
      (func (export "handle") (param $request i32) (param $outparam i32)
        (global.set $end (i32.const 0))
        (call $look)
        {calls}
        (call $look)
        (call $drop-request (local.get $request))
        (call $set (local.get $outparam) (i32.const 1) (i32.const 38) (i32.const 1)
          (i64.const 0) (i32.const {length}) (i32.const 0) (i32.const 0) (i32.const 0))))
    (core instance $main (instantiate $run (with "random" (instance $random))
      (with "state" (instance $state)) (with "host" (instance $host))))"#
    )
}
