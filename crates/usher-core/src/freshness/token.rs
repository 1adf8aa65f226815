//! The pieces of a text that look as if they had been drawn, or measured.
//!
//! A piece counts if it has at least some 32 bits that another one could differ in. Short numbers,
//! words, and addresses of memory do not: the latter differ from one start to the next because the
//! kernel wants them to, and are no secret of the function.
//!
//! Deliberately absent: where in an answer a piece stands (`slots`).

/// Digits from which on a number counts: 33 bits. Sizes of memory have fewer.
const NUMBER_MIN_DIGITS: usize = 10;
/// Characters from which on a word with digits counts; eight hexadecimal digits have 32 bits.
const WORD_MIN_CHARS: usize = 8;
/// Different characters that such a word has at least.
const WORD_MIN_DISTINCT: usize = 5;
/// The same for a word without digits, which has to have both cases mixed.
const MIXED_MIN_CHARS: usize = 16;
/// Letters of each case in such a word.
const MIXED_MIN_EACH: usize = 3;
/// Hexadecimal digits of an address.
const ADDRESS_MAX_DIGITS: usize = 12;
/// Where programs have their memory, as decimal numbers.
const ADDRESSES: std::ops::RangeInclusive<u64> = 0x5500_0000_0000..=0x7fff_ffff_ffff;
/// How far from now a number may be to be taken for a time, in seconds.
const NEAR_S: u64 = 86_400;
/// A number of seconds in these parts: of a second, of a thousandth, of a millionth, and less.
const PARTS: [u64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// A piece of a text that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) shape: Shape,
    pub(super) text: String,
    /// Where it begins, in bytes.
    pub(super) at: usize,
}

/// What a piece is made of. Pieces are numbered by shape, so that words do not shift numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Shape {
    Number,
    Word,
}

/// The pieces of a text that count, in their order.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Token> {
    let mut next = 0;
    // Each piece has the character that ends it.
    let pieces = text.split_inclusive(|character| !belongs(character));
    pieces.filter_map(move |piece| {
        let begin = next;
        next += piece.len();
        let piece = piece.trim_end_matches(|character| !belongs(character) || is_edge(character));
        let bare = piece.trim_start_matches(is_edge);
        Some(Token {
            shape: shape(bare)?,
            text: bare.to_owned(),
            at: begin + piece.len() - bare.len(),
        })
    })
}

fn belongs(character: char) -> bool {
    character.is_ascii_alphanumeric() || is_edge(character)
}

/// What may stand within a piece, and does not count at its ends.
fn is_edge(character: char) -> bool {
    matches!(character, '-' | '_' | '.' | '~' | '+' | '/' | '=' | ':')
}

/// What a piece is made of, if it counts.
fn shape(piece: &str) -> Option<Shape> {
    let digits = piece.bytes().filter(u8::is_ascii_digit).count();
    let letters = piece.bytes().filter(u8::is_ascii_alphabetic).count();
    if letters == 0 || (digits > 0 && piece.parse::<f64>().is_ok()) {
        return is_number(piece, digits).then_some(Shape::Number);
    }
    is_word(piece, digits).then_some(Shape::Word)
}

fn is_number(piece: &str, digits: usize) -> bool {
    let address = piece
        .parse()
        .is_ok_and(|number| ADDRESSES.contains(&number));
    digits >= NUMBER_MIN_DIGITS && !address
}

fn is_word(piece: &str, digits: usize) -> bool {
    let address = piece.strip_prefix("0x").is_some_and(|rest| {
        rest.len() <= ADDRESS_MAX_DIGITS && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    let upper = piece.bytes().filter(u8::is_ascii_uppercase).count();
    let lower = piece.bytes().filter(u8::is_ascii_lowercase).count();
    let mixed = piece.len() >= MIXED_MIN_CHARS && upper.min(lower) >= MIXED_MIN_EACH;
    let long = piece.len() >= WORD_MIN_CHARS;
    long && !address && (digits > 0 || mixed) && distinct(piece) >= WORD_MIN_DISTINCT
}

fn distinct(piece: &str) -> usize {
    let mut bytes: Vec<u8> = piece.bytes().collect();
    bytes.sort_unstable();
    bytes.dedup();
    bytes.len()
}

/// Whether a piece reads as a time near now: as seconds since 1970 or parts of them, or as a date.
pub(super) fn is_time(piece: &str, now_s: u64) -> bool {
    let whole = piece.split('.').next().unwrap_or_default();
    let near = |number: u64| {
        let seconds = PARTS.iter().map(|parts| number / parts);
        seconds.into_iter().any(|it| it.abs_diff(now_s) <= NEAR_S)
    };
    whole.parse().is_ok_and(near) || is_date(piece)
}

/// Whether it begins as 2026-11-28 or holds 18:30:00.
fn is_date(piece: &str) -> bool {
    let like = |text: &[u8], form: &[u8]| {
        text.len() == form.len()
            && text.iter().zip(form).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                form => byte == form,
            })
    };
    let bytes = piece.as_bytes();
    bytes
        .get(..10)
        .is_some_and(|date| like(date, b"0000-00-00"))
        || bytes.windows(8).any(|part| like(part, b"00:00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        tokens(text).map(|token| token.text).collect()
    }

    #[test]
    fn what_looks_drawn_counts_and_nothing_else() {
        for drawn in [
            "3f2a91c0",
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "0.8444218515250481",
            "-0.8444218515250481",
            "9.313225746154785e-10",
            "1764353627",
            "tmpk3j2_x9a",
            "qL8fVbC+/3k=",
            "QWxhZGRpbjpvcGVuIHNlc2FtZQ",
            "2026-11-28T18:13:47.123456Z",
        ] {
            let expected = drawn.trim_matches(is_edge).to_owned();
            assert_eq!(texts(drawn), [expected], "{drawn}");
        }
        for plain in [
            "",
            "hello",
            "internationalization",
            "Content-Type",
            "1",
            "123456789",
            "18:13:47",
            "4521984",
            "1.2.3",
            "0x7f12a4b3c5d0",
            "140234567890123",
            "aaaaaaa1",
        ] {
            assert_eq!(texts(plain), <[&str; 0]>::default(), "{plain}");
        }
    }

    #[test]
    fn pieces_are_found_where_they_stand() {
        let text = "Überall <b>id=3f2a91c0d4</b>, dann \"0.8444218515250481\".";
        let found: Vec<_> = tokens(text).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        for token in found {
            assert!(text[token.at..].starts_with(&token.text), "{token:?}");
        }
    }

    #[test]
    fn times_near_now_are_known() {
        let now_s = 1_764_353_627;
        for time in [
            "1764353627",
            "1764353620.1234",
            "1764353627123",
            "1764353627123456789",
            "2026-11-28T18:13:47.123456Z",
            "18:13:47.123456",
        ] {
            assert!(is_time(time, now_s), "{time}");
        }
        for other in ["1264353627", "3f2a91c0", "0.8444218515250481", "2026-1128"] {
            assert!(!is_time(other, now_s), "{other}");
        }
    }
}
