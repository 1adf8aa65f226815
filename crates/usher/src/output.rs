//! What commands write: lines of text or of JSON to standard output, failures to standard error.
//!
//! `println!` is not used, because it panics where a reader such as `head` has gone.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;
use usher_api::client::ClientError;

/// Writes a line to standard output.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Writes a value as a line of JSON to standard output.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(serde_json::to_string(value)?)?)
}

/// Tells why a command failed, with all causes, and says so by the exit code.
pub(crate) fn failure(error: &anyhow::Error, json: bool) -> ExitCode {
    if reader_has_gone(error) {
        return ExitCode::SUCCESS;
    }
    if json {
        // Nobody is left to be told where this cannot be written.
        let _ = line(serde_json::json!({ "error": described(error) }));
    }
    let _ = writeln!(io::stderr(), "usher: {}", with_causes(error));
    ExitCode::FAILURE
}

fn described(error: &anyhow::Error) -> serde_json::Value {
    match error.downcast_ref() {
        Some(ClientError::Refused { error, .. }) => serde_json::json!(error),
        _ => serde_json::json!({ "label": "failed", "message": with_causes(error) }),
    }
}

/// The error and its causes; a cause whose text the error before has already is left out.
pub(crate) fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn reader_has_gone(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let inner = anyhow::anyhow!("the disk is full");
        assert_eq!(
            with_causes(&inner.context("no data was written")),
            "no data was written: the disk is full"
        );
        let inner = anyhow::anyhow!("the disk is full");
        assert_eq!(
            with_causes(&inner.context("it failed, as the disk is full")),
            "it failed, as the disk is full"
        );
    }
}
