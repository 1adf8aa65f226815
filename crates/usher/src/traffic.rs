//! `usher alias`, `split`, `rollback`: which revision serves which name.
//!
//! Deliberately absent: what a split may be, which the platform judges.

use comfy_table::{Table, presets};
use usher_api::http::FunctionView;
use usher_api::traffic::{AliasView, Changed, RevisionView, ShareView};
use usher_core::traffic::{LIVE, PATH_MARK};

use crate::cli::{Alias, One, Rollback, Split};
use crate::output;

/// Earlier revisions that `usher show` tells of at most.
const TOLD_MAX: usize = 10;

/// Sets, lists or deletes aliases.
pub(crate) async fn alias(alias: Alias, json: bool) -> anyhow::Result<()> {
    match alias {
        Alias::List(one) => list(one, json).await,
        Alias::Set(set) => {
            let (client, function) = (set.one.client()?, set.one.key());
            let changed = client.set_alias(&function, &set.alias, set.revisions);
            let changed = changed.await?;
            if json {
                return output::json(&changed);
            }
            if set.alias.is_live() {
                return told(&changed, "");
            }
            let views = &changed.function.aliases;
            if let Some(view) = views.iter().find(|view| view.alias == set.alias) {
                let (name, traffic) = (&changed.function.name, words(&view.traffic));
                output::line(format!("{name}{PATH_MARK}{}: {traffic}", view.alias))?;
                for url in &view.urls {
                    output::line(format!("  {url}"))?;
                }
            }
            Ok(())
        }
        Alias::Delete(delete) => {
            let (client, function) = (delete.one.client()?, delete.one.key());
            let changed = client.delete_alias(&function, &delete.alias);
            let changed = changed.await?;
            if json {
                return output::json(&changed);
            }
            let (name, alias) = (&changed.function.name, &delete.alias);
            Ok(output::line(format!("{name}{PATH_MARK}{alias} deleted"))?)
        }
    }
}

async fn list(one: One, json: bool) -> anyhow::Result<()> {
    let aliases = one.client()?.aliases(&one.key()).await?.aliases;
    if json {
        return aliases.iter().try_for_each(output::json);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ALIAS", "TRAFFIC", "URL"]);
    for AliasView {
        alias,
        traffic,
        urls,
    } in &aliases
    {
        let url = urls.first().cloned().unwrap_or_default();
        table.add_row([alias.to_string(), words(traffic), url]);
    }
    Ok(output::line(table)?)
}

/// Shares the traffic of the bare name out.
pub(crate) async fn split(split: Split, json: bool) -> anyhow::Result<()> {
    let (client, function) = (split.one.client()?, split.one.key());
    let changed = client.set_traffic(&function, split.revisions).await?;
    match json {
        true => output::json(&changed),
        false => told(&changed, ""),
    }
}

/// Gives the traffic back to what had it before.
pub(crate) async fn roll_back(rollback: Rollback, json: bool) -> anyhow::Result<()> {
    let (client, function) = (rollback.one.client()?, rollback.one.key());
    let changed = client.roll_back(&function, rollback.to).await?;
    match json {
        true => output::json(&changed),
        false => told(&changed, " rolled back"),
    }
}

fn told(changed: &Changed, what: &str) -> anyhow::Result<()> {
    let function = &changed.function;
    let what = if changed.unchanged {
        " unchanged"
    } else {
        what
    };
    let traffic = words(&function.traffic);
    Ok(output::line(format!("{}{what}: {traffic}", function.name))?)
}

/// `v2`, or `v2 90%, v3 10%`.
pub(crate) fn words(traffic: &[ShareView]) -> String {
    let total = traffic.iter().map(|share| share.weight).sum();
    let words = traffic.iter().map(|share| match traffic.len() {
        1 => format!("v{}", share.revision),
        _ => format!("v{} {}", share.revision, percent(share.weight, total)),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Parts of a hundred, with two digits behind the point where there are finer ones.
fn percent(weight: u32, total: u32) -> String {
    let hundredths = u64::from(weight) * 10_000 / u64::from(total.max(1));
    match hundredths % 100 {
        0 => format!("{}%", hundredths / 100),
        rest => format!("{}.{rest:02}%", hundredths / 100),
    }
}

/// What `usher show` tells of traffic, aliases and revisions.
pub(crate) fn lines(function: &FunctionView, revisions: &[RevisionView]) -> Vec<String> {
    let mut lines = Vec::new();
    if function.traffic.len() > 1 {
        lines.push(format!("  traffic       {}", words(&function.traffic)));
    }
    for view in &function.aliases {
        let url = view.urls.first().cloned().unwrap_or_default();
        let traffic = words(&view.traffic);
        lines.push(format!("  alias         {}: {traffic}  {url}", view.alias));
    }
    if revisions.len() < 2 {
        return lines;
    }
    let restorable = revisions.iter().filter(|it| it.restorable);
    lines.extend(restorable.take(TOLD_MAX).map(line));
    lines
}

fn line(revision: &RevisionView) -> String {
    let shares = revision.traffic.iter().map(|share| {
        let percent = percent(share.weight, share.of);
        match share.alias.as_str() {
            LIVE => percent,
            alias => format!("{percent} of {alias}"),
        }
    });
    let mut words: Vec<_> = shares.collect();
    if revision.staged {
        words.push("ready, no traffic".to_owned());
    }
    format!(
        "  revisions     v{} {} {}",
        revision.number,
        revision.id.0.short(),
        words.join(", ")
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_in_percent() {
        for (weight, total, told) in [
            (100, 100, "100%"),
            (10, 100, "10%"),
            (5, 1_000, "0.50%"),
            (9_999, 10_000, "99.99%"),
        ] {
            assert_eq!(percent(weight, total), told, "{weight} of {total}");
        }
    }
}
