//! The table `[process]`: how a Linux program is started.
//!
//! Deliberately absent: whether the program is there, which is found out where its folder is read.

use std::collections::BTreeMap;

use usher_core::function::{Contract, Process};
use usher_core::id::Name;

use super::check::is_inside;
use super::section::{Section, shown};

/// The keys of the table, in whichever form it has the fewest.
pub(super) const KEYS: [&str; 7] = [
    "contract",
    "command",
    "handler",
    "environment",
    "reuse",
    "areas",
    "snap_start",
];

/// How many words a command may have.
const WORDS_MAX: usize = 100;
/// The length of one word of a command, in bytes.
const WORD_MAX_BYTES: usize = 4_096;
/// The length of a handler, in bytes.
const HANDLER_MAX_BYTES: usize = 256;
/// How many variables a program may be given.
pub(super) const VARIABLES_MAX: usize = 200;
/// The length of a variable's name, in bytes.
const NAME_MAX_BYTES: usize = 128;
/// The length of a variable's value, in bytes.
pub(super) const VALUE_MAX_BYTES: usize = 16 << 10;
/// The areas of a program's memory.
const AREAS: usize = 2;

/// Variables that the platform sets, and whose other values would mislead the program.
const RESERVED: [&str; 9] = [
    "PORT",
    "_HANDLER",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
];

/// Reads the table; only a manifest says which folder is shipped.
pub(super) fn read(section: &mut Section<'_, '_>, folder: Option<&mut String>) -> Option<Process> {
    let mut contract = None;
    section.require("contract", "contract = \"http\" or \"lambda\"");
    let contracts = [Contract::Lambda, Contract::Http].map(|one| (one.word(), Some(one)));
    section.choice("contract", &contracts, &mut contract);
    let mut command = Vec::new();
    section.require("command", "command = [\"python3\", \"app.py\"]");
    section.texts("command", WORDS_MAX, word, &mut command);
    if section.is_empty_list("command") || command.first().is_some_and(String::is_empty) {
        section.mistake(
            "command",
            "it names no program; write [\"python3\", \"app.py\"]",
        );
    }
    let handler = section.text("handler", "a text in quotes", handler);
    if contract == Some(Contract::Http) && handler.is_some() {
        section.mistake(
            "handler",
            "a program that serves HTTP has none; leave it out",
        );
    }
    let mut environment = BTreeMap::new();
    section.texts_by_name("environment", VARIABLES_MAX, variable, &mut environment);
    let mut reuse = false;
    section.flag("reuse", &mut reuse);
    let mut areas = Vec::new();
    section.texts("areas", AREAS, area, &mut areas);
    if !areas.is_empty() && areas.len() != AREAS {
        section.mistake(
            "areas",
            "a program has two, which take turns; write [\"memory\", \"NAME\"]",
        );
    }
    let mut snap_start = false;
    section.flag("snap_start", &mut snap_start);
    if contract == Some(Contract::Http) && snap_start {
        section.mistake(
            "snap_start",
            "a program that serves HTTP has no such hooks; leave it out",
        );
    }
    if let Some(folder) = folder
        && let Some(given) = section.text("folder", "a text in quotes", folder_inside)
    {
        *folder = given;
    }
    Some(Process {
        // What is missing was told, so that nobody sees what stands in for it.
        contract: contract.unwrap_or(Contract::Http),
        command,
        handler,
        environment,
        reuse,
        areas,
        snap_start,
    })
}

fn word(word: &str) -> Result<(), String> {
    match word {
        long if long.len() > WORD_MAX_BYTES => Err(format!(
            "{} has {} bytes; a word of a command has at most {WORD_MAX_BYTES}",
            shown(long),
            long.len()
        )),
        word if word.contains('\0') => Err(format!("{} holds a zero byte", shown(word))),
        _ => Ok(()),
    }
}

fn area(name: &str) -> Result<(), String> {
    let name = name.parse::<Name>();
    name.map(drop).map_err(|error| error.to_string())
}

fn handler(handler: &str) -> Result<String, String> {
    let legal = (1..=HANDLER_MAX_BYTES).contains(&handler.len())
        && handler.bytes().all(|byte| byte.is_ascii_graphic());
    legal.then(|| handler.to_owned()).ok_or_else(|| {
        format!(
            "{} is no handler: 1 to {HANDLER_MAX_BYTES} characters without spaces, such as \
             \"handler.handler\"",
            shown(handler)
        )
    })
}

/// Whether a variable may have this name and this value.
pub(super) fn variable(name: &str, value: &str) -> Result<(), String> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let legal = (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(letter)
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if !legal {
        return Err(format!(
            "no name of a variable: 1 to {NAME_MAX_BYTES} characters of A-Z, a-z, 0-9 and '_', not \
             beginning with a digit"
        ));
    }
    if RESERVED.contains(&name) {
        return Err("the platform sets this variable itself; leave it out".to_owned());
    }
    match value {
        long if long.len() > VALUE_MAX_BYTES => Err(format!(
            "the value has {} bytes; it may have at most {VALUE_MAX_BYTES}",
            long.len()
        )),
        value if value.contains('\0') => Err("the value holds a zero byte".to_owned()),
        _ => Ok(()),
    }
}

fn folder_inside(path: &str) -> Result<String, String> {
    match is_inside(path) {
        true => Ok(path.to_owned()),
        false => Err(format!(
            "{} is no folder inside the manifest's; write a path such as \".\" or \"dist\"",
            shown(path)
        )),
    }
}
