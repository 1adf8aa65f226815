//! `usher list`, `show`, `delete`: functions as they stand on a running platform.

use comfy_table::{Table, presets};
use usher_api::client::Client;
use usher_api::http::FunctionView;
use usher_api::node::RevisionStatus;
use usher_core::id::FunctionKey;

use crate::cli::{List, One};
use crate::deploy::{mode_text, mode_word, notes, reasons};
use crate::output;

impl One {
    /// The function that is meant.
    pub(crate) fn key(&self) -> FunctionKey {
        FunctionKey {
            owner: self.owner.clone(),
            name: self.name.clone(),
        }
    }

    /// A client of the platform that is meant.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        self.remote.client()
    }
}

/// Lists all functions, or those of one owner.
pub(crate) async fn list(list: List, json: bool) -> anyhow::Result<()> {
    let client = list.remote.client()?;
    let mut functions = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = client.list(list.owner.as_ref(), after.as_deref(), None);
        let page = page.await?;
        functions.extend(page.functions);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    if json {
        return functions.iter().try_for_each(output::json);
    }
    if functions.is_empty() {
        output::line("no functions yet; `usher deploy PATH` makes one")?;
        return Ok(());
    }
    output::line(table(&functions))?;
    Ok(())
}

fn table(functions: &[FunctionView]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "NAME", "OWNER", "REVISION", "MODE", "READY", "SERVED", "URL",
    ]);
    for function in functions {
        let RevisionStatus { clean, served, .. } = function.status;
        table.add_row([
            function.name.to_string(),
            function.owner.to_string(),
            function.revision.number.to_string(),
            mode_word(function).to_owned(),
            clean.to_string(),
            served.to_string(),
            function.urls.first().cloned().unwrap_or_default(),
        ]);
    }
    table
}

/// Shows one function.
pub(crate) async fn show(one: One, json: bool) -> anyhow::Result<()> {
    let function = one.client()?.show(&one.key()).await?;
    match json {
        true => output::json(&function),
        false => Ok(output::line(told(&function).join("\n"))?),
    }
}

fn told(function: &FunctionView) -> Vec<String> {
    let status = &function.status;
    let mut lines = vec![
        format!("{} (owner {})", function.name, function.owner),
        format!(
            "  revision      {} {}",
            function.revision.number,
            function.revision.id.0.short()
        ),
        format!("  mode          {}", mode_text(function)),
    ];
    if let Some(process) = &function.revision.settings.process {
        let (contract, command) = (process.contract.word(), process.command.join(" "));
        lines.push(format!("  program       {contract}: {command}"));
    }
    let why = reasons(function);
    lines.extend(why.iter().map(|why| format!("  not live      {why}")));
    lines.extend(
        notes(function)
            .iter()
            .map(|note| format!("  note          {note}")),
    );
    lines.extend(
        function
            .urls
            .iter()
            .map(|url| format!("  url           {url}")),
    );
    if let Some(image) = &function.image {
        lines.push(format!(
            "  image         {} KiB, code {} KiB, compiled in {} ms{}",
            image.image_bytes >> 10,
            image.code_bytes >> 10,
            image.compile_ms,
            if image.cached { " (cached)" } else { "" }
        ));
    }
    lines.push(format!(
        "  environments  {} clean, {} busy, {} renewing, {} starting, {} quarantined",
        status.clean, status.busy, status.renewing, status.starting, status.quarantined
    ));
    if function.revision.settings.isolation.key().is_some() {
        let keys_max = function.revision.settings.keep.keys_max;
        let keys = format!("  keys          {} of {keys_max} at most", status.keys);
        lines.push(keys);
    }
    if !status.twins_because.is_empty() {
        let (twins, because) = (status.twins, &status.twins_because);
        lines.push(format!("  twins         {twins}: {because}"));
    }
    lines.push(format!(
        "  since start   {} served, {} compiled, {} loaded, {} audits, {} failed",
        status.served, status.compiled, status.loaded, status.audits, status.audits_failed
    ));
    lines
}

/// Deletes one function.
pub(crate) async fn delete(one: One, json: bool) -> anyhow::Result<()> {
    let deleted = one.client()?.delete(&one.key()).await?;
    match json {
        true => output::json(&deleted),
        false => Ok(output::line(format!("{} deleted", deleted.name))?),
    }
}
