//! The second rewriting: a component whose instances *are* clones of an image, from the start.
//!
//! An instance of the live component first copies its data segments and runs its start functions,
//! and then all of that is thrown away for the image. Here the segments and start functions are
//! gone, each memory is created as large as in the image (and mapped to it, by the host), and each
//! mutable global and its shadow begins with the image's value.
//!
//! Why that is the same instance:
//!
//! - *Memories* come from the image; sizes from `memories`, maxima as they were.
//! - *Mutable globals* come from `globals`. Immutable ones cannot have changed, and no constant
//!   expression can read a mutable one.
//! - *Tables* are made by initialisers and active element segments, which stay. Nothing else may
//!   have touched them before the image, so any instruction that changes a table, anywhere, a start
//!   function included, means no clone.
//! - *Segments*: an active data segment counts as dropped after instantiation, which is the same as
//!   an empty passive one, so indices hold. Passive ones stay. Dropping means no clone.
//! - *Handles*: an image is only taken when there are none.
//!
//! No clone either for a module that is instantiated more than once: its text can hold one set of
//! values only. Deliberately absent: the mapping of memories, and the taking of the image.

use wasm_encoder::{ConstExpr, Encode, Ieee32, Ieee64};
use wasmparser::{
    BinaryReaderError, DataKind, DataSectionReader, GlobalSectionReader, MemorySectionReader,
    MemoryType, ValType,
};

use super::module::{self, Module};
use super::sections::{self, Section};
use super::survey::{self, Survey};

/// Globals of one component that are written into its clones.
pub const CLONE_GLOBALS_MAX: usize = 4_096;

/// What an image holds beside the bytes of its memories. Both lists go through the core instances
/// in the component's order, and through each one's own globals or memories by index: the order in
/// which the runtime makes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloneImage {
    /// The bits of each mutable global, as [`super::LiveExports::read`] answers them.
    pub globals: Vec<u128>,
    /// The size of each memory, in its pages.
    pub memories: Vec<u64>,
}

/// Why no clone could be made although the component is cloneable.
#[derive(Debug, thiserror::Error)]
pub enum CloneError {
    /// The component is not one that was rewritten here.
    #[error("the component to be cloned is not valid")]
    Invalid(#[from] BinaryReaderError),
    /// The image does not belong to this component.
    #[error("the image does not fit the component to be cloned: its {what} differ")]
    OtherImage {
        /// What differs.
        what: &'static str,
    },
}

/// The component whose instances are clones of `image`, or none where that cannot be proven.
///
/// `live` is what [`super::rewrite`] made under [`super::Verdict::Live`]. The result has the same
/// imports and exports.
pub fn strip_for_clone(live: &[u8], image: &CloneImage) -> Result<Option<Vec<u8>>, CloneError> {
    let survey = Survey::of(live)?;
    let modules = survey.modules.iter().map(|bytes| Module::parse(bytes));
    let modules = modules.collect::<Result<Vec<_>, _>>()?;
    if image.globals.len() > CLONE_GLOBALS_MAX {
        return Ok(None);
    }
    for (place, module) in modules.iter().enumerate() {
        let instances = survey.core_instances.iter().filter(|m| **m == Some(place));
        let ambiguous = module.has_state() && instances.count() > 1;
        if ambiguous || module.changes_tables_or_segments()? {
            return Ok(None);
        }
    }

    let mut left = image.clone();
    let mut stripped: Vec<Option<Vec<u8>>> = vec![None; modules.len()];
    for place in survey.core_instances.iter().flatten() {
        if let Some(module) = modules.get(*place) {
            stripped[*place] = Some(strip(module, &mut left)?);
        }
    }
    if !left.globals.is_empty() {
        return Err(CloneError::OtherImage { what: "globals" });
    }
    if !left.memories.is_empty() {
        return Err(CloneError::OtherImage { what: "memories" });
    }

    let mut bytes = survey.header.to_vec();
    let mut stripped = stripped.iter();
    for section in &survey.sections {
        let module = match section.id {
            survey::id::CORE_MODULE => stripped.next().and_then(Option::as_deref),
            _ => None,
        };
        sections::push(&mut bytes, section.id, module.unwrap_or(section.body));
    }
    Ok(Some(bytes))
}

/// One module without its beginnings; takes its values from the front of what is `left`.
fn strip(module: &Module<'_>, left: &mut CloneImage) -> Result<Vec<u8>, CloneError> {
    // The shadows are the second half of the mutable globals, in the order of the first.
    let own = module.mutable_globals.len() / 2;
    let values = take(&mut left.globals, own, "globals")?;
    let sizes = take(&mut left.memories, module.memories.len(), "memories")?;
    let mut bytes = module.header.to_vec();
    for section in &module.sections {
        let body = match section.id {
            module::id::START => continue,
            module::id::GLOBAL => globals(*section, &values)?,
            module::id::MEMORY => memories(*section, &sizes)?,
            module::id::DATA => data(*section)?,
            _ => section.body.to_vec(),
        };
        sections::push(&mut bytes, section.id, &body);
    }
    Ok(bytes)
}

fn take<T>(left: &mut Vec<T>, count: usize, what: &'static str) -> Result<Vec<T>, CloneError> {
    if left.len() < count {
        return Err(CloneError::OtherImage { what });
    }
    Ok(left.drain(..count).collect())
}

/// The entries of a section with the place where each one ends.
fn ends<'a, T>(
    entries: impl Iterator<Item = Result<(usize, T), BinaryReaderError>> + 'a,
    section: Section<'a>,
) -> Result<Vec<(&'a [u8], T)>, BinaryReaderError> {
    let entries = entries.collect::<Result<Vec<_>, _>>()?;
    let starts: Vec<usize> = entries.iter().map(|(start, _)| *start).collect();
    let ends = starts.iter().copied().skip(1).chain([section.body.len()]);
    let raw = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &section.body[*start..end]);
    Ok(raw
        .zip(entries)
        .map(|(raw, (_, entry))| (raw, entry))
        .collect())
}

/// Globals with the image's values, which the shadows begin with too.
fn globals(section: Section<'_>, values: &[u128]) -> Result<Vec<u8>, CloneError> {
    let reader = GlobalSectionReader::new(section.reader())?;
    let mut body = Vec::new();
    reader.count().encode(&mut body);
    let mut values = values.iter().chain(values);
    for (raw, global) in ends(reader.into_iter_with_offsets(), section)? {
        if !global.ty.mutable {
            body.extend_from_slice(raw);
            continue;
        }
        let other = CloneError::OtherImage { what: "globals" };
        let value = values
            .next()
            .and_then(|bits| constant(global.ty.content_type, *bits));
        let value = value.ok_or(other)?;
        // The type is two bytes: a number or vector type, and that it can change.
        body.extend_from_slice(&raw[..2]);
        value.encode(&mut body);
    }
    Ok(body)
}

/// The expression for a value of its bits, if they are bits of that type.
fn constant(ty: ValType, bits: u128) -> Option<ConstExpr> {
    let word = u64::try_from(bits);
    let half = u32::try_from(bits);
    Some(match ty {
        ValType::I32 => ConstExpr::i32_const(half.ok()?.cast_signed()),
        ValType::I64 => ConstExpr::i64_const(word.ok()?.cast_signed()),
        ValType::F32 => ConstExpr::f32_const(Ieee32::new(half.ok()?)),
        ValType::F64 => ConstExpr::f64_const(Ieee64::new(word.ok()?)),
        ValType::V128 => ConstExpr::v128_const(bits.cast_signed()),
        ValType::Ref(_) => return None,
    })
}

/// Memories that begin at the image's size.
fn memories(section: Section<'_>, sizes: &[u64]) -> Result<Vec<u8>, CloneError> {
    let reader = MemorySectionReader::new(section.reader())?;
    let mut body = Vec::new();
    reader.count().encode(&mut body);
    for (ty, size) in reader.into_iter().zip(sizes) {
        let MemoryType {
            memory64,
            shared,
            initial,
            maximum,
            page_size_log2,
        } = ty?;
        if *size < initial || maximum.is_some_and(|maximum| *size > maximum) {
            return Err(CloneError::OtherImage { what: "memories" });
        }
        let minimum = *size;
        let ty = wasm_encoder::MemoryType {
            minimum,
            maximum,
            memory64,
            shared,
            page_size_log2,
        };
        ty.encode(&mut body);
    }
    Ok(body)
}

/// Data segments, of which the active ones are empty and passive now.
fn data(section: Section<'_>) -> Result<Vec<u8>, CloneError> {
    const EMPTY_PASSIVE: [u8; 2] = [1, 0];
    let reader = DataSectionReader::new(section.reader())?;
    let mut body = Vec::new();
    reader.count().encode(&mut body);
    for (raw, data) in ends(reader.into_iter_with_offsets(), section)? {
        match data.kind {
            DataKind::Active { .. } => body.extend(EMPTY_PASSIVE),
            DataKind::Passive => body.extend_from_slice(raw),
        }
    }
    Ok(body)
}
