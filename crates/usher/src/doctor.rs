//! `usher doctor`: what this machine gives, and what is made of it, mechanism by mechanism.
//!
//! Every mechanism has a next weaker way that is still safe, or is needed; only where one that is
//! needed is missing does the command fail. Deliberately absent: any probe. Each engine looks at
//! the machine by itself, as it does when it starts.

use std::borrow::Cow;
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use usher_process::sandbox::Mean;
use usher_wasm::{ChangedPages, Means};

use crate::{engines, output};

/// What was found of one mechanism.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    mechanism: Cow<'static, str>,
    /// What the machine gives.
    found: String,
    /// What is made of it.
    chosen: Cow<'static, str>,
    /// What that means, and what would change it.
    why: Cow<'static, str>,
    /// False: it is needed, and missing.
    ok: bool,
}

/// Looks at the machine and tells.
pub(crate) async fn run(json: bool) -> anyhow::Result<ExitCode> {
    let mut rows = wasm(usher_wasm::means());
    rows.extend(programs(&engines::sandboxes().await?));
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
        table.add_row([mark, &*row.mechanism, &row.found, &*row.chosen, &*row.why]);
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
        mechanism: "wasm: changed pages".into(),
        found: found.to_owned(),
        chosen: chosen.into(),
        why: why.into(),
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
        mechanism: "wasm: memory protection keys".into(),
        found: found.to_owned(),
        chosen: chosen.into(),
        why: why.into(),
        ok: true,
    }
}

fn mappings(found: Option<u64>) -> Row {
    Row {
        mechanism: "wasm: mappings".into(),
        found: found.map_or_else(|| "unknown".to_owned(), |max| max.to_string()),
        chosen: "as it is".into(),
        why: "each environment takes several; where starts fail for want of them, raise \
              vm.max_map_count"
            .into(),
        ok: true,
    }
}

/// The rows of the process engine. A sandbox is needed; each of its parts has a weaker way that is
/// still safe.
fn programs(found: &Result<Vec<Mean>, String>) -> Vec<Row> {
    match found {
        Ok(means) => means.iter().map(part).collect(),
        Err(why) => vec![Row {
            mechanism: "programs: sandbox".into(),
            found: "none that is safe".to_owned(),
            chosen: "programs are refused; components are served".into(),
            why: why.clone().into(),
            ok: false,
        }],
    }
}

fn part(mean: &Mean) -> Row {
    let (found, why) = match mean.full {
        true => ("all that it takes", "the best way"),
        false => (
            "less than there could be",
            "the next way that is still safe",
        ),
    };
    Row {
        mechanism: format!("programs: {}", mean.what).into(),
        found: found.to_owned(),
        chosen: mean.way.clone().into(),
        why: why.into(),
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
        let weaker = Mean {
            what: "memory",
            way: "watched".to_owned(),
            full: false,
        };
        rows.extend(programs(&Ok(vec![weaker])));
        assert_eq!(code(&rows), ExitCode::SUCCESS);
        rows.extend(programs(&Err("no filter of system calls".to_owned())));
        assert_eq!(code(&rows), ExitCode::FAILURE);
        assert!(table(&rows).to_string().contains("MISSING"));
    }
}
