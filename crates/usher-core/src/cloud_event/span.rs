//! Where the parts of a JSON text stand, so that they can be passed on letter by letter.
//!
//! Deliberately absent: what a part means, and whether it is legal. A text is checked whole first.

use serde::de::IgnoredAny;

/// The members of an object: each name, and the text of its value. The text is checked first.
///
/// # Errors
/// What is wrong with it.
pub(super) fn members(text: &str) -> Result<Vec<(String, &str)>, String> {
    check(text)?;
    let mut walk = Walk { rest: text.trim() };
    if !walk.take('{') {
        return Err("it is no object".to_owned());
    }
    let mut members = Vec::new();
    while !walk.take('}') {
        let name = walk.value();
        let name = serde_json::from_str(name).map_err(|error| error.to_string())?;
        walk.take(':');
        members.push((name, walk.value()));
        walk.take(',');
    }
    Ok(members)
}

/// The elements of a list: the text of each. The text is checked first.
///
/// # Errors
/// What is wrong with it.
pub(super) fn elements(text: &str) -> Result<Vec<&str>, String> {
    check(text)?;
    let mut walk = Walk { rest: text.trim() };
    if !walk.take('[') {
        return Err("it is no list".to_owned());
    }
    let mut elements = Vec::new();
    while !walk.take(']') {
        elements.push(walk.value());
        walk.take(',');
    }
    Ok(elements)
}

/// Whether a text is JSON.
pub(super) fn check(text: &str) -> Result<(), String> {
    let checked = serde_json::from_str::<IgnoredAny>(text);
    checked
        .map(drop)
        .map_err(|error| format!("it is not JSON: {error}"))
}

/// A way through a text that is JSON.
struct Walk<'a> {
    rest: &'a str,
}

impl<'a> Walk<'a> {
    /// Steps over space, and over `letter` if it is there.
    fn take(&mut self, letter: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(letter) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            // What ends too early is no JSON, and would be walked for ever.
            None => self.rest.is_empty(),
        }
    }

    /// Steps over a value, and answers its text.
    fn value(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
        let mut end = self.rest.len();
        for (at, byte) in self.rest.bytes().enumerate() {
            if escaped {
                escaped = false;
                continue;
            }
            match byte {
                b'\\' if quoted => escaped = true,
                b'"' => {
                    quoted = !quoted;
                    if !quoted && depth == 0 {
                        end = at + 1;
                        break;
                    }
                }
                _ if quoted => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        end = at + 1;
                        break;
                    }
                }
                b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_letter_by_letter() {
        let text =
            " { \"a\" : 1.50 ,\"b\":[{\"c\":\"}]\\\"\"}],\"\\u0064\":\"x\\\\\",\"e\":null } ";
        let found = members(text).expect("is an object");
        let expected = [
            ("a", "1.50"),
            ("b", "[{\"c\":\"}]\\\"\"}]"),
            ("d", "\"x\\\\\""),
            ("e", "null"),
        ];
        assert_eq!(found.len(), expected.len());
        for ((name, value), wanted) in found.iter().zip(expected) {
            assert_eq!((name.as_str(), *value), wanted);
        }
        assert_eq!(members("{}").map(|all| all.len()), Ok(0));
        assert_eq!(elements(" [ ] ").map(|all| all.len()), Ok(0));
        assert_eq!(
            elements("[1,{\"a\":[2]} , 3]"),
            Ok(vec!["1", "{\"a\":[2]}", "3"])
        );
    }

    #[test]
    fn what_is_no_such_json_is_refused() {
        for text in ["", "{", "{\"a\"}", "[1]", "{\"a\":1}x", "1"] {
            assert!(members(text).is_err(), "{text}");
        }
        for text in ["", "[", "[1,]", "{}"] {
            assert!(elements(text).is_err(), "{text}");
        }
    }
}
