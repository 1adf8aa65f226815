//! Looks at a program from outside.
use std::fs;

/// The numbers of all processes.
pub(crate) fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// What stands behind `name:` in a process's status; none if there is no such process any more.
pub(crate) fn status(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// The number that a process has in the innermost of its namespaces, if it is in one.
pub(crate) fn inner_pid(pid: u32) -> Option<u32> {
    let numbers = status(pid, "NSpid")?;
    let numbers = numbers.split_whitespace().skip(1);
    numbers.last()?.parse().ok()
}

/// Whether the process was started with a variable, given as `NAME=VALUE\0`.
pub(crate) fn has_variable(pid: u32, variable: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = variable.as_bytes();
    environment.windows(wanted.len()).any(|window| window == wanted)
}
