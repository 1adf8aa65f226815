//! `usher logs`: what a function wrote, and how its requests were served.

use futures_util::StreamExt;
use jiff::Timestamp;
use usher_api::node::{LogEvent, LogLine, LogQuery};

use crate::cli::Logs;
use crate::output;

/// Shows the log, and goes on with it where that is asked for.
pub(crate) async fn run(logs: Logs, json: bool) -> anyhow::Result<()> {
    let query = LogQuery {
        tail: logs.tail,
        follow: logs.follow,
        request: logs.request,
        quiet: false,
    };
    let client = logs.one.client()?;
    let mut lines = client.logs(&logs.one.key(), &query).await?;
    while let Some(line) = lines.next().await {
        let line = line?;
        match json {
            true => output::json(&line)?,
            false => output::line(text(&line))?,
        }
    }
    Ok(())
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
