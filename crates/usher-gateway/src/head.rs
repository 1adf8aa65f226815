//! The heads of requests and replies: what is taken out of them, and what is put in.
//!
//! Taken out on both ways: headers that belong to one connection (RFC 9110, 7.6.1), and everything
//! under `usher-`, so that neither a client nor a function can forge what the platform says. Of a
//! request also what a client claims about forwarding.
//!
//! A target's own authority is the one that counts, and becomes `Host` (RFC 9112, 3.2.2; RFC 9113,
//! 8.3.1), so that a function sees one name only. Cookies that HTTP/2 may split are put together
//! again.
//!
//! Deliberately absent: the framing of bodies, which is hyper's and `strict`'s.

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, request, response};
use usher_api::upgrade::{permits, protocols};
use usher_core::fault::Fault;
use usher_core::key::{Key, KeyFlaw, KeySource};
use usher_core::proof::{PROOF_HEADER, Proof};
use usher_core::trace::{TRACEPARENT, TraceParent};

use crate::stamp::{Stamp, proof_value};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static TRACE_PARENT: HeaderName = HeaderName::from_static(TRACEPARENT);
static TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
static USHER_RUN: HeaderName = HeaderName::from_static(PROOF_HEADER);

/// How many headers a request is given at most.
const HEADERS_ADDED_MAX: usize = 8;

/// How many headers a request may have: hyper's own bound in HTTP/1.1.
pub(crate) const HEADERS_MAX: u32 = 100;

/// Whose head it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Function,
}

/// What one look over a head tells.
pub(crate) struct Look {
    /// Names and values together, in bytes.
    pub(crate) bytes: u64,
    /// How many there are.
    pub(crate) count: u32,
    /// Whether there is anything to take out.
    pub(crate) foul: bool,
}

/// Looks a head over without changing it.
pub(crate) fn look(headers: &HeaderMap, side: Side) -> Look {
    let mut look = Look {
        bytes: 0,
        count: 0,
        foul: false,
    };
    for (name, value) in headers {
        let name = name.as_str();
        look.bytes += (name.len() + value.len()) as u64;
        look.count += 1;
        look.foul |= is_foul(name, side);
    }
    look
}

/// Whether a header ends here. Names are lower-case, as `http` keeps them.
fn is_foul(name: &str, side: Side) -> bool {
    match name.as_bytes().first() {
        Some(b'c') => name == "connection",
        Some(b'e') => side == Side::Client && name == "expect",
        Some(b'f') => side == Side::Client && name == "forwarded",
        Some(b'k') => name == "keep-alive",
        Some(b'p') => name == "proxy" || name.starts_with("proxy-"),
        Some(b't') => name == "te" || name == "transfer-encoding",
        Some(b'u') => name == "upgrade" || name.starts_with("usher-"),
        Some(b'x') => side == Side::Client && name.starts_with("x-forwarded-"),
        _ => false,
    }
}

/// Takes out what ends here, and what the Connection header names.
pub(crate) fn cleanse(headers: &mut HeaderMap, side: Side) {
    let trailers = side == Side::Client && lists(headers, &TE, "trailers");
    let mut doomed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_foul(name.as_str(), side))
        .cloned()
        .collect();
    for value in headers.get_all(CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',');
        doomed.extend(names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()));
    }
    for name in doomed {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether a header's list has an element.
fn lists(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let mut elements = value.as_bytes().split(|byte| *byte == b',');
        elements.any(|one| one.trim_ascii().eq_ignore_ascii_case(element.as_bytes()))
    })
}

/// The protocols that a client would change to, if the request is one that may: WebSocket, or
/// another that is not HTTP or TLS again, which would carry requests past the gateway.
pub(crate) fn asked_upgrade(version: http::Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut asked = headers.get_all(UPGRADE).iter();
    let (Some(value), None) = (asked.next(), asked.next()) else {
        return None;
    };
    let may = version == http::Version::HTTP_11
        && lists(headers, &CONNECTION, "upgrade")
        && may_change_to(value);
    may.then(|| value.clone())
}

/// Whether an Upgrade header names protocols, and only such as carry no requests.
pub(crate) fn may_change_to(value: &HeaderValue) -> bool {
    let tunnels = |protocol: &[u8]| {
        let name = protocol.to_ascii_lowercase();
        name.starts_with(b"h2") || name.starts_with(b"http") || name.starts_with(b"tls")
    };
    let mut named = protocols(value).peekable();
    named.peek().is_some() && !named.any(tunnels)
}

/// The authority that a request is meant for: of its target, else of its only Host header. In
/// HTTP/2 both must say the same where both are there; HTTP/1.1 demands the second and ignores it.
pub(crate) fn authority(parts: &request::Parts) -> Result<Authority, Fault> {
    let scheme = parts.uri.scheme_str();
    if !matches!(scheme, None | Some("http" | "https")) {
        return Err(Fault::BadRequest);
    }
    let target = parts.uri.authority().cloned();
    let mut hosts = parts.headers.get_all(HOST).iter();
    let authority = match (target, hosts.next(), hosts.next()) {
        (Some(target), Some(host), None) => {
            let text = target.as_str().as_bytes();
            let same = text.eq_ignore_ascii_case(host.as_bytes());
            (same || parts.version != http::Version::HTTP_2).then_some(target)
        }
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        (Some(target), None, _) if parts.version != http::Version::HTTP_11 => Some(target),
        (None, None, _) if parts.version < http::Version::HTTP_11 => {
            Some(Authority::from_static("localhost"))
        }
        _ => None,
    };
    authority
        .filter(|authority| !authority.as_str().contains('@'))
        .ok_or(Fault::BadRequest)
}

/// Puts the cookies together that HTTP/2 may split (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Fault> {
    let crumbs: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1 {
        let cookie = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]));
        headers.insert(COOKIE, cookie.map_err(|_| Fault::BadRequest)?);
    }
    Ok(())
}

/// Whether a request has more headers than are read. Cookies that HTTP/2 has split are one.
pub(crate) fn is_too_large(headers: &HeaderMap, look: &Look) -> bool {
    look.count > HEADERS_MAX && {
        let crumbs = headers.get_all(COOKIE).iter().count();
        look.count - u32::try_from(crumbs.saturating_sub(1)).unwrap_or(0) > HEADERS_MAX
    }
}

/// The key that a request names. One that the client declares to belong to the connection alone is
/// none: the function would not see it.
pub(crate) fn key(headers: &HeaderMap, source: &KeySource) -> Result<Key, Fault> {
    let name = source.header();
    let values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let key = match lists(headers, &CONNECTION, name) {
        true => Err(KeyFlaw::Missing),
        false => Key::one_of(values),
    };
    key.map_err(|flaw| Fault::BadKey {
        header: name.to_owned(),
        flaw,
    })
}

/// What the gateway knows of a request beyond its head.
pub(crate) struct Arrived<'a> {
    pub(crate) authority: Authority,
    /// What follows the function's address in the path, where a prefix names the function.
    pub(crate) path: PathAndQuery,
    pub(crate) prefix: Option<HeaderValue>,
    pub(crate) forwarded_for: &'a HeaderValue,
    /// Whether it came encrypted.
    pub(crate) secure: bool,
    pub(crate) foul: bool,
    /// The protocols that the function is offered to change to.
    pub(crate) upgrade: Option<HeaderValue>,
}

/// Makes the head what the function is to see.
pub(crate) fn request(
    parts: &mut request::Parts,
    arrived: Arrived<'_>,
    stamp: &Stamp,
) -> Result<(), Fault> {
    let headers = &mut parts.headers;
    // Once, instead of growing and hashing anew while they are put in.
    headers.reserve(HEADERS_ADDED_MAX);
    if arrived.foul {
        cleanse(headers, Side::Client);
    }
    if parts.uri.authority().is_some() {
        let host = HeaderValue::from_str(arrived.authority.as_str());
        headers.insert(HOST, host.map_err(|_| Fault::BadRequest)?);
    }
    if parts.version == http::Version::HTTP_2 {
        join_cookies(headers)?;
    }
    if let Some(protocols) = arrived.upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocols);
    }
    if !is_traced(headers) {
        // The state belongs to a trace that nobody can read.
        headers.remove(&TRACE_STATE);
        put(headers, &TRACE_PARENT, stamp.trace_parent());
    }
    put(headers, &X_REQUEST_ID, stamp.request_id());
    headers.insert(&X_FORWARDED_FOR, arrived.forwarded_for.clone());
    let (proto, scheme) = match arrived.secure {
        true => ("https", Scheme::HTTPS),
        false => ("http", Scheme::HTTP),
    };
    headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.insert(&X_FORWARDED_HOST, host);
    }
    if let Some(prefix) = arrived.prefix {
        headers.insert(&X_FORWARDED_PREFIX, prefix);
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(scheme);
    uri.authority = Some(arrived.authority);
    uri.path_and_query = Some(arrived.path);
    parts.uri = Uri::from_parts(uri).map_err(|_| Fault::BadRequest)?;
    Ok(())
}

/// Whether the client's trace can be read, and is one only.
fn is_traced(headers: &HeaderMap) -> bool {
    let mut parents = headers.get_all(&TRACE_PARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return false;
    };
    parent
        .to_str()
        .is_ok_and(|text| text.parse::<TraceParent>().is_ok())
}

/// Makes the function's head what the caller is to see, and tells how many bytes the caller is
/// owed where that is known. `body_bytes` is the body's length where that is known; a *bodiless*
/// reply (to HEAD, or 204, or 304) may announce a length that it does not send.
pub(crate) fn reply(
    parts: &mut response::Parts,
    body_bytes: Option<u64>,
    bodiless: bool,
) -> Result<Option<u64>, MalformedReply> {
    if parts.status.is_informational() {
        return Err(MalformedReply::Status(parts.status.as_u16()));
    }
    if look(&parts.headers, Side::Function).foul {
        cleanse(&mut parts.headers, Side::Function);
    }
    let Some(claimed) = content_length(&parts.headers)? else {
        return Ok(body_bytes);
    };
    if parts.status == StatusCode::NO_CONTENT {
        parts.headers.remove(CONTENT_LENGTH);
    }
    match body_bytes {
        Some(known) if known != claimed && !(bodiless && known == 0) => {
            Err(MalformedReply::ContentLength)
        }
        _ => Ok(Some(claimed)),
    }
}

/// Makes the head of a 101 what the caller is to see: it changes to one of the protocols asked for.
pub(crate) fn switch(
    parts: &mut response::Parts,
    asked: &HeaderValue,
) -> Result<(), MalformedReply> {
    let chosen = parts.headers.get(UPGRADE).cloned();
    let chosen = chosen.filter(|chosen| permits(asked, chosen));
    let chosen = chosen.ok_or(MalformedReply::Protocol)?;
    cleanse(&mut parts.headers, Side::Function);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(UPGRADE, chosen);
    let connection = HeaderValue::from_static("upgrade");
    parts.headers.insert(CONNECTION, connection);
    Ok(())
}

/// Adds to a reply what the platform says.
pub(crate) fn sign(headers: &mut HeaderMap, stamp: &Stamp, proof: Option<&Proof>) {
    put(headers, &X_REQUEST_ID, stamp.request_id());
    if let Some(proof) = proof {
        put(headers, &USHER_RUN, proof_value(proof));
    }
}

/// Why a function's reply cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedReply {
    #[error("the function answered with status {0}, which only a connection may")]
    Status(u16),
    #[error("the function changed to a protocol that the caller did not ask for")]
    Protocol,
    #[error("the function's content-length is not one number, or not that of its body")]
    ContentLength,
}

/// The length that a head claims, where it claims one.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, MalformedReply> {
    let mut claimed = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let length = std::str::from_utf8(digits).ok().and_then(|text| {
            // `parse` would also take a sign.
            digits.iter().all(u8::is_ascii_digit).then_some(text)
        });
        let length = length.and_then(|text| text.parse::<u64>().ok());
        match (length, claimed) {
            (Some(length), None) => claimed = Some(length),
            (Some(length), Some(before)) if length == before => {}
            _ => return Err(MalformedReply::ContentLength),
        }
    }
    Ok(claimed)
}

fn put(headers: &mut HeaderMap, name: &'static HeaderName, value: Option<HeaderValue>) {
    // The values are digits and letters; none of them fails to be made.
    if let Some(value) = value {
        headers.insert(name, value);
    }
}
