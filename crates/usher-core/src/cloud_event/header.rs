//! The binary form: attributes in headers.
//!
//! A value is percent-encoded where HTTP could change it or has no letter for it: space, the double
//! quote, the percent sign, and all but U+0021 to U+007E, as UTF-8.

use super::{Event, Flaws, Found, HEADER_PREFIX};

const CONTENT_TYPE: &str = "content-type";

/// Reads headers and a body.
pub(super) fn read<'a>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    body: Vec<u8>,
) -> Result<Event, Flaws> {
    let mut found = Found::default();
    for (name, value) in headers {
        if name == CONTENT_TYPE {
            match str::from_utf8(value) {
                Ok(value) => found.attribute("datacontenttype", value.to_owned()),
                Err(_) => found.flaw("datacontenttype", "the Content-Type is no text"),
            }
        }
        let Some(attribute) = name.strip_prefix(HEADER_PREFIX) else {
            continue;
        };
        if attribute == "datacontenttype" {
            found.flaw(attribute, "in a header it stands as Content-Type");
            continue;
        }
        match decode(value) {
            Some(value) => found.attribute(attribute, value),
            None => found.flaw(attribute, "the value is not UTF-8 once it is decoded"),
        }
    }
    found.finish((!body.is_empty()).then_some(body))
}

/// The headers of an event.
pub(super) fn write(event: &Event) -> Vec<(String, String)> {
    let attributes = event.attributes.iter();
    let named = attributes.map(|(name, value)| (format!("{HEADER_PREFIX}{name}"), encode(value)));
    let typed = event.content_type.iter();
    let typed = typed.map(|value| (CONTENT_TYPE.to_owned(), value.clone()));
    named.chain(typed).collect()
}

fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' => text.push_str(&format!("%{byte:02X}")),
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Quoted parts are taken out of their quotes first, then percent signs are resolved, once.
fn decode(value: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(value.len());
    let mut quoted = false;
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => plain.extend(bytes.next()),
            byte => plain.push(byte),
        }
    }
    let mut decoded = Vec::with_capacity(plain.len());
    let mut rest = plain.as_slice();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = after;
                }
                _ => decoded.push(b'%'),
            },
            (byte, _) => decoded.push(*byte),
        }
    }
    String::from_utf8(decoded).ok()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::REQUIRED;
    use super::*;

    #[test]
    fn values_are_encoded_as_the_specification_shows() {
        assert_eq!(
            encode("Euro \u{20ac} \u{1f600}"),
            "Euro%20%E2%82%AC%20%F0%9F%98%80"
        );
        assert_eq!(encode("a\"b%c"), "a%22b%25c");
        let decoded = |text: &str| decode(text.as_bytes());
        assert_eq!(
            decoded("Euro%20%e2%82%ac%20%F0%9F%98%80").as_deref(),
            Some("Euro \u{20ac} \u{1f600}")
        );
        assert_eq!(decoded("\"a \\\"b\\\\ %25\"").as_deref(), Some("a \"b\\ %"));
        assert_eq!(decoded("100%").as_deref(), Some("100%"));
        assert_eq!(decoded("%2525").as_deref(), Some("%25"));
        assert_eq!(decoded("%C3%28"), None);
    }

    #[test]
    fn every_required_attribute_is_missed_by_name() {
        let flaws = read([].into_iter(), Vec::new()).expect_err("is empty");
        let missed: Vec<_> = flaws.list().iter().map(|flaw| flaw.at.as_str()).collect();
        assert_eq!(missed, REQUIRED);
    }
}
