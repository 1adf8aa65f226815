//! What is read at all: the bounds on an artifact, and its full validation.
//!
//! Bounds come first at every step, so that a hostile artifact costs no more than its bytes.
//! Deliberately absent: which features the engine compiles. A component that is valid here and uses
//! one that the engine lacks is refused by the compiler, with its own words.

use std::mem;

use wasmparser::{
    Encoding, FuncValidatorAllocations, Parser, Payload, ValidPayload, Validator, WasmFeatures,
    types::Types,
};

use super::{RewriteError, sections::HEADER_BYTES};

/// Bytes of one component.
pub const COMPONENT_MAX_BYTES: usize = 128 << 20;
/// Core modules in one component, nested ones included.
pub const MODULES_MAX: usize = 256;
/// Core and component instances that one component makes or imports.
pub const INSTANCES_MAX: usize = 4_096;
/// Functions defined by all core modules together.
pub const FUNCTIONS_MAX: usize = 500_000;
/// Globals defined by all core modules together.
pub const GLOBALS_MAX: usize = 100_000;
/// Memories defined by all core modules together.
pub const MEMORIES_MAX: usize = 64;
/// Tables defined by all core modules together.
pub const TABLES_MAX: usize = 1_024;
/// Components inside components, and modules inside those.
pub const NESTED_DEPTH_MAX: usize = 8;

/// Checks bounds and validity of every byte, and answers the types of the outermost component.
pub(super) fn validate(component: &[u8]) -> Result<Types, RewriteError> {
    check("bytes", component.len(), COMPONENT_MAX_BYTES)?;
    preamble(component)?;
    let mut validator = Validator::new_with_features(WasmFeatures::default());
    let mut allocations = FuncValidatorAllocations::default();
    let mut tally = Tally::default();
    let mut outermost = None;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        tally.add(&payload)?;
        match validator.payload(&payload)? {
            ValidPayload::Func(function, body) => {
                let mut function = function.into_validator(mem::take(&mut allocations));
                function.validate(&body)?;
                allocations = function.into_allocations();
            }
            ValidPayload::End(types) => outermost = Some(types),
            ValidPayload::Ok | ValidPayload::Parser(_) => {}
        }
    }
    // The parser ends with an error unless the outermost end was seen.
    outermost.ok_or_else(|| RewriteError::NotWasm { found: Vec::new() })
}

fn preamble(bytes: &[u8]) -> Result<(), RewriteError> {
    let head = &bytes[..bytes.len().min(HEADER_BYTES)];
    if !head.starts_with(b"\0asm") || head.len() < HEADER_BYTES {
        let found = head.to_vec();
        return Err(RewriteError::NotWasm { found });
    }
    match Parser::is_core_wasm(bytes) {
        true => Err(RewriteError::CoreModule),
        false => Ok(()),
    }
}

fn check(what: &'static str, found: usize, limit: usize) -> Result<(), RewriteError> {
    match found > limit {
        true => Err(RewriteError::TooLarge { what, found, limit }),
        false => Ok(()),
    }
}

/// Totals over the whole artifact.
#[derive(Default)]
struct Tally {
    depth: usize,
    modules: usize,
    instances: usize,
    functions: usize,
    globals: usize,
    memories: usize,
    tables: usize,
}

impl Tally {
    fn add(&mut self, payload: &Payload<'_>) -> Result<(), RewriteError> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.depth += 1;
                self.modules += usize::from(*encoding == Encoding::Module);
            }
            Payload::End(_) => self.depth -= 1,
            Payload::FunctionSection(s) => self.functions += s.count() as usize,
            Payload::GlobalSection(s) => self.globals += s.count() as usize,
            Payload::MemorySection(s) => self.memories += s.count() as usize,
            Payload::TableSection(s) => self.tables += s.count() as usize,
            Payload::InstanceSection(s) => self.instances += s.count() as usize,
            Payload::ComponentInstanceSection(s) => self.instances += s.count() as usize,
            _ => return Ok(()),
        }
        check("levels of nesting", self.depth, NESTED_DEPTH_MAX)?;
        check("core modules", self.modules, MODULES_MAX)?;
        check("instances", self.instances, INSTANCES_MAX)?;
        check("functions", self.functions, FUNCTIONS_MAX)?;
        check("globals", self.globals, GLOBALS_MAX)?;
        check("memories", self.memories, MEMORIES_MAX)?;
        check("tables", self.tables, TABLES_MAX)
    }
}
