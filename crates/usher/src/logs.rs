//! `usher logs`: what functions wrote, and how their requests were served.

use std::io::{self, IsTerminal};

use futures_util::StreamExt;
use jiff::Timestamp;
use usher_api::client::Client;
use usher_api::node::{LogEvent, LogLine, LogQuery};
use usher_core::id::{FunctionKey, Name};

use crate::cli::Logs;
use crate::output;

/// Colours of names, as a terminal counts them: those that are read on dark and on light.
const COLOURS: [u8; 6] = [31, 32, 33, 34, 35, 36];

/// Shows the log, and goes on with it where that is asked for.
pub(crate) async fn run(logs: Logs, json: bool) -> anyhow::Result<()> {
    let query = LogQuery {
        tail: logs.tail,
        follow: logs.follow,
        request: logs.request,
        quiet: false,
    };
    let client = logs.remote.client()?;
    let Some(name) = logs.name else {
        return all(&client, logs.owner.as_ref(), &query, json).await;
    };
    let owner = logs.owner.unwrap_or_else(Name::default_owner);
    let mut lines = client.logs(&FunctionKey { owner, name }, &query).await?;
    while let Some(line) = lines.next().await {
        let line = line?;
        match json {
            true => output::json(&line)?,
            false => output::line(text(&line))?,
        }
    }
    Ok(())
}

/// The logs of all functions, each line with its function's name.
async fn all(
    client: &Client,
    owner: Option<&Name>,
    query: &LogQuery,
    json: bool,
) -> anyhow::Result<()> {
    let colours = io::stdout().is_terminal();
    let mut lines = client.all_logs(owner, query).await?;
    while let Some(line) = lines.next().await {
        let line = line?;
        match json {
            true => output::json(&line)?,
            false => {
                let name = named(&line.function, colours);
                output::line(format!("{name} {}", text(&line.line)))?;
            }
        }
    }
    Ok(())
}

/// A function's name, in a colour that stays the same.
fn named(function: &FunctionKey, colours: bool) -> String {
    let name = function.dotted();
    if !colours {
        return name;
    }
    let sum = name.bytes().map(usize::from).sum::<usize>();
    let colour = COLOURS[sum % COLOURS.len()];
    format!("\x1b[{colour}m{name}\x1b[0m")
}

/// One line for a person.
pub(crate) fn text(line: &LogLine) -> String {
    let time = i64::try_from(line.time_us)
        .ok()
        .and_then(|time_us| Timestamp::from_microsecond(time_us).ok())
        .map_or_else(String::new, |time| format!("{time:.3} "));
    let request = line.request.map_or_else(String::new, |id| format!("{id} "));
    format!("{time}{request}{}", event(&line.event))
}

fn event(event: &LogEvent) -> String {
    match event {
        LogEvent::Stdout { text } => format!("stdout: {text}"),
        LogEvent::Stderr { text } => format!("stderr: {text}"),
        LogEvent::Platform { text } => format!("usher: {text}"),
        LogEvent::Request {
            target,
            status,
            took_us,
            key,
            proof,
            error,
        } => {
            let mut text = format!("{target} {status} in {took_us} us");
            if let Some(key) = key {
                text.push_str(&format!(" key {key}"));
            }
            if let Some(proof) = proof {
                text.push_str(&format!(" ({proof})"));
            }
            if let Some(error) = error {
                text.push_str(&format!(": {error}"));
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use usher_core::id::{Digest, RequestId, RevisionId};

    use super::*;

    #[test]
    fn a_name_keeps_its_colour() {
        let function: FunctionKey = FunctionKey {
            owner: Name::default_owner(),
            name: Name::default_owner(),
        };
        assert_eq!(named(&function, false), "default");
        let coloured = named(&function, true);
        assert!(coloured.starts_with("\x1b[3") && coloured.ends_with("mdefault\x1b[0m"));
        assert_eq!(named(&function, true), coloured);
    }

    #[test]
    fn a_line_tells_when_for_which_request_and_what() {
        let line = LogLine {
            time_us: 1_700_000_000_250_000,
            request: Some(RequestId(10)),
            revision: RevisionId(Digest([0; 32])),
            event: LogEvent::Stdout {
                text: "hello".to_owned(),
            },
        };
        assert_eq!(
            text(&line),
            "2023-11-14T22:13:20.250Z 0000000000000000000000000000000a stdout: hello"
        );
    }
}
