//! The table `[events]`: how a function takes CloudEvents.
//!
//! Deliberately absent: converting them.

use usher_core::function::{Contract, EventMode, Settings};

use super::section::Section;

/// The largest body of an event that may be asked for, in bytes.
const EVENT_MAX_BYTES: u64 = 64 << 20;

/// Reads the table, once it is known what the function is.
pub(super) fn read(section: &mut Section<'_, '_>, settings: &mut Settings) {
    let contract = settings.process.as_ref().map(|process| process.contract);
    section.table("events", |table| {
        let events = &mut settings.events;
        let modes = [
            ("as-is", EventMode::AsIs),
            ("binary", EventMode::Binary),
            ("structured", EventMode::Structured),
        ];
        table.choice("mode", &modes, &mut events.mode);
        table.flag("batches", &mut events.batches);
        let bytes = &mut events.event_max_bytes;
        table.number("event_max_bytes", "bytes", 1..=EVENT_MAX_BYTES, bytes);
        if contract == Some(Contract::Lambda) && events.mode == EventMode::Binary {
            table.mistake(
                "mode",
                "a Lambda function gets an event as JSON; write \"structured\"",
            );
        }
        if events.batches && events.mode != EventMode::Structured {
            table.mistake(
                "batches",
                "a list of events has the structured form only, and without a mode it comes as it \
                 is anyway; write mode = \"structured\" too",
            );
        }
    });
}
