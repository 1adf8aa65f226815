//! What the rewriting found out: the facts of each module, and how the component is served.
//!
//! Deliberately absent: how it is found out. These are the words in which deploy answers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The report of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The exported interface that takes requests, `wasi:http/incoming-handler@0.2.x` or
    /// `wasi:http/handler@0.3.x`.
    pub handler: String,
    /// Whether it is the latter, so that only an engine which can run several tasks serves it.
    pub concurrent: bool,
    /// Whether components with state of their own are nested in it.
    pub nested: bool,
    /// Further exports of the component. The platform never calls them.
    pub other_exports: Vec<String>,
    /// One entry for each core module, in the component's order.
    pub modules: Vec<ModuleFacts>,
    /// How the component is served.
    pub verdict: Verdict,
}

/// What one core module keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFacts {
    /// Which module.
    pub module: ModuleId,
    /// Mutable globals that it defines.
    pub mutable_globals: usize,
    /// Memories that it defines.
    pub memories: usize,
    /// Whether its code holds a `memory.grow`.
    pub grows: bool,
    /// Whether it runs a function of its own at instantiation.
    pub has_start: bool,
}

/// A core module of the component, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleId {
    /// The place among the component's core modules, from 0.
    pub index: usize,
    /// The name in the module's name section, if there is one.
    pub name: Option<String>,
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core module {}", self.index)?;
        match &self.name {
            Some(name) => write!(f, " ({name:?})"),
            None => Ok(()),
        }
    }
}

/// How a component is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The instance stays and is put back after each request.
    Live(LiveExports),
    /// Each request gets an instance of its own. There is at least one reason.
    Fresh {
        /// All reasons that were found, in the component's order.
        reasons: Vec<Reason>,
    },
}

/// The functions that were added to a live component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveExports {
    /// `func()`: keeps the globals of this instant as those of the image.
    pub save: String,
    /// `func(release: u32, n: u32) -> u32`: puts globals and handle numbers back.
    ///
    /// `release` is a set of [`super::RELEASE_REQUEST`] and [`super::RELEASE_OUTPARAM`]. `n` is at
    /// least the most handles that the run can have held at one instant, and it is what the
    /// function answers. It traps when a handle is left or a released one is not there; the
    /// environment is then at its end.
    pub renew: String,
    /// `func(resource: u32, number: u32)`: drops one handle that the run has left; call it before
    /// `renew`. `resource` is the place of its type in `resources`. Traps when the handle is not
    /// there or of another type; the environment is then at its end. With a resource table that is
    /// new for the run, the number is the host's index of the resource plus one; release children
    /// before their parents, so from the highest number down.
    pub release: String,
    /// `func(place: u32, half: u32) -> u64`: the bits of a global as it was saved, `half` 1 for the
    /// upper half of a vector. For [`super::CloneImage`]; traps from `globals` on.
    pub read: String,
    /// `func(place: u32, low: u64, high: u64)`: makes these bits those of a global in the image, so
    /// that the next `renew` gives them to it. Traps from `globals` on.
    pub write: String,
    /// The bits that `release` may hold. A bit outside of them traps.
    pub releasable: u32,
    /// The resource types that the component imports, as `release` counts them.
    pub resources: Vec<ImportedResource>,
    /// How many globals `read` and `write` know: all mutable ones of all core instances, in order.
    pub globals: u32,
}

/// A resource type of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedResource {
    /// The imported interface that defines it, `wasi:http/types@0.2.10`.
    pub interface: String,
    /// Its name there, `fields`.
    pub name: String,
}

/// Why a component is not served live.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It takes its requests by an interface whose tasks and streams the runtime keeps.
    #[error("it is for wasi:http 0.3, whose tasks and streams keep state outside of its memories")]
    Concurrent,
    /// A core module whose code is not in the artifact.
    #[error("it instantiates a core module that it imports, whose state cannot be put back")]
    ForeignModule,
    /// A component whose code is not in the artifact.
    #[error("it imports a component, whose state cannot be put back")]
    ForeignComponent,
    /// A nested component with state of its own.
    #[error("nested component {component} holds {what}, so it has state of its own")]
    NestedState {
        /// The place among the component's direct children, from 0.
        component: usize,
        /// What was found.
        what: &'static str,
    },
    /// Handles of a resource type of its own can hold 32 bits each, in the runtime.
    #[error("it defines a resource type of its own, whose handles can keep data between requests")]
    LocalResource,
    /// The component model's own asynchrony: tasks, streams, threads, all with state in the store.
    #[error("it uses {construct} of the asynchronous component model, which keeps state")]
    Asynchronous {
        /// The canonical function or option.
        construct: &'static str,
    },
    /// A canonical option that is not known to be free of state.
    #[error("it uses the canonical option {option}, which is not known to be free of state")]
    CanonicalOption {
        /// The option.
        option: &'static str,
    },
    /// A function of the component model's own start section.
    #[error("it has a component start function")]
    ComponentStart,
    /// State inside a core module that the rewriting cannot put back.
    #[error("{module} {construct}")]
    Module {
        /// The module.
        module: ModuleId,
        /// What it holds.
        construct: Construct,
    },
}

/// State of a core module that cannot be put back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Construct {
    /// Memory that another thread could write at any time.
    #[error("has a shared memory")]
    SharedMemory,
    /// The component model does not hand out pieces of such a memory yet, so its base cannot be
    /// read.
    #[error("has a memory of 64-bit addresses, whose place cannot be determined")]
    WideMemory,
    /// A mutable global of a reference type.
    #[error("has mutable global {global}, which holds a reference")]
    ReferenceGlobal {
        /// The index of the global.
        global: u32,
    },
    /// Objects of the garbage-collected heap outlive a request.
    #[error("defines a {kind} type, whose objects live outside its memories")]
    HeapType {
        /// Which kind of type.
        kind: &'static str,
    },
    /// Exceptions are objects outside of the memories as well.
    #[error("has exception tags")]
    Tag,
    /// A table or segment that a request can change.
    #[error("function {function} uses {operator} and can run while serving")]
    TableOrSegment {
        /// The index of the function.
        function: u32,
        /// The instruction.
        operator: &'static str,
    },
}
