//! Appends shadows, `save`, `reset`, `read` and `write` to a core module.
//!
//! ```text
//!  (global $shadow_i (mut T) (T.const 0))            one for each mutable global of the module
//!  (func (export "usher:save-…")  shadow_i := global_i ...)
//!  (func (export "usher:reset-…") global_i := shadow_i ... ; memory.grow $m 0 ...)
//!  (func (export "usher:read-…")  (param place half) (result i64) bits of shadow_place)
//!  (func (export "usher:write-…") (param place low high) shadow_place := those bits)
//!  (export "usher:memory-…" (memory $m))             one for each memory of the module
//! ```
//!
//! Everything comes behind what is there, so that every index of the module keeps its meaning.
//! `reset` touches no memory: the host has just named other areas, and the compiler may keep a
//! memory's old base for a whole call. Growing by nothing is what makes the runtime look anew.

use wasm_encoder::{BlockType, ConstExpr, Encode, ExportKind, Function, GlobalType, ValType};
use wasmparser::BinaryReaderError;

use super::module::{Module, MutableGlobal, id};
use super::sections::{self, Entries};

/// The order in which a module's sections stand.
const ORDER: [u8; 13] = [
    id::TYPE,
    id::IMPORT,
    id::FUNCTION,
    id::TABLE,
    id::MEMORY,
    id::TAG,
    id::GLOBAL,
    id::EXPORT,
    id::START,
    id::ELEMENT,
    id::DATA_COUNT,
    id::CODE,
    id::DATA,
];

/// The type `() -> ()`.
const NULLARY: [u8; 3] = [0x60, 0, 0];
/// The type `(i32, i32) -> i64`.
const READ: [u8; 6] = [0x60, 2, 0x7f, 0x7f, 1, 0x7e];
/// The type `(i32, i64, i64) -> ()`.
const WRITE: [u8; 6] = [0x60, 3, 0x7f, 0x7e, 0x7e, 0];

/// The names of the added functions: save, reset, read, write.
pub(super) fn names(suffix: &str) -> [String; 4] {
    ["save", "reset", "read", "write"].map(|verb| format!("usher:{verb}-{suffix}"))
}

/// The name of the added export of a module's memory, by its place among those it defines.
pub(super) fn memory_name(place: usize, suffix: &str) -> String {
    format!("usher:memory-{place}-{suffix}")
}

/// The module with shadows and the functions, or none if it has nothing to put back or a
/// global that has no shadow.
pub(super) fn append(
    module: &Module<'_>,
    suffix: &str,
) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let globals = module.mutable_globals.iter().map(Shadow::of);
    let Some(shadows) = globals.collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    if !module.has_state() {
        return Ok(None);
    }
    let mut added = Added::default();
    added.types.push(|bytes| bytes.extend(NULLARY));
    added.types.push(|bytes| bytes.extend(READ));
    added.types.push(|bytes| bytes.extend(WRITE));
    for shadow in &shadows {
        added.globals.push(|bytes| shadow.encode(bytes));
    }
    let [nullary, reading, writing] = [0, 1, 2].map(|added| module.types + added);
    let types = [nullary, nullary, reading, writing];
    let bodies = [save(module), reset(module), read(module), write(module)];
    let functions = (module.functions..).zip(types);
    for ((function, ty), (name, body)) in functions.zip(names(suffix).iter().zip(&bodies)) {
        added.functions.push(|bytes| ty.encode(bytes));
        added.code.push(|bytes| body.encode(bytes));
        added.exports.push(|bytes| {
            name.encode(bytes);
            ExportKind::Func.encode(bytes);
            function.encode(bytes);
        });
    }
    for (place, memory) in module.memories.iter().enumerate() {
        added.exports.push(|bytes| {
            memory_name(place, suffix).encode(bytes);
            ExportKind::Memory.encode(bytes);
            memory.index.encode(bytes);
        });
    }
    added.join(module).map(Some)
}

/// A shadow global.
struct Shadow {
    ty: ValType,
    zero: ConstExpr,
}

impl Shadow {
    fn of(global: &MutableGlobal) -> Option<Self> {
        let (ty, zero) = match global.ty {
            wasmparser::ValType::I32 => (ValType::I32, ConstExpr::i32_const(0)),
            wasmparser::ValType::I64 => (ValType::I64, ConstExpr::i64_const(0)),
            wasmparser::ValType::F32 => (ValType::F32, ConstExpr::f32_const(0.0.into())),
            wasmparser::ValType::F64 => (ValType::F64, ConstExpr::f64_const(0.0.into())),
            wasmparser::ValType::V128 => (ValType::V128, ConstExpr::v128_const(0)),
            wasmparser::ValType::Ref(_) => return None,
        };
        Some(Shadow { ty, zero })
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        let ty = GlobalType {
            val_type: self.ty,
            mutable: true,
            shared: false,
        };
        ty.encode(bytes);
        self.zero.encode(bytes);
    }
}

/// Pairs of a mutable global and its shadow.
fn pairs<'m>(module: &'m Module<'_>) -> impl Iterator<Item = (u32, u32)> + 'm {
    let globals = module.mutable_globals.iter().map(|global| global.index);
    globals.zip(module.globals..)
}

fn save(module: &Module<'_>) -> Function {
    let mut body = Function::new([]);
    for (global, shadow) in pairs(module) {
        body.instructions().global_get(global).global_set(shadow);
    }
    body.instructions().end();
    body
}

fn reset(module: &Module<'_>) -> Function {
    let mut body = Function::new([]);
    for (global, shadow) in pairs(module) {
        body.instructions().global_get(shadow).global_set(global);
    }
    for memory in &module.memories {
        match memory.ty.memory64 {
            true => body.instructions().i64_const(0),
            false => body.instructions().i32_const(0),
        };
        body.instructions().memory_grow(memory.index).drop();
    }
    body.instructions().end();
    body
}

/// One comparison after the other: the image is taken once, and simple code is small.
fn read(module: &Module<'_>) -> Function {
    const PLACE: u32 = 0;
    const HALF: u32 = 1;
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for ((place, global), (_, shadow)) in (0..).zip(&module.mutable_globals).zip(pairs(module)) {
        code.local_get(PLACE).i32_const(place).i32_eq();
        code.if_(BlockType::Empty);
        match global.ty {
            wasmparser::ValType::V128 => code.global_get(shadow).i64x2_extract_lane(1),
            _ => code.i64_const(0),
        };
        code.global_get(shadow);
        match global.ty {
            wasmparser::ValType::I32 => code.i64_extend_i32_u(),
            wasmparser::ValType::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
            wasmparser::ValType::F64 => code.i64_reinterpret_f64(),
            wasmparser::ValType::V128 => code.i64x2_extract_lane(0),
            wasmparser::ValType::I64 | wasmparser::ValType::Ref(_) => &mut code,
        };
        code.local_get(HALF).select();
        code.return_().end();
    }
    code.unreachable().end();
    body
}

/// As [`read`]: an image is laid over a new instance once, before its first run.
fn write(module: &Module<'_>) -> Function {
    const PLACE: u32 = 0;
    const LOW: u32 = 1;
    const HIGH: u32 = 2;
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for ((place, global), (_, shadow)) in (0..).zip(&module.mutable_globals).zip(pairs(module)) {
        code.local_get(PLACE).i32_const(place).i32_eq();
        code.if_(BlockType::Empty);
        code.local_get(LOW);
        match global.ty {
            wasmparser::ValType::I32 => code.i32_wrap_i64(),
            wasmparser::ValType::F32 => code.i32_wrap_i64().f32_reinterpret_i32(),
            wasmparser::ValType::F64 => code.f64_reinterpret_i64(),
            wasmparser::ValType::V128 => code.i64x2_splat().local_get(HIGH).i64x2_replace_lane(1),
            wasmparser::ValType::I64 | wasmparser::ValType::Ref(_) => &mut code,
        };
        code.global_set(shadow).return_().end();
    }
    code.unreachable().end();
    body
}

/// What is added to each section.
#[derive(Default)]
struct Added {
    types: Entries,
    functions: Entries,
    globals: Entries,
    exports: Entries,
    code: Entries,
}

impl Added {
    fn of(&self, id: u8) -> Option<&Entries> {
        let entries = match id {
            id::TYPE => &self.types,
            id::FUNCTION => &self.functions,
            id::GLOBAL => &self.globals,
            id::EXPORT => &self.exports,
            id::CODE => &self.code,
            _ => return None,
        };
        (!entries.is_empty()).then_some(entries)
    }

    /// The module with the additions; a section that it lacks comes at its place in the order.
    fn join(&self, module: &Module<'_>) -> Result<Vec<u8>, BinaryReaderError> {
        let mut bytes = module.header.to_vec();
        let mut due = ORDER.as_slice();
        for section in &module.sections {
            if let Some(place) = due.iter().position(|id| *id == section.id) {
                self.missing(&due[..place], &mut bytes)?;
                due = &due[place + 1..];
            }
            match self.of(section.id) {
                Some(entries) => {
                    let body = entries.behind(Some(section.body))?;
                    sections::push(&mut bytes, section.id, &body);
                }
                None => sections::push(&mut bytes, section.id, section.body),
            }
        }
        self.missing(due, &mut bytes)?;
        Ok(bytes)
    }

    fn missing(&self, absent: &[u8], bytes: &mut Vec<u8>) -> Result<(), BinaryReaderError> {
        for id in absent {
            if let Some(entries) = self.of(*id) {
                sections::push(bytes, *id, &entries.behind(None)?);
            }
        }
        Ok(())
    }
}
