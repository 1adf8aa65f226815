//! `usher secret`: setting, listing and deleting secrets. There is no command that shows one.

use std::fs::File;
use std::io::{IsTerminal as _, Read, stdin};
use std::time::SystemTime;

use anyhow::{Context, ensure};
use comfy_table::{Table, presets};
use usher_api::secret::SecretView;
use usher_core::id::Name;
use usher_core::secret::{SECRET_MAX_BYTES, Secret};

use crate::cli::List;
use crate::cli::secret::{Delete, Secret as Words, Set};
use crate::output;

/// Does what the words say.
pub(crate) async fn run(words: Words, json: bool) -> anyhow::Result<()> {
    match words {
        Words::Set(words) => set(words, json).await,
        Words::List(words) => list(words, json).await,
        Words::Delete(words) => delete(words, json).await,
    }
}

async fn set(words: Set, json: bool) -> anyhow::Result<()> {
    let value = match &words.file {
        Some(path) => {
            let shown = path.display();
            let file = File::open(path).with_context(|| format!("{shown} cannot be read"))?;
            read(file).with_context(|| format!("{shown} cannot be read"))?
        }
        None => {
            ensure!(
                !stdin().is_terminal(),
                "a value typed here would stay on the screen; give it by standard input or with \
                 --file, as in `usher secret set {} < FILE`",
                words.name
            );
            let read = tokio::task::spawn_blocking(|| read(stdin().lock()));
            without_line_end(read.await?.context("standard input cannot be read")?)
        }
    };
    let client = words.remote.client()?;
    let value = Secret::new(value);
    let set = client.set_secret(&words.owner, &words.name, &value);
    let set = set.await?;
    if json {
        return output::json(&set);
    }
    let text = format!("{} set: version {}", set.name, set.version);
    output::line(match set.used_by.as_slice() {
        [] => text,
        names => format!("{text}, used by {}", listed(names)),
    })?;
    Ok(())
}

/// All bytes, up to one more than a secret may have: the API tells that it is too long.
fn read(source: impl Read) -> std::io::Result<Vec<u8>> {
    let mut value = Vec::with_capacity(SECRET_MAX_BYTES + 1);
    source
        .take(SECRET_MAX_BYTES as u64 + 1)
        .read_to_end(&mut value)?;
    Ok(value)
}

/// What a shell or an editor puts behind a line is not part of the value.
fn without_line_end(mut value: Vec<u8>) -> Vec<u8> {
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    value
}

async fn list(words: List, json: bool) -> anyhow::Result<()> {
    let client = words.remote.client()?;
    let secrets = client.secrets(words.owner.as_ref()).await?.secrets;
    if json {
        return secrets.iter().try_for_each(output::json);
    }
    if secrets.is_empty() {
        output::line("no secrets yet; `usher secret set NAME < FILE` sets one")?;
        return Ok(());
    }
    output::line(table(&secrets))?;
    Ok(())
}

fn table(secrets: &[SecretView]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAME", "OWNER", "VERSION", "SET", "USED BY"]);
    for secret in secrets {
        let version = match secret.readable {
            true => secret.version.to_string(),
            false => format!("{} (sealed by another key)", secret.version),
        };
        table.add_row([
            secret.name.to_string(),
            secret.owner.to_string(),
            version,
            ago(secret.set_us),
            listed(&secret.used_by),
        ]);
    }
    table
}

fn listed(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(Name::as_str).collect();
    names.join(", ")
}

/// How long ago a time was, in the largest unit of which it has at least one.
fn ago(then_us: u64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_s = now.map_or(0, |now| now.as_secs());
    let passed_s = now_s.saturating_sub(then_us / 1_000_000);
    let units = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let fits = units.iter().find(|(unit_s, _)| passed_s >= *unit_s);
    match fits {
        Some((unit_s, name)) => format!("{} {name} ago", passed_s / unit_s),
        None => format!("{passed_s} seconds ago"),
    }
}

async fn delete(words: Delete, json: bool) -> anyhow::Result<()> {
    let client = words.remote.client()?;
    let deleted = client.delete_secret(&words.owner, &words.name).await?;
    match json {
        true => output::json(&deleted),
        false => Ok(output::line(format!("{} deleted", deleted.name))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_left_out_and_no_more() {
        for (given, value) in [
            (&b"a\n"[..], &b"a"[..]),
            (b"a\r\n", b"a"),
            (b"a\n\n", b"a\n"),
            (b"a\r", b"a\r"),
            (b"a ", b"a "),
            (b"\n", b""),
            (b"", b""),
        ] {
            assert_eq!(without_line_end(given.to_vec()), value);
        }
    }
}
