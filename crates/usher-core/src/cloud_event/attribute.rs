//! What an attribute may be called, and which values it may have.

/// The only version of the specification that is spoken.
const SPEC_VERSION: &str = "1.0";
/// The longest name, in bytes. The specification asks for 20 and forbids no more.
const NAME_MAX_BYTES: usize = 64;

/// Checks an attribute, and says what is wrong with it.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.bytes().all(letter) {
        return Err(format!(
            "no name of an attribute: 1 to {NAME_MAX_BYTES} letters a-z and digits"
        ));
    }
    if value.chars().any(is_forbidden) {
        return Err("the value holds a character that no attribute may have".to_owned());
    }
    let refuse = |wrong: bool, text: &str| match wrong {
        true => Err(text.to_owned()),
        false => Ok(()),
    };
    match name {
        "specversion" if value != SPEC_VERSION => {
            Err(format!("{value:?} is not served; {SPEC_VERSION:?} is"))
        }
        "id" | "type" | "subject" => refuse(value.is_empty(), "it is empty"),
        "source" => refuse(!is_reference(value), "no URI reference"),
        "dataschema" => refuse(!is_reference(value) || !value.contains(':'), "no URI"),
        "time" => refuse(!is_time(value), "no time, such as 2026-11-29T01:02:03Z"),
        "datacontenttype" => refuse(!value.contains('/'), "no media type"),
        "data" => refuse(true, "no attribute may be called so"),
        _ => Ok(()),
    }
}

/// Control characters, and code points that are none.
fn is_forbidden(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

fn is_reference(text: &str) -> bool {
    let forbidden = |c: char| c.is_whitespace() || "\"<>\\^`{|}".contains(c);
    !text.is_empty() && !text.contains(forbidden)
}

/// Whether `text` has the form of RFC 3339, without asking whether there was such a day.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((head, rest)) = bytes.split_at_checked(19) else {
        return false;
    };
    let fits = |at: usize, byte: u8| match at {
        4 | 7 => byte == b'-',
        10 => byte.eq_ignore_ascii_case(&b't'),
        13 | 16 => byte == b':',
        _ => byte.is_ascii_digit(),
    };
    let head_fits = head.iter().enumerate().all(|(at, byte)| fits(at, *byte));
    let zone = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit());
            let digits = digits.count();
            match digits {
                0 => return false,
                digits => &fraction[digits..],
            }
        }
        None => rest,
    };
    head_fits && is_zone(zone)
}

fn is_zone(zone: &[u8]) -> bool {
    match zone {
        b"Z" | b"z" => true,
        [b'+' | b'-', h, i, b':', m, n] => [h, i, m, n].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_form_of_rfc_3339() {
        for right in [
            "2018-04-05T17:31:00Z",
            "2018-04-05t17:31:00.123456789+02:00",
            "2018-04-05T17:31:00-11:59",
        ] {
            assert!(is_time(right), "{right}");
        }
        for wrong in [
            "",
            "2018-04-05",
            "2018-04-05 17:31:00Z",
            "2018-04-05T17:31:00",
            "2018-04-05T17:31:00.Z",
            "2018-04-05T17:31:00+2:00",
            "2018-04-05T17:31:0\u{e9}Z",
        ] {
            assert!(!is_time(wrong), "{wrong}");
        }
    }

    #[test]
    fn names_and_values_are_judged() {
        for (name, value) in [
            ("id", "a"),
            ("source", "/here"),
            ("dataschema", "https://a.test/s"),
            ("comexample1", ""),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}");
        }
        for (name, value) in [
            ("", "x"),
            ("Upper", "x"),
            ("with-dash", "x"),
            ("id", ""),
            ("id", "a\nb"),
            ("source", ""),
            ("source", "a b"),
            ("dataschema", "/relative"),
            ("specversion", "0.3"),
            ("datacontenttype", "json"),
            ("data", "x"),
            ("time", "now"),
        ] {
            assert!(check(name, value).is_err(), "{name} {value}");
        }
    }
}
