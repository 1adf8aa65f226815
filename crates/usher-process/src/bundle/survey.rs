//! What stands in an archive, judged whole before anything is written.
//!
//! Deliberately absent: the disk.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use zip::CompressionMethod;
use zip::read::{ArchiveOffset, Config, ZipArchive};

use super::name::{checked, folders_of, link_steps, link_target, shown};
use super::{Bounds, BundleError, tail};

/// The kinds of a Unix mode.
const KIND_MASK: u32 = 0o170_000;
const KIND_FOLDER: u32 = 0o040_000;
const KIND_FILE: u32 = 0o100_000;
const KIND_LINK: u32 = 0o120_000;
/// Any of the three execute bits.
const EXECUTABLE: u32 = 0o111;
/// The length of a link's target, in bytes.
const TARGET_MAX_BYTES: u64 = 1_024;

/// An archive in memory.
pub(super) type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// What will be written, by path; folders come before what is in them.
pub(super) type Plan = BTreeMap<String, Item>;

/// One thing that will be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Which entry of the archive it is.
        index: usize,
        /// Its size when unpacked, in bytes, as declared.
        bytes: u64,
        /// Whether it may be run.
        executable: bool,
    },
    /// A symbolic link, by its target.
    Link(String),
}

/// Judges an archive.
pub(super) fn survey(bytes: &[u8], bounds: Bounds) -> Result<(Archive<'_>, Plan), BundleError> {
    let entries = tail::entries(bytes, bounds)?;
    let config = Config {
        archive_offset: ArchiveOffset::Known(0),
    };
    let mut archive = ZipArchive::with_config(config, Cursor::new(bytes))?;
    if archive.len() != entries {
        // The reader keeps one entry of each name.
        return Err(duplicate(&archive));
    }
    archive
        .validate_header_consistency()
        .map_err(|error| BundleError::Ambiguous(error.to_string()))?;
    let plan = plan(&mut archive, bounds)?;
    check_sizes(&plan, bytes.len() as u64, bounds)?;
    check_links(&plan)?;
    Ok((archive, plan))
}

fn duplicate(archive: &Archive<'_>) -> BundleError {
    match archive.has_duplicate_names() {
        true => BundleError::Collision {
            name: "a name".to_owned(),
        },
        false => BundleError::Damaged("entries are missing from its directory".to_owned()),
    }
}

fn plan(archive: &mut Archive<'_>, bounds: Bounds) -> Result<Plan, BundleError> {
    let mut plan = Plan::new();
    for index in 0..archive.len() {
        let (name, item) = entry(archive, index)?;
        if name.is_empty() {
            continue;
        }
        for folder in folders_of(&name) {
            match plan.get(folder) {
                None => drop(plan.insert(folder.to_owned(), Item::Folder)),
                Some(Item::Folder) => break,
                Some(_) => return Err(collision(folder)),
            }
        }
        match (plan.get(&name), &item) {
            // A folder may have been in the path of an earlier entry.
            (None, _) | (Some(Item::Folder), Item::Folder) => drop(plan.insert(name, item)),
            _ => return Err(collision(&name)),
        }
        if plan.len() > bounds.entries_max {
            return Err(BundleError::TooMany {
                entries: plan.len(),
                entries_max: bounds.entries_max,
            });
        }
    }
    Ok(plan)
}

fn collision(name: &str) -> BundleError {
    BundleError::Collision { name: shown(name) }
}

/// One entry, judged by itself.
fn entry(archive: &mut Archive<'_>, index: usize) -> Result<(String, Item), BundleError> {
    let entry = archive.by_index_data(index)?;
    let said = entry.name()?.into_owned();
    let name = checked(&said)?;
    let kind = |what| BundleError::Kind {
        name: shown(&name),
        what,
    };
    if entry.encrypted() {
        return Err(kind("encrypted"));
    }
    if !matches!(
        entry.compression(),
        CompressionMethod::Stored | CompressionMethod::Deflated
    ) {
        return Err(kind("compressed by another method than deflate"));
    }
    let mode = entry.unix_mode().unwrap_or_default();
    let (bytes, in_path) = (entry.size(), said.ends_with('/'));
    let item = match mode & KIND_MASK {
        0 | KIND_FOLDER if in_path => Item::Folder,
        KIND_FOLDER => Item::Folder,
        0 | KIND_FILE if !in_path => Item::File {
            index,
            bytes,
            executable: mode & EXECUTABLE != 0,
        },
        KIND_LINK if !in_path => Item::Link(target(archive, index, &name)?),
        0 | KIND_FILE | KIND_LINK => return Err(kind("a file with the name of a folder")),
        _ => return Err(kind("a device, a pipe or a socket")),
    };
    match item {
        Item::Folder if bytes > 0 => Err(kind("a folder with bytes in it")),
        Item::File { .. } if name.is_empty() => Err(kind("a file without a name")),
        Item::Link(_) if name.is_empty() => Err(kind("a link without a name")),
        item => Ok((name, item)),
    }
}

fn target(archive: &mut Archive<'_>, index: usize, name: &str) -> Result<String, BundleError> {
    let refused = |target: &str, why| BundleError::Link {
        name: shown(name),
        target: shown(target),
        why,
    };
    let entry = archive.by_index(index)?;
    let mut target = Vec::new();
    let read = entry.take(TARGET_MAX_BYTES + 1).read_to_end(&mut target);
    read.map_err(|error| BundleError::Damaged(error.to_string()))?;
    let target = String::from_utf8(target).map_err(|_| refused("", "that is no UTF-8"))?;
    match link_target(name, &target) {
        Ok(_) => Ok(target),
        Err(why) => Err(refused(&target, why)),
    }
}

fn check_sizes(plan: &Plan, packed: u64, bounds: Bounds) -> Result<(), BundleError> {
    let mut bytes = 0_u64;
    for item in plan.values() {
        if let Item::File { bytes: more, .. } = item {
            bytes = bytes.saturating_add(*more);
        }
    }
    let by_ratio = packed.saturating_mul(bounds.ratio_max);
    let bytes_max = (bounds.unpacked_max_bytes).min(by_ratio.max(bounds.ratio_free_max_bytes));
    match bytes > bytes_max {
        true => Err(BundleError::Bomb { bytes, bytes_max }),
        false => Ok(()),
    }
}

/// A link passes through folders only; at its end there may be another link, which was judged too.
fn check_links(plan: &Plan) -> Result<(), BundleError> {
    for (name, item) in plan {
        let Item::Link(target) = item else { continue };
        let through = link_steps(name, target).any(|step| plan.get(&step) != Some(&Item::Folder));
        if through {
            return Err(BundleError::Link {
                name: shown(name),
                target: shown(target),
                why: "it leads through another link, or through what is no folder",
            });
        }
    }
    Ok(())
}
