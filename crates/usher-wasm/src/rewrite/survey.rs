//! A component's outermost level: what it is made of, and which parts keep state.
//!
//! State outside of core modules is found here: nested components, resource types and intrinsics.
//! The rules are closed: what is not known to be free of state is a reason for fresh instances.
//!
//! A component's handles live in one table per component *instance*. Lifts and lowers count for
//! the instance in whose text they stand, so with every one of them at the outermost level there is
//! exactly one table. Nested components as the tool chains write them only rename: types, imports,
//! exports, aliases, and instances of such components.
//!
//! Deliberately absent: the insides of core modules.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, CanonicalOption, ComponentAlias,
    ComponentAliasSectionReader, ComponentCanonicalSectionReader, ComponentExportSectionReader,
    ComponentExternalKind, ComponentImportSectionReader, ComponentInstanceSectionReader,
    ComponentType, ComponentTypeSectionReader, Instance, InstanceSectionReader,
};

use super::sections::{self, Section};
use super::verdict::Reason;
use super::world::Export;

/// Section identities of a component.
pub(super) mod id {
    pub(in super::super) const CORE_MODULE: u8 = 1;
    pub(super) const CORE_INSTANCE: u8 = 2;
    pub(super) const COMPONENT: u8 = 4;
    pub(super) const INSTANCE: u8 = 5;
    pub(super) const ALIAS: u8 = 6;
    pub(super) const TYPE: u8 = 7;
    pub(super) const CANONICAL: u8 = 8;
    pub(super) const START: u8 = 9;
    pub(super) const IMPORT: u8 = 10;
    pub(super) const EXPORT: u8 = 11;
}

/// What a valid component consists of.
#[derive(Debug, Default)]
pub(super) struct Survey<'a> {
    /// The eight bytes before the first section.
    pub(super) header: &'a [u8],
    pub(super) sections: Vec<Section<'a>>,
    /// The core modules of the outermost level, in order.
    pub(super) modules: Vec<&'a [u8]>,
    /// For each core instance the module (by place in `modules`) that it is an instance of; none
    /// for a bundle of exports.
    pub(super) core_instances: Vec<Option<usize>>,
    /// Imported instances by name, with their index.
    pub(super) imports: Vec<(&'a str, u32)>,
    pub(super) exports: Vec<Export<'a>>,
    pub(super) reasons: Vec<Reason>,
    /// The index space of core modules: the place in `modules`, or none for a foreign one.
    module_space: Vec<Option<usize>>,
    /// Size of the index space of component instances.
    instances: u32,
    nested: usize,
}

impl<'a> Survey<'a> {
    /// Reads the outermost level of `component`, which is valid.
    pub(super) fn of(component: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut survey = Survey {
            header: component.get(..sections::HEADER_BYTES).unwrap_or_default(),
            sections: sections::split(component)?,
            ..Survey::default()
        };
        for section in survey.sections.clone() {
            survey.read(section)?;
        }
        Ok(survey)
    }

    fn read(&mut self, section: Section<'a>) -> Result<(), BinaryReaderError> {
        match section.id {
            id::CORE_MODULE => {
                self.module_space.push(Some(self.modules.len()));
                self.modules.push(section.body);
            }
            id::CORE_INSTANCE => self.read_core_instances(section)?,
            id::COMPONENT => {
                if let Some(what) = nested_state(section.body)? {
                    let component = self.nested;
                    self.reason(Reason::NestedState { component, what });
                }
                self.nested += 1;
            }
            id::INSTANCE => {
                self.instances += ComponentInstanceSectionReader::new(section.reader())?.count();
            }
            id::ALIAS => self.read_aliases(section)?,
            id::TYPE => {
                for ty in ComponentTypeSectionReader::new(section.reader())? {
                    if let ComponentType::Resource { .. } = ty? {
                        self.reason(Reason::LocalResource);
                    }
                }
            }
            id::CANONICAL => {
                for canonical in ComponentCanonicalSectionReader::new(section.reader())? {
                    if let Some(reason) = canonical_reason(&canonical?) {
                        self.reason(reason);
                    }
                }
            }
            id::START => self.reason(Reason::ComponentStart),
            id::IMPORT => self.read_imports(section)?,
            id::EXPORT => self.read_exports(section)?,
            _ => {}
        }
        Ok(())
    }

    /// Notes a reason, once.
    fn reason(&mut self, reason: Reason) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn read_core_instances(&mut self, section: Section<'a>) -> Result<(), BinaryReaderError> {
        for instance in InstanceSectionReader::new(section.reader())? {
            let module = match instance? {
                Instance::FromExports(_) => None,
                Instance::Instantiate { module_index, .. } => {
                    let module = self.module_space.get(module_index as usize);
                    let module = module.copied().flatten();
                    if module.is_none() {
                        self.reason(Reason::ForeignModule);
                    }
                    module
                }
            };
            self.core_instances.push(module);
        }
        Ok(())
    }

    fn read_aliases(&mut self, section: Section<'a>) -> Result<(), BinaryReaderError> {
        for alias in ComponentAliasSectionReader::new(section.reader())? {
            // Outer aliases cannot name a module here: there is nothing outside.
            if let ComponentAlias::InstanceExport { kind, .. } = alias? {
                self.foreign(kind);
            }
        }
        Ok(())
    }

    fn read_imports(&mut self, section: Section<'a>) -> Result<(), BinaryReaderError> {
        for import in ComponentImportSectionReader::new(section.reader())? {
            let import = import?;
            let kind = import.ty.kind();
            if kind == ComponentExternalKind::Instance {
                self.imports.push((import.name.name, self.instances));
            }
            self.foreign(kind);
        }
        Ok(())
    }

    /// Reads exports, each of which defines a new index for what it exports.
    fn read_exports(&mut self, section: Section<'a>) -> Result<(), BinaryReaderError> {
        for export in ComponentExportSectionReader::new(section.reader())? {
            let export = export?;
            let name = export.name.name;
            let kind = export.kind;
            self.exports.push(Export { name, kind });
            let same = self.module_space.get(export.index as usize);
            self.define(kind, same.copied().flatten());
        }
        Ok(())
    }

    /// Notes something that comes from outside.
    fn foreign(&mut self, kind: ComponentExternalKind) {
        if kind == ComponentExternalKind::Component {
            self.reason(Reason::ForeignComponent);
        }
        self.define(kind, None);
    }

    fn define(&mut self, kind: ComponentExternalKind, module: Option<usize>) {
        match kind {
            ComponentExternalKind::Module => self.module_space.push(module),
            ComponentExternalKind::Instance => self.instances += 1,
            ComponentExternalKind::Func
            | ComponentExternalKind::Value
            | ComponentExternalKind::Type
            | ComponentExternalKind::Component => {}
        }
    }
}

/// What in a nested component can keep state, its own nested ones included.
fn nested_state(component: &[u8]) -> Result<Option<&'static str>, BinaryReaderError> {
    for section in sections::split(component)? {
        let found = match section.id {
            id::CORE_MODULE => Some("a core module"),
            id::CORE_INSTANCE => Some("a core instance"),
            id::CANONICAL => Some("canonical functions"),
            id::START => Some("a start function"),
            id::COMPONENT => nested_state(section.body)?,
            id::TYPE => {
                let mut types = ComponentTypeSectionReader::new(section.reader())?.into_iter();
                let resource = |ty: &Result<_, _>| matches!(ty, Ok(ComponentType::Resource { .. }));
                types.any(|ty| resource(&ty)).then_some("a resource type")
            }
            _ => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn canonical_reason(canonical: &CanonicalFunction) -> Option<Reason> {
    use CanonicalFunction::{Lift, Lower, ResourceDrop, ResourceNew, ResourceRep};
    match canonical {
        Lift { options, .. } | Lower { options, .. } => options.iter().find_map(option_reason),
        ResourceDrop { .. } => None,
        ResourceNew { .. } | ResourceRep { .. } => Some(Reason::LocalResource),
        other => Some(Reason::Asynchronous {
            construct: intrinsic(other),
        }),
    }
}

fn option_reason(option: &CanonicalOption) -> Option<Reason> {
    let asynchronous = |construct| Some(Reason::Asynchronous { construct });
    let unknown = |option| Some(Reason::CanonicalOption { option });
    match option {
        CanonicalOption::UTF8
        | CanonicalOption::UTF16
        | CanonicalOption::CompactUTF16
        | CanonicalOption::Memory(_)
        | CanonicalOption::Realloc(_)
        | CanonicalOption::PostReturn(_) => None,
        CanonicalOption::Async => asynchronous("the option `async`"),
        CanonicalOption::Callback(_) => asynchronous("the option `callback`"),
        CanonicalOption::CoreType(_) => unknown("core-type"),
        CanonicalOption::Gc => unknown("gc"),
    }
}

/// A word for an intrinsic beside the synchronous five.
fn intrinsic(canonical: &CanonicalFunction) -> &'static str {
    use CanonicalFunction as C;
    match canonical {
        C::TaskReturn { .. } | C::TaskCancel => "tasks",
        C::ContextGet { .. } | C::ContextSet { .. } => "task-local storage",
        C::SubtaskDrop | C::SubtaskCancel { .. } => "subtasks",
        C::StreamNew { .. }
        | C::StreamRead { .. }
        | C::StreamWrite { .. }
        | C::StreamCancelRead { .. }
        | C::StreamCancelWrite { .. }
        | C::StreamDropReadable { .. }
        | C::StreamDropWritable { .. } => "streams",
        C::FutureNew { .. }
        | C::FutureRead { .. }
        | C::FutureWrite { .. }
        | C::FutureCancelRead { .. }
        | C::FutureCancelWrite { .. }
        | C::FutureDropReadable { .. }
        | C::FutureDropWritable { .. } => "futures",
        C::ErrorContextNew { .. } | C::ErrorContextDebugMessage { .. } | C::ErrorContextDrop => {
            "error contexts"
        }
        C::WaitableSetNew
        | C::WaitableSetWait { .. }
        | C::WaitableSetPoll { .. }
        | C::WaitableSetDrop
        | C::WaitableJoin => "waitable sets",
        C::BackpressureInc | C::BackpressureDec => "back-pressure",
        _ => "threads",
    }
}
