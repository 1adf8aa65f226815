//! Programs of no particular language.

use usher_core::function::Contract;

use super::{Candidate, File, Files, Shape};

const ELF: &[u8] = b"\x7fELF";
const SCRIPT: &[u8] = b"#!";

/// The web line of a Procfile.
pub(super) fn procfile(files: &Files) -> Option<Candidate> {
    let text = files.text("Procfile")?;
    let line = text.lines().find_map(|line| line.strip_prefix("web:"))?;
    let words = line.trim();
    let what = format!("the web line of Procfile, {words:?}");
    Some(match words {
        "" => Err("Procfile has an empty web line; write web: and the command".to_owned()),
        words => Ok(Shape::new(what, Contract::Http, &["sh", "-c", words])),
    })
}

/// The program of a Lambda function with a runtime of its own.
pub(super) fn bootstrap(files: &Files) -> Option<Candidate> {
    let file = files.0.get("bootstrap")?;
    let what = "a Lambda function with its own runtime, bootstrap";
    Some(match file.executable {
        true => Ok(Shape::new(what, Contract::Lambda, &["./bootstrap"])),
        false => Err("bootstrap may not be run; chmod +x it before it is packed".to_owned()),
    })
}

/// Programs that need no interpreter. Scripts are one only if they are alone.
pub(super) fn programs(files: &Files) -> Vec<Candidate> {
    let is_program = |name: &str, file: &File| {
        let is_library = name.contains(".so");
        let script = file.head.starts_with(SCRIPT) && files.0.len() == 1 && !name.contains('.');
        file.executable && !is_library && (file.head.starts_with(ELF) || script)
    };
    let programs = files.top().filter(|(name, file)| is_program(name, file));
    programs
        .map(|(name, _)| {
            let what = format!("an HTTP server, {name}");
            Ok(Shape::new(what, Contract::Http, &[&format!("./{name}")]))
        })
        .collect()
}
