//! Bodies of a program's calls, read to a bound and no further.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// How much of a body that nobody wants is read, so that the program gets its answer before its
/// connection is closed, in bytes.
const UNWANTED_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Why a body was not read.
pub(super) enum Unread {
    TooLarge,
    Cut,
}

/// A body to its end, if it is no longer than `max_bytes`.
pub(super) async fn read(body: &mut Incoming, max_bytes: usize) -> Result<Bytes, Unread> {
    let announced = body.size_hint().lower();
    if announced > max_bytes as u64 {
        return Err(Unread::TooLarge);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unread::Cut)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if read.is_empty() && data.len() as u64 == announced {
            return Ok(data);
        }
        if read.len() + data.len() > max_bytes {
            return Err(Unread::TooLarge);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Reads what is left of a body that nobody wants, up to a bound.
pub(super) async fn skip(body: &mut Incoming) {
    let mut skipped = 0;
    while skipped < UNWANTED_MAX_BYTES {
        let Some(Ok(frame)) = body.frame().await else {
            return;
        };
        skipped += frame.data_ref().map_or(0, Bytes::len);
    }
}
