//! The heads of requests as a program gets them, and of its replies as they are passed on.
//!
//! What belongs to one connection (RFC 9110, 7.6.1) ends here both ways. The framing of the body is
//! made anew from the body itself, so that no header of the caller's can contradict it. `Host` is
//! the URI's authority, and `Forwarded` (RFC 7239) says what the gateway's `X-Forwarded-` headers
//! say.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, request,
    response,
};
use http_body::Body as _;
use usher_api::body::Body;
use usher_api::upgrade::permits;

use super::error::CallError;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
/// Headers of one connection, beside those that `Connection` names and `Upgrade`.
const OF_A_CONNECTION: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// A request as the program gets it.
pub(crate) struct Outgoing {
    head: request::Parts,
    body: Body,
    /// The protocols that the caller would change to.
    pub(crate) upgrade: Option<HeaderValue>,
}

impl Outgoing {
    /// Makes it of a request from the gateway, with an absolute URI.
    pub(crate) fn of(request: Request<Body>, upgradable: bool) -> Result<Self, CallError> {
        let mut outgoing = Self::plain(request, upgradable)?;
        forward(&mut outgoing.head.headers);
        Ok(outgoing)
    }

    /// Makes it of a request with an absolute URI that came on no gateway's way.
    pub(crate) fn plain(request: Request<Body>, upgradable: bool) -> Result<Self, CallError> {
        let (mut head, body) = request.into_parts();
        if head.method == Method::CONNECT {
            return Err(CallError::Request("CONNECT is for proxies"));
        }
        head.extensions.clear();
        head.version = Version::HTTP_11;
        let asked = head.headers.get(UPGRADE).cloned();
        let upgrade = asked.filter(|_| upgradable && body.is_end_stream());
        let trailers = lists(&head.headers, TE.as_str(), "trailers");
        cleanse(&mut head.headers);
        head.headers.remove(EXPECT);
        if let Some(authority) = head.uri.authority() {
            let host = HeaderValue::from_str(authority.as_str());
            let host = host.map_err(|_| CallError::Request("its authority is not a host"))?;
            head.headers.insert(HOST, host);
        }
        if let Some(protocols) = &upgrade {
            let connection = HeaderValue::from_static("upgrade");
            head.headers.insert(CONNECTION, connection);
            head.headers.insert(UPGRADE, protocols.clone());
        } else if trailers {
            let connection = HeaderValue::from_static("te");
            head.headers.insert(CONNECTION, connection);
            head.headers
                .insert(TE, HeaderValue::from_static("trailers"));
        }
        frame(&mut head, &body);
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        Ok(Self {
            head,
            body,
            upgrade,
        })
    }

    /// The same once more, if it may be sent twice and its body is at hand.
    pub(super) fn copy(&self) -> Option<Self> {
        let body = match &self.body {
            Body::Empty => Body::Empty,
            Body::Whole(bytes) => Body::Whole(bytes.clone()),
            Body::Incoming(_) | Body::Stream(_) => return None,
        };
        (self.head.method.is_idempotent() && self.upgrade.is_none()).then(|| Self {
            head: self.head.clone(),
            body,
            upgrade: None,
        })
    }

    pub(crate) fn into_request(self) -> Request<Body> {
        Request::from_parts(self.head, self.body)
    }
}

/// Says how long the body is, or that it comes in chunks.
fn frame(head: &mut request::Parts, body: &Body) {
    let announced = head.headers.remove(CONTENT_LENGTH).is_some();
    match body.size_hint().exact() {
        Some(0) if !announced && !matches!(head.method, Method::POST | Method::PUT) => {}
        Some(bytes) => {
            head.headers.insert(CONTENT_LENGTH, bytes.into());
        }
        None => {
            let chunked = HeaderValue::from_static("chunked");
            head.headers.insert(TRANSFER_ENCODING, chunked);
        }
    }
}

/// Writes `Forwarded` from what the gateway says.
fn forward(headers: &mut HeaderMap) {
    headers.remove(FORWARDED);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut pairs = Vec::new();
    if let Some(client) = text(X_FORWARDED_FOR) {
        // An IPv6 address is written in brackets there, and quoted for its colons.
        match client.contains(':') && !client.starts_with('[') {
            true => pairs.push(format!("for={}", quoted(&format!("[{client}]")))),
            false => pairs.push(format!("for={}", quoted(client))),
        }
    }
    if let Some(host) = text(X_FORWARDED_HOST) {
        pairs.push(format!("host={}", quoted(host)));
    }
    if let Some(scheme) = text(X_FORWARDED_PROTO) {
        pairs.push(format!("proto={}", quoted(scheme)));
    }
    if let (false, Ok(value)) = (pairs.is_empty(), HeaderValue::from_str(&pairs.join(";"))) {
        headers.insert(FORWARDED, value);
    }
}

/// A token as it is, anything else as a quoted string.
fn quoted(text: &str) -> String {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.is_empty() && text.bytes().all(token) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Makes a reply's head what is passed on. `asked`: the protocols that the caller would change to.
pub(crate) fn reply(
    head: &mut response::Parts,
    asked: Option<&HeaderValue>,
) -> Result<(), CallError> {
    let malformed = |text: &str| CallError::Malformed(text.to_owned());
    let chosen = head.headers.get(UPGRADE).cloned();
    let chunked = head.headers.contains_key(TRANSFER_ENCODING);
    if chunked && head.headers.contains_key(CONTENT_LENGTH) {
        return Err(malformed("it has a content-length and a transfer-encoding"));
    }
    if chunked && !lists(&head.headers, TRANSFER_ENCODING.as_str(), "chunked") {
        return Err(malformed("its transfer-encoding is not chunked"));
    }
    cleanse(&mut head.headers);
    head.extensions.clear();
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        head.version = Version::HTTP_11;
        return Ok(());
    }
    let (Some(asked), Some(chosen)) = (asked, chosen) else {
        return Err(malformed("it changes the protocol, which nobody asked for"));
    };
    if !permits(asked, &chosen) {
        return Err(malformed("it changes to a protocol that nobody asked for"));
    }
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(UPGRADE, chosen);
    let connection = HeaderValue::from_static("upgrade");
    head.headers.insert(CONNECTION, connection);
    Ok(())
}

fn elements(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let elements = value.as_bytes().split(|byte| *byte == b',');
    elements
        .map(<[u8]>::trim_ascii)
        .filter(|one| !one.is_empty())
}

/// Whether a header's list has an element.
pub(super) fn lists(headers: &HeaderMap, name: &str, element: &str) -> bool {
    let mut values = headers.get_all(name).into_iter().flat_map(elements);
    values.any(|one| one.eq_ignore_ascii_case(element.as_bytes()))
}

/// Takes out what belongs to one connection.
fn cleanse(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .into_iter()
        .flat_map(elements)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // These frame the message, whatever the header says.
        .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in OF_A_CONNECTION {
        headers.remove(name);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn forwarded_says_what_the_gateway_says_and_nothing_else() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, "for=forged".parse().unwrap());
        forward(&mut headers);
        assert_eq!(headers.get(FORWARDED), None);
        headers.insert(X_FORWARDED_FOR, "2001:db8::1".parse().unwrap());
        headers.insert(X_FORWARDED_HOST, "a.localhost:8080".parse().unwrap());
        headers.insert(X_FORWARDED_PROTO, "http".parse().unwrap());
        forward(&mut headers);
        let expected = r#"for="[2001:db8::1]";host="a.localhost:8080";proto=http"#;
        assert_eq!(headers.get(FORWARDED).unwrap(), expected);
        headers.insert(X_FORWARDED_HOST, r#"a"\;for=b"#.parse().unwrap());
        forward(&mut headers);
        let expected = r#"for="[2001:db8::1]";host="a\"\\;for=b";proto=http"#;
        assert_eq!(headers.get(FORWARDED).unwrap(), expected);
    }
}
