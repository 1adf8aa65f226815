//! CloudEvents 1.0 over HTTP: one event, in the three forms that the specification has.
//!
//! ```text
//! binary       headers ce-id, ce-source, …; Content-Type and body are the data's own
//! structured   Content-Type: application/cloudevents+json; the body holds attributes and data
//! batch        Content-Type: application/cloudevents-batch+json; a list of such bodies
//! ```
//!
//! Reading checks everything and tells all mistakes at once. What is read can be written in either
//! of the first two forms. Data that is JSON is passed on letter by letter, so that no number loses
//! a digit by being converted.
//!
//! Sources: CloudEvents 1.0.2, its HTTP protocol binding and its JSON format. Deliberately absent:
//! HTTP itself (names and values come in as text), and who wants which form.

mod attribute;
mod header;
mod json;
mod span;

use std::collections::BTreeMap;
use std::fmt;

/// The media type of an event in JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of a list of events in JSON.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// What the name of a header begins with that holds an attribute.
pub const HEADER_PREFIX: &str = "ce-";

/// The attributes that every event has.
const REQUIRED: [&str; 4] = ["id", "source", "specversion", "type"];

/// In which form a message holds an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Attributes in headers, the data in the body.
    Binary,
    /// All in a body of JSON.
    Structured,
    /// Several in a body of JSON.
    Batch,
    /// A media type of CloudEvents that is not JSON.
    Foreign(String),
}

impl Form {
    /// The form of a message, by its content type and the names of its headers in lower case; none
    /// where it is no event.
    pub fn of<'a>(
        content_type: Option<&str>,
        mut names: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let media = content_type.unwrap_or_default().split(';').next();
        let media = media.unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            STRUCTURED => Some(Self::Structured),
            BATCH => Some(Self::Batch),
            foreign if foreign.starts_with("application/cloudevents") => {
                Some(Self::Foreign(foreign.to_owned()))
            }
            _ => {
                let required = |name: &str| {
                    let attribute = name.strip_prefix(HEADER_PREFIX);
                    attribute.is_some_and(|attribute| REQUIRED.contains(&attribute))
                };
                names.any(required).then_some(Self::Binary)
            }
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// All attributes but `datacontenttype`, by name; those that every event has among them.
    attributes: BTreeMap<String, String>,
    /// The media type of the data.
    content_type: Option<String>,
    data: Option<Vec<u8>>,
}

impl Event {
    /// Reads an event of headers (names in lower case, values as they came) and a body.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn from_headers<'a>(
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        body: Vec<u8>,
    ) -> Result<Self, Flaws> {
        header::read(headers, body)
    }

    /// Reads an event of a body of JSON.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn from_json(body: &[u8]) -> Result<Self, Flaws> {
        json::read(body)
    }

    /// An attribute's value, such as that of `type`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        match name {
            "datacontenttype" => self.content_type.as_deref(),
            name => self.attributes.get(name).map(String::as_str),
        }
    }

    /// The bytes of the data.
    pub fn data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }

    /// The headers of the binary form: those of the attributes, and `content-type`.
    pub fn headers(&self) -> Vec<(String, String)> {
        header::write(self)
    }

    /// The body of the binary form.
    pub fn into_data(self) -> Vec<u8> {
        self.data.unwrap_or_default()
    }

    /// The body of the structured form.
    pub fn json(&self) -> Vec<u8> {
        json::write(self)
    }
}

/// Checks a list of events in JSON, and answers how many there are.
///
/// # Errors
/// All mistakes in it.
pub fn check_batch(body: &[u8]) -> Result<usize, Flaws> {
    json::check_batch(body)
}

/// One mistake in an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flaw {
    /// The attribute it is about; empty where it is about the event itself.
    pub at: String,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => f.write_str(&self.text),
            at => write!(f, "{at}: {}", self.text),
        }
    }
}

/// How many mistakes are told of one event.
const FLAWS_MAX: usize = 32;

/// All mistakes in an event; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaws(Vec<Flaw>);

impl Flaws {
    fn one(at: &str, text: impl Into<String>) -> Self {
        Self(vec![Flaw {
            at: at.to_owned(),
            text: text.into(),
        }])
    }

    /// The mistakes, at most a bound of them.
    pub fn list(&self) -> &[Flaw] {
        &self.0
    }
}

impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, flaw) in self.0.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}{flaw}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Flaws {}

/// An event in the making: what was found in it, right and wrong.
#[derive(Debug, Default)]
struct Found {
    attributes: BTreeMap<String, String>,
    content_type: Option<String>,
    flaws: Vec<Flaw>,
}

impl Found {
    fn flaw(&mut self, at: &str, text: impl Into<String>) {
        if self.flaws.len() < FLAWS_MAX {
            self.flaws.extend(Flaws::one(at, text).0);
        }
    }

    /// Takes in an attribute, once.
    fn attribute(&mut self, name: &str, value: String) {
        if let Err(text) = attribute::check(name, &value) {
            return self.flaw(name, text);
        }
        let before = match name {
            "datacontenttype" => self.content_type.replace(value),
            name => self.attributes.insert(name.to_owned(), value),
        };
        if before.is_some() {
            self.flaw(name, "it stands there twice");
        }
    }

    fn finish(mut self, data: Option<Vec<u8>>) -> Result<Event, Flaws> {
        for name in REQUIRED {
            let told = self.flaws.iter().any(|flaw| flaw.at == name);
            if !told && !self.attributes.contains_key(name) {
                self.flaw(name, "it is missing, and every event has it");
            }
        }
        match self.flaws.is_empty() {
            true => Ok(Event {
                attributes: self.attributes,
                content_type: self.content_type,
                data,
            }),
            false => Err(Flaws(self.flaws)),
        }
    }
}

/// Whether data of this type is JSON; without a type it is.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else {
        return true;
    };
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    matches!(media.as_str(), "application/json" | "text/json") || media.ends_with("+json")
}
