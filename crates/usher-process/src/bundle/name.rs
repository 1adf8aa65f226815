//! Which names and links may stand in a bundle.
//!
//! Deliberately absent: files. All of it is about texts.

use super::BundleError;

/// The length of a whole path, in bytes.
const PATH_MAX_BYTES: usize = 1_024;
/// The length of one part of a path, in bytes; the kernel's own bound.
const PART_MAX_BYTES: usize = 255;
/// How many parts a path may have.
const DEPTH_MAX: usize = 64;
/// How much of a wrong name is shown, in characters.
const SHOWN_MAX_CHARS: usize = 100;

/// A path from the root of a bundle, without a slash at either end: parts that are names, joined by
/// single slashes.
pub(super) fn checked(name: &str) -> Result<String, BundleError> {
    let refused = |why| BundleError::Name {
        name: shown(name),
        why,
    };
    if name.len() > PATH_MAX_BYTES {
        return Err(refused("it is longer than 1024 bytes"));
    }
    if name.contains(['\\', '\0']) {
        return Err(refused("it holds a backslash or a zero byte"));
    }
    if name.starts_with('/') {
        return Err(refused("it begins at the root"));
    }
    let trimmed = name.strip_suffix('/').unwrap_or(name);
    let mut parts = Vec::new();
    for part in trimmed.split('/').filter(|part| *part != ".") {
        match part {
            "" => return Err(refused("a part of it is empty")),
            ".." => return Err(refused("it leads out of its folder")),
            long if long.len() > PART_MAX_BYTES => {
                return Err(refused("a part of it is longer than 255 bytes"));
            }
            part => parts.push(part),
        }
    }
    if parts.len() > DEPTH_MAX {
        return Err(refused("it has more than 64 parts"));
    }
    Ok(parts.join("/"))
}

/// All folders in the path of `name`, from its own folder outwards.
pub(super) fn folders_of(name: &str) -> impl Iterator<Item = &str> {
    name.rmatch_indices('/').map(|(at, _)| &name[..at])
}

/// Where a link at `name` leads, as a path from the root of the bundle; empty: the root itself.
pub(super) fn link_target(name: &str, target: &str) -> Result<String, &'static str> {
    if target.is_empty() || target.len() > PATH_MAX_BYTES || target.contains('\0') {
        return Err("that is no path");
    }
    if target.starts_with('/') {
        return Err("it leads out of the bundle");
    }
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or("it leads out of the bundle")?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// Every path that is walked through on the way to a link's target, its end not included.
///
/// They must be folders and not links: only then does `..` mean what it says.
pub(super) fn link_steps<'a>(name: &'a str, target: &'a str) -> impl Iterator<Item = String> {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let parts: Vec<&str> = target.split('/').collect();
    (1..parts.len()).filter_map(move |count| {
        let walked = link_target(&format!("{folder}/x"), &parts[..count].join("/")).ok()?;
        (!walked.is_empty()).then_some(walked)
    })
}

/// A name in a length that can be read.
pub(super) fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        for (name, kept) in [
            ("a", "a"),
            ("a/", "a"),
            ("./a/./b", "a/b"),
            ("..a/b..", "..a/b.."),
            (".", ""),
            ("./", ""),
        ] {
            assert_eq!(checked(name).unwrap(), kept, "{name}");
        }
        let long = "a/".repeat(65);
        let wide = "a".repeat(256);
        for bad in [
            "", "/", "/a", "..", "a/..", "a/../b", "../a", "a//b", "a\\b", "a\0", "a//", "C:\\a",
            &long, &wide,
        ] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_stay_inside() {
        for (name, target, leads_to) in [
            ("a", "b", Some("b")),
            ("x/a", "b", Some("x/b")),
            ("x/a", "../b", Some("b")),
            ("x/a", "..", Some("")),
            ("x/a", "./y/.././b/", Some("x/b")),
            ("x/a", "../../b", None),
            ("a", "..", None),
            ("a", "/b", None),
            ("a", "", None),
            ("x/a", "../../x/b", None),
        ] {
            assert_eq!(
                link_target(name, target).ok().as_deref(),
                leads_to,
                "{name} {target}"
            );
        }
        let steps: Vec<_> = link_steps("x/a", "../y/../z/b").collect();
        assert_eq!(steps, ["y", "z"]);
        assert_eq!(link_steps("a", "b").count(), 0);
    }

    #[test]
    fn folders_are_told_from_the_inside_out() {
        assert_eq!(folders_of("a/b/c").collect::<Vec<_>>(), ["a/b", "a"]);
        assert_eq!(folders_of("a").count(), 0);
    }
}
