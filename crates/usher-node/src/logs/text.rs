//! A log line as JSON: what `serde` makes of it, with less machinery for the kind that each
//! request has. Tests hold the two against each other.
//!
//! Deliberately absent: reading lines, which is `serde`'s.

use std::io::Write;

use usher_api::node::{LogEvent, LogLine};

/// Appends a line and its end.
pub(super) fn push(text: &mut Vec<u8>, line: &LogLine) {
    // Writing to memory cannot fail, and neither can making text of a line.
    let _ = match &line.event {
        LogEvent::Request { .. } => request(text, line),
        _ => serde_json::to_writer(&mut *text, line).map_err(Into::into),
    };
    text.push(b'\n');
}

fn request(text: &mut Vec<u8>, line: &LogLine) -> std::io::Result<()> {
    let LogEvent::Request {
        target,
        status,
        took_us,
        key,
        proof,
        error,
    } = &line.event
    else {
        return Ok(());
    };
    write!(text, r#"{{"time_us":{}"#, line.time_us)?;
    if let Some(request) = line.request {
        write!(text, r#","request":"{request}""#)?;
    }
    let revision = line.revision;
    write!(text, r#","revision":"{revision}","event":"request""#)?;
    write!(text, r#","target":"#)?;
    serde_json::to_writer(&mut *text, target)?;
    write!(text, r#","status":{status},"took_us":{took_us}"#)?;
    if let Some(key) = key {
        write!(text, r#","key":"{key}""#)?;
    }
    if let Some(proof) = proof {
        write!(
            text,
            r#","proof":{{"environment":{},"area":{},"generation":{},"#,
            proof.environment.0, proof.area.0, proof.generation.0
        )?;
        write!(
            text,
            r#""start":"{}","renewal":"{}","renew_us":{}}}"#,
            proof.start.word(),
            proof.renewal.word(),
            proof.renew_us
        )?;
    }
    if let Some(error) = error {
        write!(text, r#","error":"#)?;
        serde_json::to_writer(&mut *text, error)?;
    }
    text.push(b'}');
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use usher_core::id::{AreaId, Digest, EnvironmentId, Generation, RequestId, RevisionId};
    use usher_core::proof::{Proof, Renewal, Start};

    use super::*;

    const ODD: &str = "GET /\"a\\b\u{1}\u{7f}\n\u{2028}ü";

    fn same(request: Option<RequestId>, event: LogEvent) {
        let line = LogLine {
            time_us: u64::MAX,
            request,
            revision: RevisionId(Digest([0x0e; 32])),
            event,
        };
        let mut text = Vec::new();
        push(&mut text, &line);
        let expected = serde_json::to_string(&line).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), format!("{expected}\n"));
    }

    fn proofs() -> Vec<Option<Proof>> {
        let starts = [Start::Warm, Start::Cold, Start::Joined];
        let renewals = [
            Renewal::Swap,
            Renewal::InPlace,
            Renewal::Fresh,
            Renewal::Replaced,
            Renewal::Kept,
        ];
        let each = starts.into_iter().flat_map(|start| {
            renewals.map(|renewal| {
                Some(Proof {
                    environment: EnvironmentId(u64::MAX),
                    area: AreaId(0),
                    generation: Generation(10),
                    start,
                    renewal,
                    renew_us: u32::MAX,
                })
            })
        });
        each.chain([None]).collect()
    }

    #[test]
    fn every_line_is_written_as_serde_would() {
        for request in [None, Some(RequestId(0x1f)), Some(RequestId(u128::MAX))] {
            for error in [None, Some(ODD.to_owned())] {
                for proof in proofs() {
                    let event = LogEvent::Request {
                        target: ODD.to_owned(),
                        status: 204,
                        took_us: 0,
                        key: proof.map(|_| "0123456789ab".to_owned()),
                        proof,
                        error: error.clone(),
                    };
                    same(request, event);
                }
            }
            let text = ODD.to_owned();
            same(request, LogEvent::Stderr { text });
        }
    }
}
