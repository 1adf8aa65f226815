//! An answer cut into the values that could have been drawn, each with a name by which it is found
//! again in another answer to the same request.
//!
//! A JSON body is named by its pointers and a header by its name; within those, and within all
//! other text, values are numbered by their shape. A body that is no text is cut into pieces of one
//! size. Deliberately absent: which texts could have been drawn (`token`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::token::{Shape, Token, tokens};
use super::{Answer, Place};

/// Values of one answer that are looked at.
const SLOTS_MAX: usize = 10_000;
/// Longest name of a part, in bytes: each value carries it. What is named at more length, or lies
/// deeper, is not looked at.
const NAME_MAX_BYTES: usize = 512;
/// Pieces of a body that is no text, in bytes.
const PIECE_BYTES: usize = 16;

/// The name of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    part: Part,
    shape: Shape,
    nth: usize,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Header(String),
    Json(String),
    Body,
}

/// The values of an answer.
pub(super) type Slots = BTreeMap<Slot, Token>;

impl Slot {
    /// Where people find the value.
    pub(super) fn place(&self, token: &Token) -> Place {
        match &self.part {
            Part::Header(name) => Place::Header(name.clone()),
            Part::Json(pointer) => Place::Json(pointer.clone()),
            Part::Body => Place::Body(token.at),
        }
    }
}

/// Cuts an answer.
pub(super) fn slots(answer: &Answer) -> Slots {
    let mut cut = Cut::default();
    let headers = answer.headers.iter();
    for (name, value) in headers.filter(|(name, _)| name.len() <= NAME_MAX_BYTES) {
        cut.text(&Part::Header(name.clone()), value);
    }
    match std::str::from_utf8(&answer.body) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(json) => cut.json(String::new(), &json),
            Err(_) => cut.text(&Part::Body, text),
        },
        // Text that broke off in the midst of a character is text all the same.
        Err(error) if error.error_len().is_none() => {
            let whole = &answer.body[..error.valid_up_to()];
            cut.text(&Part::Body, &String::from_utf8_lossy(whole));
        }
        Err(_) => cut.bytes(&answer.body),
    }
    cut.slots
}

#[derive(Default)]
struct Cut {
    slots: Slots,
    /// How many of this name there were, the number left out.
    counts: BTreeMap<(Part, Shape), usize>,
}

impl Cut {
    fn text(&mut self, part: &Part, text: &str) {
        for token in tokens(text) {
            self.add(part, token);
        }
    }

    /// As deep as the reader lets JSON nest, which bounds it.
    fn json(&mut self, pointer: String, value: &Value) {
        if pointer.len() > NAME_MAX_BYTES {
            return;
        }
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.text(&Part::Json(pointer), &number.to_string()),
            Value::String(text) => self.text(&Part::Json(pointer), text),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.json(format!("{pointer}/{at}"), item);
                }
            }
            Value::Object(entries) => {
                for (key, item) in entries {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    self.json(format!("{pointer}/{key}"), item);
                }
            }
        }
    }

    fn bytes(&mut self, body: &[u8]) {
        for (at, piece) in body.chunks_exact(PIECE_BYTES).enumerate() {
            let text: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            let token = Token {
                shape: Shape::Word,
                text,
                at: at * PIECE_BYTES,
            };
            self.add(&Part::Body, token);
        }
    }

    fn add(&mut self, part: &Part, token: Token) {
        if self.slots.len() >= SLOTS_MAX {
            return;
        }
        let shape = token.shape;
        let count = self.counts.entry((part.clone(), shape)).or_default();
        let slot = Slot {
            part: part.clone(),
            shape,
            nth: *count,
        };
        *count += 1;
        self.slots.insert(slot, token);
    }
}
