//! The structured form: a JSON object of attributes and data, and lists of such.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Event, FLAWS_MAX, Flaw, Flaws, Found, is_json, span};

/// The member that holds data as JSON or as text.
const DATA: &str = "data";
/// The member that holds data as bytes.
const DATA_BASE64: &str = "data_base64";

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Result<Event, Flaws> {
    let text = str::from_utf8(body).map_err(|_| Flaws::one("", "the body is not UTF-8"))?;
    event(text)
}

/// Checks a list of events.
pub(super) fn check_batch(body: &[u8]) -> Result<usize, Flaws> {
    let text = str::from_utf8(body).map_err(|_| Flaws::one("", "the body is not UTF-8"))?;
    let elements = span::elements(text).map_err(|error| Flaws::one("", error))?;
    let mut flaws = Vec::new();
    for (place, element) in elements.iter().enumerate() {
        let found = event(element).err().map(|found| found.0);
        flaws.extend(found.into_iter().flatten().map(|flaw| Flaw {
            at: match flaw.at.as_str() {
                "" => format!("event {place}"),
                at => format!("event {place}, {at}"),
            },
            text: flaw.text,
        }));
        if flaws.len() >= FLAWS_MAX {
            break;
        }
    }
    match flaws.is_empty() {
        true => Ok(elements.len()),
        false => Err(Flaws(flaws)),
    }
}

fn event(text: &str) -> Result<Event, Flaws> {
    let members = span::members(text).map_err(|error| Flaws::one("", error))?;
    let mut found = Found::default();
    let (mut data, mut bytes) = (None, None);
    for (name, value) in &members {
        let place = match name.as_str() {
            DATA => &mut data,
            DATA_BASE64 => &mut bytes,
            name => {
                attribute(&mut found, name, value);
                continue;
            }
        };
        if place.replace(*value).is_some() {
            found.flaw(name, "it stands there twice");
        }
    }
    let data = match (data, bytes) {
        (Some(_), Some(_)) => {
            found.flaw(DATA, "data and data_base64 are both there");
            None
        }
        (Some(value), None) => {
            let content_type = found.content_type.as_deref();
            let bytes = plain(content_type, value);
            // Data without a type is JSON, which the binary form has to say.
            let json = || "application/json".to_owned();
            found.content_type.get_or_insert_with(json);
            Some(bytes)
        }
        (None, Some(value)) => match decoded(value) {
            Some(bytes) => Some(bytes),
            None => {
                found.flaw(DATA_BASE64, "no text in base64");
                None
            }
        },
        (None, None) => None,
    };
    found.finish(data)
}

fn attribute(found: &mut Found, name: &str, value: &str) {
    match serde_json::from_str(value) {
        Ok(Value::String(text)) => found.attribute(name, text),
        Ok(Value::Bool(truth)) => found.attribute(name, truth.to_string()),
        Ok(Value::Number(number)) => match number.as_i64().map(i32::try_from) {
            Some(Ok(number)) => found.attribute(name, number.to_string()),
            _ => found.flaw(name, "no integer of 32 bits"),
        },
        // As if it were not there.
        Ok(Value::Null) => {}
        Ok(Value::Array(_) | Value::Object(_)) | Err(_) => {
            found.flaw(name, "neither a text, a truth value nor an integer");
        }
    }
}

/// The bytes that a member `data` stands for.
fn plain(content_type: Option<&str>, value: &str) -> Vec<u8> {
    let text = match is_json(content_type) {
        true => None,
        false => serde_json::from_str::<String>(value).ok(),
    };
    text.map_or_else(|| value.as_bytes().to_vec(), String::into_bytes)
}

fn decoded(value: &str) -> Option<Vec<u8>> {
    let text = serde_json::from_str::<String>(value).ok()?;
    STANDARD.decode(text).ok()
}

/// The body of an event.
pub(super) fn write(event: &Event) -> Vec<u8> {
    let content_type = event.content_type.iter();
    let content_type = content_type.map(|value| ("datacontenttype", value.as_str()));
    let attributes = event.attributes.iter();
    let attributes = attributes.map(|(name, value)| (name.as_str(), value.as_str()));
    let members = attributes.chain(content_type);
    let mut members: Vec<String> = members
        .map(|(name, value)| format!("{}:{}", quoted(name), quoted(value)))
        .collect();
    if let Some(bytes) = &event.data {
        members.push(data(event.content_type.as_deref(), bytes));
    }
    format!("{{{}}}", members.join(",")).into_bytes()
}

/// The member that holds the data: as JSON where it is that, as text where its type says so, and as
/// bytes otherwise.
fn data(content_type: Option<&str>, bytes: &[u8]) -> String {
    let text = str::from_utf8(bytes).ok();
    let json = text.filter(|text| is_json(content_type) && span::check(text).is_ok());
    let text = text.filter(|_| is_text(content_type));
    match (json, text) {
        (Some(json), _) => format!("{}:{}", quoted(DATA), json.trim()),
        (None, Some(text)) => format!("{}:{}", quoted(DATA), quoted(text)),
        (None, None) => format!("{}:\"{}\"", quoted(DATA_BASE64), STANDARD.encode(bytes)),
    }
}

fn is_text(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else {
        return false;
    };
    if is_json(Some(content_type)) {
        return false;
    }
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let media = media.to_ascii_lowercase();
    media.starts_with("text/") || media == "application/xml" || media.ends_with("+xml")
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
