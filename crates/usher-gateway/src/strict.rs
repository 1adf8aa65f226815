//! A look at the bytes of HTTP/1.1 before they are parsed: what two parsers could read in two ways
//! is refused.
//!
//! ```text
//!   Head ─┬ no body ─────────────► Head        any line: a line feed alone, or framing that says
//!         ├ content-length ► Body ► Head                 two things ─► Broken (the parser refuses)
//!         ├ chunked ─► Size ⇄ Data, Trailers ► Head
//!         └ may change the protocol ► Lent
//! ```
//!
//! The parser behind it takes a line feed alone for the end of a line, forgets a content-length
//! beside chunks, and takes one that is said twice for one. RFC 9112 allows all of that to a server
//! that nobody stands before. A proxy that reads the same bytes otherwise would let a request pass
//! inside of another one, so none of it is accepted here: the end of the offending line is made a
//! zero byte, which the parser answers with 400.
//!
//! Deliberately absent: everything that the parser refuses by itself, and copies: a line that comes
//! in one piece is looked at where it is.

use http::HeaderValue;

use crate::head::may_change_to;

/// The longest line of a chunk's size, extensions included, in bytes.
const SIZE_LINE_MAX_BYTES: usize = 4 * 1024;

/// Follows the bytes of one connection.
pub(crate) struct Strict {
    at: At,
    /// The beginning of a line that has not ended yet.
    line: Vec<u8>,
    line_max_bytes: usize,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before a request's line.
    Idle,
    Head,
    Body(u64),
    Size,
    /// A chunk with its end.
    Data(u64),
    Trailers,
    /// What follows is of another protocol.
    Lent,
    /// What follows is nobody's.
    Off,
}

/// What a head says of its body and of what follows.
#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    eleven: bool,
    upgrade: Option<bool>,
    wants_change: bool,
}

/// The line can be read in two ways.
struct Ambiguous;

impl Strict {
    /// Lines longer than a head may be are the parser's to refuse.
    pub(crate) fn new(head_max_bytes: u32) -> Self {
        Self {
            at: At::Idle,
            line: Vec::new(),
            line_max_bytes: usize::try_from(head_max_bytes).unwrap_or(usize::MAX),
            framing: Framing::default(),
        }
    }

    /// Whether the client may be in the middle of a request.
    pub(crate) fn is_within(&self) -> bool {
        !matches!(self.at, At::Idle | At::Lent)
    }

    /// Looks at the next bytes, and spoils them where they are ambiguous.
    pub(crate) fn pass(&mut self, bytes: &mut [u8]) {
        let mut from = 0;
        while from < bytes.len() {
            match self.at {
                At::Off | At::Lent => return,
                At::Body(left) | At::Data(left) => {
                    let here = (bytes.len() - from) as u64;
                    let left_after = left.saturating_sub(here);
                    let taken = usize::try_from(left - left_after).unwrap_or(bytes.len());
                    from += taken;
                    self.at = match (self.at, left_after) {
                        (At::Body(_), 0) => At::Idle,
                        (At::Body(_), left) => At::Body(left),
                        (_, 0) => At::Size,
                        (_, left) => At::Data(left),
                    };
                }
                At::Idle | At::Head | At::Size | At::Trailers => {
                    let Some(length) = bytes[from..].iter().position(|byte| *byte == b'\n') else {
                        return self.keep(&bytes[from..]);
                    };
                    let end = from + length;
                    if self.end_line(&bytes[from..end]).is_err() {
                        bytes[end] = 0;
                        self.at = At::Off;
                        return;
                    }
                    from = end + 1;
                }
            }
        }
    }

    /// Keeps a line's beginning until its end comes.
    fn keep(&mut self, piece: &[u8]) {
        let most = match self.at {
            At::Size => SIZE_LINE_MAX_BYTES,
            _ => self.line_max_bytes,
        };
        if self.line.len() + piece.len() > most {
            // The parser has the same bound, and ends the connection at it.
            self.at = At::Off;
            self.line = Vec::new();
            return;
        }
        self.line.extend_from_slice(piece);
    }

    /// A line has ended; `piece` is what came of it last, without the line feed.
    fn end_line(&mut self, piece: &[u8]) -> Result<(), Ambiguous> {
        if self.line.is_empty() {
            return self.read(piece);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(piece);
        let read = self.read(&line);
        line.clear();
        self.line = line;
        read
    }

    fn read(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        let line = line.strip_suffix(b"\r").ok_or(Ambiguous)?;
        self.at = match (self.at, line.is_empty()) {
            (At::Idle, true) | (At::Trailers, true) => At::Idle,
            (At::Idle, false) => {
                self.framing = Framing {
                    eleven: line.ends_with(b" HTTP/1.1"),
                    ..Framing::default()
                };
                At::Head
            }
            (At::Head, true) => self.framing.what_follows()?,
            (At::Head, false) => {
                self.framing.read(line)?;
                At::Head
            }
            (At::Size, _) => match size(line)? {
                0 => At::Trailers,
                bytes => At::Data(bytes.checked_add(2).ok_or(Ambiguous)?),
            },
            (at, _) => at,
        };
        Ok(())
    }
}

impl Framing {
    /// Reads one header, if it is one that says something here.
    fn read(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        if !matches!(
            line.first().map(u8::to_ascii_lowercase),
            Some(b'c' | b't' | b'u')
        ) {
            return Ok(());
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Ok(());
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).ok_or(Ambiguous)?;
            if self.length.replace(length).is_some() {
                return Err(Ambiguous);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            let value = HeaderValue::from_bytes(value);
            let may = self.upgrade.is_none() && value.is_ok_and(|value| may_change_to(&value));
            self.upgrade = Some(may);
        } else if name.eq_ignore_ascii_case(b"connection") {
            let mut names = value.split(|byte| *byte == b',');
            self.wants_change |=
                names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
        }
        Ok(())
    }

    fn what_follows(&self) -> Result<At, Ambiguous> {
        let changes = self.eleven && self.wants_change && self.upgrade == Some(true);
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Ambiguous),
            (true, None) => Ok(At::Size),
            (false, None | Some(0)) if changes => Ok(At::Lent),
            (false, None | Some(0)) => Ok(At::Idle),
            (false, Some(bytes)) => Ok(At::Body(bytes)),
        }
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // `parse` would also take a sign.
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A chunk's size, whose extensions say nothing here.
fn size(line: &[u8]) -> Result<u64, Ambiguous> {
    let digits = line
        .split(|byte| matches!(byte, b';' | b' ' | b'\t'))
        .next();
    let digits = digits.unwrap_or_default();
    let legal = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = legal.then_some(digits).ok_or(Ambiguous)?;
    let digits = std::str::from_utf8(digits).map_err(|_| Ambiguous)?;
    u64::from_str_radix(digits, 16).map_err(|_| Ambiguous)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What becomes of bytes that come in pieces of one length.
    fn passed(text: &[u8], piece_bytes: usize) -> (Vec<u8>, At) {
        let mut strict = Strict::new(1_000);
        let mut bytes = text.to_vec();
        for piece in bytes.chunks_mut(piece_bytes) {
            strict.pass(piece);
        }
        (bytes, strict.at)
    }

    #[test]
    fn plain_requests_pass_one_after_the_other_in_whichever_pieces_they_come() {
        let text = b"\r\nGET / HTTP/1.1\r\nhost: a\r\ncontent-lengths: 9\r\n\r\n\
            POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\nb\n\
            POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
            2;x=\"y\"\r\n\n\n\r\nA\r\n0123456789\r\n0\r\ntrailer: 1\r\n\r\n\
            GET / HTTP/1.0\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n\
            GET / HTTP/1.1\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n\
            POST / HTTP/1.1\r\nupgrade: x\r\nconnection: upgrade\r\ncontent-length: 1\r\n\r\n\n";
        for piece_bytes in 1..text.len() {
            let (bytes, at) = passed(text, piece_bytes);
            assert_eq!((bytes.as_slice(), at), (&text[..], At::Idle));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_spoilt() {
        for head in [
            "GET / HTTP/1.1\n",
            "\nGET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\na: b\nc: d\r\n",
            "GET / HTTP/1.1\r\na: b\r\n\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1, 1\r\n",
            "POST / HTTP/1.1\r\ncontent-length: +1\r\n",
            "POST / HTTP/1.1\r\ncontent-length:\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\nTransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0x1\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\n",
            "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n",
        ] {
            for piece_bytes in 1..head.len() {
                let (bytes, at) = passed(head.as_bytes(), piece_bytes);
                assert_eq!(at, At::Off, "{head:?}");
                assert_eq!(
                    bytes.iter().filter(|byte| **byte == 0).count(),
                    1,
                    "{head:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_looked_at_once_the_protocol_may_change() {
        let text = b"GET / HTTP/1.1\r\nupgrade: x\r\nconnection: a, Upgrade\r\n\r\n\n\n\n";
        assert_eq!(passed(text, 7), (text.to_vec(), At::Lent));
    }

    #[test]
    fn a_line_without_end_is_not_kept_beyond_the_bound() {
        let mut strict = Strict::new(1_000);
        for _ in 0..1_000 {
            strict.pass(&mut [b'x'; 100]);
        }
        assert_eq!(strict.at, At::Off);
        assert!(strict.line.capacity() <= 2_000);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "GET / HTTP/1.1\r\n", "\r\n", "\n", "content-length: 5\r\n", "a: b\r\n",
                "transfer-encoding: chunked\r\n", "5\r\n", "0\r\n", "hello", "\r", "upgrade: x\r\n",
                "connection: upgrade\r\n", ":", "content-length", "ff",
            ]), 0..20),
            piece_bytes in 1_usize..40,
        ) {
            let text = parts.concat();
            let whole = passed(text.as_bytes(), text.len().max(1));
            prop_assert_eq!(passed(text.as_bytes(), piece_bytes), whole);
        }
    }
}
