//! `usher audit`: the calls of the API.

use std::str::FromStr;

use futures_util::StreamExt;
use usher_api::access::{AuditLine, AuditQuery, Who};

use crate::cli::audit::Audit;
use crate::moment::{date_us, now_us, shown, span_us};
use crate::output;

/// From when on, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since(u64);

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let ago = span_us(text).map(|span_us| now_us().saturating_sub(span_us));
        let at = ago.or_else(|| date_us(text));
        at.map(Self)
            .ok_or("write a span such as 2h or 7d, or a date such as 2027-01-31")
    }
}

/// Shows the log, and goes on with it where that is asked for.
pub(crate) async fn run(audit: Audit, json: bool) -> anyhow::Result<()> {
    let query = AuditQuery {
        owner: audit.owner,
        since_us: audit.since.map(|since| since.0),
        follow: audit.follow,
    };
    let mut lines = audit.remote.client()?.audit(&query).await?;
    while let Some(line) = lines.next().await {
        let line = line?;
        match json {
            true => output::json(&line)?,
            false => output::line(text(&line))?,
        }
    }
    Ok(())
}

fn text(line: &AuditLine) -> String {
    let who = match (line.who, line.key, &line.key_owner) {
        (_, Some(key), Some(owner)) => format!("key {key} of {owner}"),
        (_, Some(key), None) => format!("key {key}"),
        (Who::Platform, ..) => "the platform".to_owned(),
        (Who::Anyone, ..) => "anyone".to_owned(),
        (Who::Key | Who::Nobody, ..) => "nobody".to_owned(),
    };
    let mut text = format!(
        "{} {} {} {} {} {}",
        shown(line.time_us),
        line.client,
        who,
        line.method,
        line.path,
        line.status
    );
    if let Some(label) = &line.label {
        text.push_str(&format!(" {label}"));
    }
    if let Some(owner) = &line.owner {
        text.push_str(&format!(" (owner {owner}"));
        if let Some(function) = &line.function {
            text.push_str(&format!(", function {function}"));
        }
        text.push(')');
    }
    text
}
