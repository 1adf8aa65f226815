//! `usher key`: keys of the API; and which key a command shows.
//!
//! A key is read from a file or from the environment, since the words of a command can be read by
//! every user of the machine. It is not repeated in any message.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use comfy_table::{Table, presets};
use usher_api::access::{KeyMade, KeyRequest, KeyView};
use usher_api::client::Client;
use usher_backbone::{Embedded, Limits};
use usher_core::api_key::{Scope, Secret};

use crate::cli::List;
use crate::cli::Remote;
use crate::cli::key::{Create, Key, Revoke};
use crate::moment::{date_us, now_us, shown, span_us};
use crate::output;

/// A text that `Debug` and error messages do not show.
#[derive(Clone)]
pub(crate) struct Hidden(String);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

impl Remote {
    /// A client of the platform that is meant, which shows the key that is meant.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let client = Client::new(&self.api)?;
        Ok(match self.secret()? {
            Some(secret) => client.with_key(&secret),
            None => client,
        })
    }

    /// The key that is meant, if any.
    pub(crate) fn secret(&self) -> anyhow::Result<Option<Secret>> {
        let (text, from) = match (&self.key_file, &self.key) {
            (Some(file), _) => {
                let path = file.display();
                let read = std::fs::read_to_string(file);
                let text = read.with_context(|| format!("--key-file {path} was not read"))?;
                (text, format!("--key-file {path}"))
            }
            (None, Some(Hidden(text))) => (text.clone(), "--key or USHER_KEY".to_owned()),
            (None, None) => return Ok(None),
        };
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let secret = text
            .parse()
            .with_context(|| format!("{from} was not taken"))?;
        Ok(Some(secret))
    }
}

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry(Option<u64>);

impl FromStr for Expiry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "never" {
            return Ok(Self(None));
        }
        let after = span_us(text).map(|span_us| now_us().saturating_add(span_us));
        let at = after.or_else(|| date_us(text));
        at.map(|at| Self(Some(at)))
            .ok_or("write a span such as 30d or 12h, a date such as 2027-01-31, or never")
    }
}

/// Does what is asked for.
pub(crate) async fn run(key: Key, json: bool) -> anyhow::Result<()> {
    match key {
        Key::Create(create) => make(create, json).await,
        Key::List(asked) => list(asked, json).await,
        Key::Revoke(asked) => revoke(asked, json).await,
    }
}

async fn make(create: Create, json: bool) -> anyhow::Result<()> {
    let request = KeyRequest {
        owner: create.owner,
        scopes: create.scope.into_iter().collect(),
        expires_us: create.expires.0,
        label: create.name,
    };
    let made = match &create.data {
        Some(data) => offline(data, request).await?,
        None => create.remote.client()?.create_key(&request).await?,
    };
    if json {
        return output::json(&made);
    }
    tell(&made);
    // Alone on standard output, so that it can be put into a file.
    output::line(&made.secret)?;
    Ok(())
}

/// Makes a key in the folder of a platform that does not run.
async fn offline(data: &Path, request: KeyRequest) -> anyhow::Result<KeyMade> {
    let shown = data.display();
    anyhow::ensure!(
        data.join("store.redb").is_file(),
        "{shown} is no data folder of a platform; name that which `usher up --data` had"
    );
    let folder = data.to_owned();
    let open = move || Embedded::open(&folder, Limits::default());
    let opened = tokio::task::spawn_blocking(open).await?;
    let backbone = opened
        .with_context(|| format!("a key is made in {shown} only while no platform runs there"))?;
    let (made, _) = usher_controller::keys::create(&backbone, request).await?;
    tokio::task::spawn_blocking(move || drop(backbone)).await?;
    Ok(made)
}

fn tell(made: &KeyMade) {
    let key = &made.key;
    eprintln!(
        "usher: key {} of {}, {}, expires {}; it is shown this once:",
        key.id,
        whose(key),
        scopes(key),
        expiry(key)
    );
    if !made.closed {
        eprintln!(
            "usher: the API still takes calls without a key; \
             `usher key create --scope admin` closes it"
        );
    }
}

async fn list(asked: List, json: bool) -> anyhow::Result<()> {
    let keys = asked
        .remote
        .client()?
        .keys(asked.owner.as_ref())
        .await?
        .keys;
    if json {
        return keys.iter().try_for_each(output::json);
    }
    if keys.is_empty() {
        output::line("no keys: `usher key create --scope admin` makes the first one")?;
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["ID", "OWNER", "SCOPES", "CREATED", "EXPIRES", "NAME"]);
    for key in &keys {
        table.add_row([
            key.id.to_string(),
            whose(key),
            scopes(key),
            shown(key.created_us),
            expiry(key),
            key.label.clone(),
        ]);
    }
    output::line(table)?;
    Ok(())
}

async fn revoke(asked: Revoke, json: bool) -> anyhow::Result<()> {
    let revoked = asked.remote.client()?.revoke_key(asked.id).await?;
    match json {
        true => output::json(&revoked),
        false => Ok(output::line(format!("{} revoked", revoked.id))?),
    }
}

fn whose(key: &KeyView) -> String {
    key.owner
        .as_ref()
        .map_or("all".to_owned(), ToString::to_string)
}

fn scopes(key: &KeyView) -> String {
    let words: Vec<_> = key.scopes.iter().copied().map(Scope::word).collect();
    words.join(",")
}

fn expiry(key: &KeyView) -> String {
    match (key.expires_us, key.expired) {
        (None, _) => "never".to_owned(),
        (Some(at), false) => shown(at),
        (Some(at), true) => format!("{} (over)", shown(at)),
    }
}
