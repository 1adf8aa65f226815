//! `usher owner`: owners and their quotas.

use std::str::FromStr;

use comfy_table::{Table, presets};
use usher_api::access::OwnerView;

use crate::cli::owner::{List, Owner, Set, Show};
use crate::output;

/// A number, or `none` for no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound(Option<u32>);

impl FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "none" => Ok(Self(None)),
            number => number
                .parse()
                .map(|number| Self(Some(number)))
                .map_err(|_| "write a number, or none"),
        }
    }
}

/// Does what is asked for.
pub(crate) async fn run(owner: Owner, json: bool) -> anyhow::Result<()> {
    match owner {
        Owner::Set(asked) => set(asked, json).await,
        Owner::Show(asked) => show(asked, json).await,
        Owner::List(asked) => list(asked, json).await,
    }
}

async fn set(asked: Set, json: bool) -> anyhow::Result<()> {
    let client = asked.remote.client()?;
    let mut quotas = client.owner(&asked.owner).await?.quotas;
    let put = |bound: Option<Bound>, quota: &mut Option<u32>| {
        if let Some(Bound(bound)) = bound {
            *quota = bound;
        }
    };
    put(asked.functions_max, &mut quotas.functions_max);
    put(asked.concurrency_max, &mut quotas.concurrency_max);
    put(asked.requests_per_s, &mut quotas.requests_per_s);
    put(asked.burst, &mut quotas.burst);
    if let Some(Bound(bound)) = asked.memory_max_mib {
        quotas.memory_max_mib = bound.map(u64::from);
    }
    if quotas.requests_per_s.is_none() && asked.burst.is_none() {
        quotas.burst = None;
    }
    tell(&[client.set_owner(&asked.owner, &quotas).await?], json)
}

async fn show(asked: Show, json: bool) -> anyhow::Result<()> {
    tell(&[asked.remote.client()?.owner(&asked.owner).await?], json)
}

async fn list(asked: List, json: bool) -> anyhow::Result<()> {
    tell(&asked.remote.client()?.owners().await?.owners, json)
}

fn tell(owners: &[OwnerView], json: bool) -> anyhow::Result<()> {
    if json {
        return owners.iter().try_for_each(output::json);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "OWNER",
        "FUNCTIONS",
        "CONCURRENCY",
        "MEMORY MIB",
        "PER SECOND",
        "BURST",
    ]);
    let bound = |bound: Option<u64>| bound.map_or("none".to_owned(), |bound| bound.to_string());
    for view in owners {
        let quotas = &view.quotas;
        let functions_max = bound(quotas.functions_max.map(u64::from));
        table.add_row([
            view.owner.to_string(),
            format!("{} of {functions_max}", view.functions),
            bound(quotas.concurrency_max.map(u64::from)),
            bound(quotas.memory_max_mib),
            bound(quotas.requests_per_s.map(u64::from)),
            bound(quotas.burst.or(quotas.requests_per_s).map(u64::from)),
        ]);
    }
    output::line(table)?;
    Ok(())
}
