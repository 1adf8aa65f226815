//! Random core modules behave the same before and after, and renewing is starting anew.
//!
//! ```text
//!  component: random core module ← driver core module → f0, f1, ...: func(round: u32) -> u64
//! ```
//!
//! The driver calls one random function with constants of its types, and answers all results
//! folded into one number.

use arbitrary::Unstructured;
use proptest::prelude::*;
use usher_wasm::rewrite::{CloneImage, Verdict, rewrite, strip_for_clone};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, CodeSection, Component as Encoded, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentInstanceSection, ComponentTypeSection,
    ComponentValType, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, InstanceSection, InstructionSink, Module, ModuleArg,
    ModuleSection, PrimitiveValType, RawSection, TypeSection, ValType,
};
use wasmparser::{ExternalKind, FuncType, Parser, Payload, Validator};
use wasmtime::component::{Component, Instance};
use wasmtime::{Config, Engine, Store};

use crate::guest::{live, read_globals, save, without_bases};

/// Loop turns and calls that a random module makes before it is made to trap.
const FUEL: u32 = 10_000;
const ROUNDS: u32 = 3;
/// Words of eight bytes that a random module is made from.
const CHOICES: usize = 1_500;

/// A random module without imports that always ends. Its fuel is a mutable global too. Without
/// `bulk`, nothing in it changes a table or a segment.
fn random_module(seed: u64, memories: usize, bulk: bool) -> Option<Vec<u8>> {
    let config = wasm_smith::Config {
        max_imports: 0,
        max_memories: memories,
        max_memory32_bytes: 4 << 16,
        memory64_enabled: false,
        max_table_elements: 100,
        export_everything: true,
        min_types: 4,
        min_funcs: 4,
        min_globals: 4,
        max_tags: 0,
        exceptions_enabled: false,
        gc_enabled: false,
        // The engine is built without a collector, and so without references to host objects.
        reference_types_enabled: false,
        threads_enabled: false,
        bulk_memory_enabled: bulk,
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

/// The exported functions whose types the driver can feed and read.
fn drivable(module: &[u8]) -> Vec<(String, Vec<ValType>, Vec<ValType>)> {
    let types = Validator::new()
        .validate_all(module)
        .expect("the generator's module is valid");
    let types = types.as_ref();
    let mut functions = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(exports) = payload.expect("is valid") else {
            continue;
        };
        for export in exports {
            let export = export.expect("is valid");
            if export.kind == ExternalKind::Func {
                let ty = types[types.core_function_at(export.index)].unwrap_func();
                let signature = signature(ty);
                functions.extend(signature.map(|(ps, rs)| (export.name.to_owned(), ps, rs)));
            }
        }
    }
    functions
}

fn signature(ty: &FuncType) -> Option<(Vec<ValType>, Vec<ValType>)> {
    let number = |ty: &wasmparser::ValType| match ty {
        wasmparser::ValType::I32 => Some(ValType::I32),
        wasmparser::ValType::I64 => Some(ValType::I64),
        wasmparser::ValType::F32 => Some(ValType::F32),
        wasmparser::ValType::F64 => Some(ValType::F64),
        wasmparser::ValType::V128 => Some(ValType::V128),
        wasmparser::ValType::Ref(_) => None,
    };
    let parameters = ty.params().iter().map(number).collect::<Option<_>>()?;
    let results = ty.results().iter().map(number).collect::<Option<_>>()?;
    Some((parameters, results))
}

/// The module and its driver in a component that exports `f0`, `f1`, ... and a handler.
fn wrap(module: &[u8]) -> (Vec<u8>, u32) {
    let functions = drivable(module);
    let count = u32::try_from(functions.len()).expect("is small");
    let u32_type = ComponentValType::Primitive(PrimitiveValType::U32);
    let u64_type = ComponentValType::Primitive(PrimitiveValType::U64);
    let mut types = ComponentTypeSection::new();
    types
        .function()
        .params([("round", u32_type)])
        .result(Some(u64_type));
    let mut aliases = ComponentAliasSection::new();
    let mut lifts = CanonicalFunctionSection::new();
    let mut exports = ComponentExportSection::new();
    for place in 0..count {
        let (instance, kind, name) = (1, ExportKind::Func, format!("f{place}"));
        aliases.alias(Alias::CoreInstanceExport {
            instance,
            kind,
            name: &name,
        });
        lifts.lift(place, 0, []);
        exports.export(name.as_str(), ComponentExportKind::Func, place, None);
    }
    let handler = "wasi:http/incoming-handler@0.2.0";
    exports.export(handler, ComponentExportKind::Instance, 0, None);
    let mut instances = InstanceSection::new();
    instances.instantiate(0, [] as [(&str, ModuleArg); 0]);
    instances.instantiate(1, [("random", ModuleArg::Instance(0))]);
    let mut handler = ComponentInstanceSection::new();
    handler.export_items([] as [(&str, ComponentExportKind, u32); 0]);
    let mut component = Encoded::new();
    component.section(&RawSection {
        id: 1,
        data: module,
    });
    component.section(&ModuleSection(&driver(&functions)));
    component
        .section(&instances)
        .section(&aliases)
        .section(&types)
        .section(&lifts);
    component.section(&handler).section(&exports);
    (component.finish(), count)
}

/// Calls each function with constants, and folds its results. Keeps a mutable global of its own.
fn driver(functions: &[(String, Vec<ValType>, Vec<ValType>)]) -> Module {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I64]);
    let mut imports = ImportSection::new();
    let mut own = FunctionSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();
    let count = u32::try_from(functions.len()).expect("is small");
    for (place, (name, parameters, results)) in (0..).zip(functions) {
        types
            .ty()
            .function(parameters.iter().copied(), results.iter().copied());
        imports.import("random", name, EntityType::Function(place + 1));
        own.function(0);
        exports.export(&format!("f{place}"), ExportKind::Func, count + place);
        let mut body = Function::new([(1, ValType::V128)]);
        let mut sink = body.instructions();
        for parameter in parameters {
            argument(&mut sink, *parameter);
        }
        sink.call(place);
        for result in results.iter().rev() {
            fold(&mut sink, *result);
        }
        sink.global_get(0).end();
        code.function(&body);
    }
    let mut globals = GlobalSection::new();
    let ty = GlobalType {
        val_type: ValType::I64,
        mutable: true,
        shared: false,
    };
    globals.global(ty, &ConstExpr::i64_const(0));
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&own)
        .section(&globals);
    module.section(&exports).section(&code);
    module
}

/// Pushes an argument that depends on the round.
fn argument(sink: &mut InstructionSink<'_>, ty: ValType) {
    sink.local_get(0);
    match ty {
        ValType::I32 => sink,
        ValType::I64 => sink.i64_extend_i32_u(),
        ValType::F32 => sink.f32_convert_i32_u(),
        ValType::F64 => sink.f64_convert_i32_u(),
        _ => sink.i32x4_splat(),
    };
}

/// Pops a result, and folds its bits into the driver's global.
fn fold(sink: &mut InstructionSink<'_>, ty: ValType) {
    match ty {
        ValType::I32 => sink.i64_extend_i32_u(),
        ValType::I64 => sink,
        ValType::F32 => sink.i32_reinterpret_f32().i64_extend_i32_u(),
        ValType::F64 => sink.i64_reinterpret_f64(),
        _ => {
            sink.local_tee(1).i64x2_extract_lane(0);
            sink.local_get(1)
                .i64x2_extract_lane(1)
                .i64_const(11)
                .i64_rotl()
                .i64_xor()
        }
    };
    sink.global_get(0)
        .i64_const(7)
        .i64_rotl()
        .i64_xor()
        .global_set(0);
}

fn engine() -> Engine {
    let mut config = Config::new();
    config.cranelift_nan_canonicalization(true);
    Engine::new(&config).expect("the settings fit")
}

struct Running {
    store: Store<()>,
    instance: Instance,
}

impl Running {
    /// Nothing if the instantiation traps.
    fn start(component: &Component) -> Option<Self> {
        let mut store = Store::new(component.engine(), ());
        let linker = without_bases(component.engine());
        let instance = linker.instantiate(&mut store, component).ok()?;
        Some(Running { store, instance })
    }

    /// Calls `functions` a few times, in turns, and tells what each answered. The error is the one
    /// that trapped.
    fn observe(&mut self, functions: &[u32]) -> Result<Vec<u64>, u32> {
        let mut seen = Vec::new();
        for round in 0..ROUNDS {
            for place in functions {
                let name = format!("f{place}");
                let function = self.instance.get_typed_func(&mut self.store, &name);
                let function = function.expect("is exported");
                let (word,) = function
                    .call(&mut self.store, (round,))
                    .map_err(|_| *place)?;
                seen.push(word);
            }
        }
        Ok(seen)
    }
}

/// As many of the functions as can be called in turns without a trap, and what they answered. A
/// trap ends an instance, so without this nearly all runs would be too short to show anything.
fn lasting(component: &Component, count: u32) -> (Vec<u32>, Vec<u64>) {
    let mut functions: Vec<u32> = (0..count).collect();
    while let Some(mut run) = Running::start(component) {
        match run.observe(&functions) {
            Ok(seen) => return (functions, seen),
            Err(trapped) => functions.retain(|place| *place != trapped),
        }
    }
    (Vec::new(), Vec::new())
}

proptest! {
    #![proptest_config(crate::cases(64))]

    #[test]
    fn rewriting_changes_no_behaviour(seed in any::<u64>()) {
        let Some(module) = random_module(seed, 2, true) else {
            return Ok(());
        };
        let (original, count) = wrap(&module);
        let rewritten = rewrite(&original).expect("the component is taken");
        Validator::new().validate_all(&rewritten.bytes).expect("stays valid");
        let engine = engine();
        let original = Component::new(&engine, &original).expect("compiles");
        let rewritten = Component::new(&engine, &rewritten.bytes).expect("compiles");
        prop_assert_eq!(lasting(&original, count), lasting(&rewritten, count));
    }

    /// Without memories everything that a module keeps is put back by the component itself.
    #[test]
    fn renewing_is_starting_anew(seed in any::<u64>()) {
        let Some(module) = random_module(seed, 0, false) else {
            return Ok(());
        };
        let (original, count) = wrap(&module);
        let rewritten = rewrite(&original).expect("the component is taken");
        if matches!(rewritten.plan.verdict, Verdict::Fresh { .. }) {
            return Ok(());
        }
        let exports = live(&rewritten);
        let component = Component::new(&engine(), &rewritten.bytes).expect("compiles");
        let (functions, first) = lasting(&component, count);
        let Some(Running { mut store, instance }) = Running::start(&component) else {
            return Ok(());
        };
        save(&instance, &mut store, exports);
        let renew = instance.get_typed_func::<(u32, u32), (u32,)>(&mut store, &exports.renew);
        let renew = renew.expect("is there");
        let mut run = Running { store, instance };
        for _ in 0..3 {
            prop_assert_eq!(run.observe(&functions), Ok(first.clone()));
            renew.call(&mut run.store, (0, 0)).expect("does not trap");
        }
    }

    /// A clone begins where a renewed instance begins, wherever the image was taken.
    #[test]
    fn a_clone_of_the_image_is_a_renewed_instance(seed in any::<u64>(), warm in any::<bool>()) {
        let Some(module) = random_module(seed, 0, false) else {
            return Ok(());
        };
        let (original, count) = wrap(&module);
        let rewritten = rewrite(&original).expect("the component is taken");
        let exports = live(&rewritten);
        let component = Component::new(&engine(), &rewritten.bytes).expect("compiles");
        let (functions, _) = lasting(&component, count);
        let Some(mut renewed) = Running::start(&component) else {
            return Ok(());
        };
        if warm {
            prop_assert!(renewed.observe(&functions).is_ok());
        }
        let Running { store, instance } = &mut renewed;
        save(instance, store, exports);
        let globals = read_globals(instance, store, exports);
        let image = CloneImage { globals, memories: Vec::new() };
        let stripped = strip_for_clone(&rewritten.bytes, &image).expect("the image fits");
        let stripped = stripped.expect("the component can be cloned");
        Validator::new().validate_all(&stripped).expect("stays valid");
        let stripped = Component::new(component.engine(), &stripped).expect("compiles");
        let mut clone = Running::start(&stripped).expect("runs nothing, so nothing traps");
        prop_assert_eq!(clone.observe(&functions), renewed.observe(&functions));
    }
}
