//! One core module: what state it defines, and which of it cannot be put back.
//!
//! Put back are mutable globals of number and vector types (by shadows) and memories (by the host).
//! Not put back is everything else that can outlive a request: reference-typed mutable globals,
//! heap objects, and tables and segments where code that can run while serving changes them
//! ([`reach`](super::reach)). `memory.init` is harmless: it reads a segment, which nothing but
//! `data.drop` changes, and writes a memory, which is put back. Imported globals, memories and
//! tables belong to a module of the same component, as nothing else can define one.

use wasmparser::{
    BinaryReaderError, CodeSectionReader, CompositeInnerType, ExportSectionReader,
    FunctionSectionReader, GlobalSectionReader, ImportSectionReader, KnownCustom,
    MemorySectionReader, MemoryType, Name, Operator, TypeRef, TypeSectionReader, ValType,
};

use super::reach;
use super::sections::{self, Section};
use super::verdict::{Construct, ModuleFacts, ModuleId};

/// Section identities of a core module.
pub(super) mod id {
    pub(in super::super) const CUSTOM: u8 = 0;
    pub(in super::super) const TYPE: u8 = 1;
    pub(in super::super) const IMPORT: u8 = 2;
    pub(in super::super) const FUNCTION: u8 = 3;
    pub(in super::super) const TABLE: u8 = 4;
    pub(in super::super) const MEMORY: u8 = 5;
    pub(in super::super) const GLOBAL: u8 = 6;
    pub(in super::super) const EXPORT: u8 = 7;
    pub(in super::super) const START: u8 = 8;
    pub(in super::super) const ELEMENT: u8 = 9;
    pub(in super::super) const CODE: u8 = 10;
    pub(in super::super) const DATA: u8 = 11;
    pub(in super::super) const DATA_COUNT: u8 = 12;
    pub(in super::super) const TAG: u8 = 13;
}

/// A mutable global that the module defines.
#[derive(Clone, Copy, Debug)]
pub(super) struct MutableGlobal {
    pub(super) index: u32,
    pub(super) ty: ValType,
}

/// A memory that the module defines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) index: u32,
    pub(super) ty: MemoryType,
}

/// A valid core module, taken apart. Sizes of index spaces count imports too.
#[derive(Debug, Default)]
pub(super) struct Module<'a> {
    pub(super) header: &'a [u8],
    pub(super) sections: Vec<Section<'a>>,
    pub(super) types: u32,
    pub(super) imported_functions: u32,
    pub(super) functions: u32,
    pub(super) globals: u32,
    pub(super) mutable_globals: Vec<MutableGlobal>,
    pub(super) memories: Vec<Memory>,
    name: Option<&'a str>,
    memory_space: u32,
    shared_memory: bool,
    tags: bool,
    heap_type: Option<&'static str>,
    has_start: bool,
}

impl<'a> Module<'a> {
    /// Reads everything but the code of `module`, which is valid.
    pub(super) fn parse(module: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut parsed = Module {
            header: module.get(..sections::HEADER_BYTES).unwrap_or_default(),
            sections: sections::split(module)?,
            ..Module::default()
        };
        for section in parsed.sections.clone() {
            parsed.read(section)?;
        }
        Ok(parsed)
    }

    fn read(&mut self, section: Section<'a>) -> Result<(), BinaryReaderError> {
        match section.id {
            id::CUSTOM => self.name = self.name.or(module_name(section)),
            id::TYPE => self.read_types(section)?,
            id::IMPORT => self.read_imports(section)?,
            id::FUNCTION => {
                self.functions += FunctionSectionReader::new(section.reader())?.count();
            }
            id::MEMORY => {
                for ty in MemorySectionReader::new(section.reader())? {
                    let (index, ty) = (self.memory_space, ty?);
                    self.memories.push(Memory { index, ty });
                    self.define_memory(&ty);
                }
            }
            id::GLOBAL => {
                for global in GlobalSectionReader::new(section.reader())? {
                    let (index, ty) = (self.globals, global?.ty);
                    if ty.mutable {
                        let ty = ty.content_type;
                        self.mutable_globals.push(MutableGlobal { index, ty });
                    }
                    self.globals += 1;
                }
            }
            id::TAG => self.tags = true,
            id::START => self.has_start = true,
            _ => {}
        }
        Ok(())
    }

    fn read_types(&mut self, section: Section<'a>) -> Result<(), BinaryReaderError> {
        for group in TypeSectionReader::new(section.reader())? {
            for ty in group?.into_types() {
                self.types += 1;
                let kind = match ty.composite_type.inner {
                    CompositeInnerType::Func(_) => continue,
                    CompositeInnerType::Array(_) => "array",
                    CompositeInnerType::Struct(_) => "struct",
                    CompositeInnerType::Cont(_) => "continuation",
                };
                self.heap_type = Some(kind);
            }
        }
        Ok(())
    }

    fn read_imports(&mut self, section: Section<'a>) -> Result<(), BinaryReaderError> {
        for import in ImportSectionReader::new(section.reader())?.into_imports() {
            match import?.ty {
                TypeRef::Func(_) | TypeRef::FuncExact(_) => {
                    self.imported_functions += 1;
                    self.functions += 1;
                }
                TypeRef::Memory(ty) => self.define_memory(&ty),
                TypeRef::Global(_) => self.globals += 1,
                TypeRef::Tag(_) => self.tags = true,
                TypeRef::Table(_) => {}
            }
        }
        Ok(())
    }

    fn define_memory(&mut self, ty: &MemoryType) {
        self.memory_space += 1;
        self.shared_memory |= ty.shared;
    }

    /// Whether the module has anything that is to be put back.
    pub(super) fn has_state(&self) -> bool {
        !self.mutable_globals.is_empty() || !self.memories.is_empty()
    }

    /// The section `id`, which is there at most once. Not for custom sections.
    pub(super) fn section(&self, id: u8) -> Option<Section<'a>> {
        self.sections.iter().copied().find(|s| s.id == id)
    }

    pub(super) fn id(&self, index: usize) -> ModuleId {
        let name = self.name.map(str::to_owned);
        ModuleId { index, name }
    }

    pub(super) fn facts(&self, index: usize) -> Result<ModuleFacts, BinaryReaderError> {
        Ok(ModuleFacts {
            module: self.id(index),
            mutable_globals: self.mutable_globals.len(),
            memories: self.memories.len(),
            grows: self.any_operator(|op| matches!(op, Operator::MemoryGrow { .. }))?,
            has_start: self.has_start,
        })
    }

    /// Everything in the module that cannot be put back.
    pub(super) fn faults(&self) -> Result<Vec<Construct>, BinaryReaderError> {
        let mut faults = Vec::new();
        if self.shared_memory {
            faults.push(Construct::SharedMemory);
        }
        if self.memories.iter().any(|memory| memory.ty.memory64) {
            faults.push(Construct::WideMemory);
        }
        let references = self.mutable_globals.iter();
        let references = references.filter(|global| matches!(global.ty, ValType::Ref(_)));
        faults.extend(references.map(|global| Construct::ReferenceGlobal {
            global: global.index,
        }));
        if let Some(kind) = self.heap_type {
            faults.push(Construct::HeapType { kind });
        }
        if self.tags {
            faults.push(Construct::Tag);
        }
        // Most modules change neither tables nor segments, and need no walk through the calls.
        if self.changes_tables_or_segments()? {
            faults.extend(
                reach::reachable(self, table_or_segment)?
                    .into_iter()
                    .map(|(function, operator)| Construct::TableOrSegment { function, operator }),
            );
        }
        Ok(faults)
    }

    /// Whether any function at all, a start function too, changes a table or a segment.
    pub(super) fn changes_tables_or_segments(&self) -> Result<bool, BinaryReaderError> {
        self.any_operator(|op| table_or_segment(op).is_some())
    }

    fn any_operator(
        &self,
        mut wanted: impl FnMut(&Operator<'_>) -> bool,
    ) -> Result<bool, BinaryReaderError> {
        let Some(code) = self.section(id::CODE) else {
            return Ok(false);
        };
        for body in CodeSectionReader::new(code.reader())? {
            for operator in body?.get_operators_reader()? {
                if wanted(&operator?) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The functions that the module exports, by index.
    pub(super) fn exported_functions(&self) -> Result<Vec<u32>, BinaryReaderError> {
        use wasmparser::ExternalKind::{Func, FuncExact};
        let Some(section) = self.section(id::EXPORT) else {
            return Ok(Vec::new());
        };
        let mut functions = Vec::new();
        for export in ExportSectionReader::new(section.reader())? {
            let export = export?;
            if matches!(export.kind, Func | FuncExact) {
                functions.push(export.index);
            }
        }
        Ok(functions)
    }
}

/// The instruction's name, if it changes a table or a segment.
fn table_or_segment(operator: &Operator<'_>) -> Option<&'static str> {
    Some(match operator {
        Operator::TableSet { .. } => "table.set",
        Operator::TableGrow { .. } => "table.grow",
        Operator::TableFill { .. } => "table.fill",
        Operator::TableCopy { .. } => "table.copy",
        Operator::TableInit { .. } => "table.init",
        Operator::TableAtomicSet { .. }
        | Operator::TableAtomicRmwXchg { .. }
        | Operator::TableAtomicRmwCmpxchg { .. } => "an atomic table access",
        Operator::ElemDrop { .. } => "elem.drop",
        Operator::DataDrop { .. } => "data.drop",
        _ => return None,
    })
}

/// The module's name out of its name section. A broken one names nothing.
fn module_name(section: Section<'_>) -> Option<&str> {
    let custom = wasmparser::CustomSectionReader::new(section.reader()).ok()?;
    let KnownCustom::Name(names) = custom.as_known() else {
        return None;
    };
    names.into_iter().find_map(|name| match name.ok()? {
        Name::Module { name, .. } => Some(name),
        _ => None,
    })
}
