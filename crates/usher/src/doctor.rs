//! `usher doctor`: what this machine gives, and what is made of it, mechanism by mechanism.
//!
//! Every mechanism has a next weaker way that is still safe, or is needed; only where one that is
//! needed is missing does the command fail. Deliberately absent: any probe. Each engine looks at
//! the machine by itself, as it does when it starts.

use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use usher_wasm::{ChangedPages, Means};

use crate::output;

/// What was found of one mechanism.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    mechanism: &'static str,
    /// What the machine gives.
    found: String,
    /// What is made of it.
    chosen: &'static str,
    /// What that means, and what would change it.
    why: &'static str,
    /// False: it is needed, and missing.
    ok: bool,
}

/// Looks at the machine and tells.
pub(crate) fn run(json: bool) -> anyhow::Result<ExitCode> {
    let rows = wasm(usher_wasm::means());
    match json {
        true => rows.iter().try_for_each(output::json)?,
        false => output::line(table(&rows))?,
    }
    Ok(code(&rows))
}

fn code(rows: &[Row]) -> ExitCode {
    match rows.iter().all(|row| row.ok) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["", "MECHANISM", "FOUND", "CHOSEN", "WHY"]);
    for row in rows {
        let mark = if row.ok { "ok" } else { "MISSING" };
        table.add_row([mark, row.mechanism, &row.found, row.chosen, row.why]);
    }
    table
}

/// The rows of the wasm engine. None of its mechanisms is needed.
fn wasm(means: Means) -> Vec<Row> {
    vec![
        changed_pages(means.changed_pages),
        protection_keys(means.protection_keys),
        mappings(means.mappings_max),
    ]
}

fn changed_pages(found: ChangedPages) -> Row {
    let (found, chosen, why) = match found {
        ChangedPages::Written => (
            "userfaultfd and page scan",
            "written pages are put back",
            "the fastest way",
        ),
        ChangedPages::Private => (
            "page scan, no userfaultfd",
            "private pages are put back",
            "each scan looks at every page; a userfaultfd (sysctl vm.unprivileged_userfaultfd=1) \
             would spare that",
        ),
        ChangedPages::Whole => (
            "neither",
            "used areas are dropped whole",
            "slower, as the next run faults its pages in again; Linux 6.7 has the page scan",
        ),
    };
    Row {
        mechanism: "wasm: changed pages",
        found: found.to_owned(),
        chosen,
        why,
        ok: true,
    }
}

fn protection_keys(found: bool) -> Row {
    let (found, chosen, why) = match found {
        true => (
            "yes",
            "fresh instances are packed closely",
            "keys of the processor separate neighbours, so that less address space is reserved",
        ),
        false => (
            "no",
            "fresh instances keep their distance",
            "guard pages separate neighbours; the same protection for more address space",
        ),
    };
    Row {
        mechanism: "wasm: memory protection keys",
        found: found.to_owned(),
        chosen,
        why,
        ok: true,
    }
}

fn mappings(found: Option<u64>) -> Row {
    Row {
        mechanism: "wasm: mappings",
        found: found.map_or_else(|| "unknown".to_owned(), |max| max.to_string()),
        chosen: "as it is",
        why: "each environment takes several; where starts fail for want of them, raise \
              vm.max_map_count",
        ok: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_and_missing_fails() {
        let poor = Means {
            changed_pages: ChangedPages::Whole,
            protection_keys: false,
            mappings_max: None,
        };
        let mut rows = wasm(poor);
        assert_eq!(code(&rows), ExitCode::SUCCESS);
        assert!(table(&rows).to_string().contains("dropped whole"));
        rows[0].ok = false;
        assert_eq!(code(&rows), ExitCode::FAILURE);
        assert!(table(&rows).to_string().contains("MISSING"));
    }
}
