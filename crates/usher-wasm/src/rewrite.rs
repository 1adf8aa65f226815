//! The rewriting of a component at deploy time, and the proof of which components may be served
//! live.
//!
//! A live instance is put back between two requests: its memories by naming another area (the
//! host's part), its *globals* and its *handle numbers* by code that only the component itself can
//! run. No host API reaches either, so that code is appended here:
//!
//! ```text
//!  component                                    appended (all old indices hold)
//!  ├─ core module 0   globals, memory           shadow globals, save, reset, read, write
//!  ├─ core module 1   ...                       shadow globals, save, reset
//!  ├─ core instances, canons, exports           a core module, the conductor
//!  │                                            export usher-save-…     func()
//!  │                                            export usher-renew-…    func(u32, u32) -> u32
//!  │                                            export usher-release-…  func(u32, u32)
//!  │                                            export usher-read-…     func(u32, u32) -> u64
//!  └─                                           export usher-write-…    func(u32, u64, u64)
//! ```
//!
//! *save* copies every mutable global into its shadow; the host calls it once, at the instant at
//! which it copies the memories into the image. *renew* runs after each request, when the host has
//! already named the clean areas: it drops what the host says is left, proves that no handle
//! leaked, puts the numbering of handles back (`conductor`), copies the shadows back and grows
//! each memory by nothing, which makes the runtime write base and length anew.
//!
//! Live is granted only where nothing else can carry state from one request to the next
//! (`survey`, `module`); everything else is served by fresh instances, with the reasons named.
//!
//! Deliberately absent: files, engines, compilation. This is a pure function over bytes.

mod bounds;
mod clone;
mod conductor;
mod module;
mod reach;
mod sections;
mod shadow;
mod survey;
mod verdict;
mod world;

use sha2::{Digest, Sha256};

pub use bounds::{
    COMPONENT_MAX_BYTES, FUNCTIONS_MAX, GLOBALS_MAX, INSTANCES_MAX, MEMORIES_MAX, MODULES_MAX,
    NESTED_DEPTH_MAX, TABLES_MAX,
};
pub use clone::{CLONE_GLOBALS_MAX, CloneError, CloneImage, strip_for_clone};
pub use conductor::BASE_IMPORT;
pub use verdict::{
    Construct, ImportedResource, LiveExports, ModuleFacts, ModuleId, Plan, Reason, Verdict,
};
pub use world::WrongWorld;

use module::Module;
use survey::Survey;
use world::Generation;

/// Bit of `renew`'s first argument: the request that the host handed in is still alive, drop it.
pub const RELEASE_REQUEST: u32 = 1;
/// Bit of `renew`'s first argument: the response-outparam is still alive, drop it.
pub const RELEASE_OUTPARAM: u32 = 2;

/// Digits of the component's SHA-256 digest in the added names: 64 bits, which nobody can guess
/// while writing the component, so that no name of its own can collide.
const SUFFIX_DIGITS: usize = 16;

/// A component as it is to be compiled, and what was found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The bytes to compile: rewritten under [`Verdict::Live`], the input itself otherwise.
    pub bytes: Vec<u8>,
    /// What was found, and how the component is to be served.
    pub plan: Plan,
}

/// Why a component was refused. All of these are faults of the artifact, never of the platform.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The artifact has more of something than the platform takes.
    #[error("the component has {found} {what}; at most {limit} are taken")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many there are, as far as was read.
        found: usize,
        /// The bound.
        limit: usize,
    },
    /// The artifact does not begin like any WebAssembly binary.
    #[error("this is not a WebAssembly component: the first bytes are {found:02x?}")]
    NotWasm {
        /// The first bytes, at most eight.
        found: Vec<u8>,
    },
    /// The artifact is a core module.
    #[error(
        "this is a core WebAssembly module, not a component; \
         wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// The artifact breaks a rule of the binary format, or is cut off.
    #[error("the component is not valid")]
    Invalid(#[from] wasmparser::BinaryReaderError),
    /// The component serves something else than HTTP requests of wasi:http 0.2 or 0.3.
    #[error(transparent)]
    WrongWorld(#[from] WrongWorld),
}

/// Judges `component`, and rewrites it where it can be served live.
///
/// The answer depends on the bytes alone. The input is validated in full first; the output is valid
/// whenever the input is, and behaves like it: nothing of the component's own is moved or changed.
pub fn rewrite(component: &[u8]) -> Result<Rewritten, RewriteError> {
    let types = bounds::validate(component)?;
    let survey = Survey::of(component)?;
    let handler = world::handler(&survey.exports)?;
    let modules = survey.modules.iter().map(|bytes| Module::parse(bytes));
    let modules = modules.collect::<Result<Vec<_>, _>>()?;

    let nested = |reason: &Reason| matches!(reason, Reason::NestedState { .. });
    let nested = survey.reasons.iter().any(nested);
    let mut reasons = match handler.generation {
        Generation::Http02 => survey.reasons.clone(),
        Generation::Http03 => vec![Reason::Concurrent],
    };
    // What its modules hold decides nothing where the component cannot be live in any case.
    let judged = match handler.generation {
        Generation::Http02 => modules.as_slice(),
        Generation::Http03 => &[],
    };
    for (index, module) in judged.iter().enumerate() {
        let faults = module.faults()?;
        let id = module.id(index);
        reasons.extend(faults.into_iter().map(|construct| Reason::Module {
            module: id.clone(),
            construct,
        }));
    }
    let facts = modules.iter().enumerate();
    let facts = facts.map(|(index, module)| module.facts(index));
    let facts = facts.collect::<Result<Vec<_>, _>>()?;

    let (bytes, verdict) = if reasons.is_empty() {
        let suffix = suffix(component);
        let (bytes, exports) = conductor::append(&survey, &modules, &types, handler, &suffix)?;
        (bytes, Verdict::Live(exports))
    } else {
        (component.to_vec(), Verdict::Fresh { reasons })
    };
    let other_exports = survey.exports.iter().map(|export| export.name);
    let other_exports = other_exports.filter(|name| *name != handler.name);
    let plan = Plan {
        handler: handler.name.to_owned(),
        concurrent: handler.generation == Generation::Http03,
        nested,
        other_exports: other_exports.map(str::to_owned).collect(),
        modules: facts,
        verdict,
    };
    Ok(Rewritten { bytes, plan })
}

/// A word of letters and digits that begins with a letter, as component names demand.
fn suffix(component: &[u8]) -> String {
    let digest = Sha256::digest(component);
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    let digits: String = digits.take(SUFFIX_DIGITS / 2).collect();
    format!("x{digits}")
}
