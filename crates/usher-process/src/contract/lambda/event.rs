//! An HTTP request made into the event of a function URL, format 2.0.
//!
//! Pure. The shape is AWS's; where its documents and what it was recorded to do differ, what it
//! does. Deliberately absent: reading the body, and any bound on it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Version, request};
use percent_encoding::percent_decode;
use serde::Serialize;
use usher_core::id::RequestId;

use super::about::{About, request_id};

const DEFAULT: &str = "$default";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'static str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<Cow<'a, str>>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<String, String>,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'static str,
    api_id: &'a str,
    authentication: Option<()>,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: String,
    route_key: &'static str,
    stage: &'static str,
    time: String,
    time_epoch: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: Cow<'a, str>,
    user_agent: Cow<'a, str>,
}

/// The event for a request whose body is `body`. `trace` goes into its headers, as AWS puts it.
pub(super) fn event(
    about: &About,
    id: RequestId,
    head: &request::Parts,
    trace: Option<&str>,
    body: &Bytes,
    now: SystemTime,
) -> Vec<u8> {
    let host = host(head);
    let domain = domain(&host);
    let (time, time_epoch) = moment(now);
    let (body, is_base64_encoded) = text(&head.headers, body);
    let path = head.uri.path();
    let query = head.uri.query().unwrap_or_default();
    let event = Event {
        version: "2.0",
        route_key: DEFAULT,
        raw_path: path,
        raw_query_string: query,
        cookies: cookies(&head.headers),
        headers: headers(&head.headers, &host, trace),
        query_string_parameters: parameters(query),
        request_context: RequestContext {
            account_id: "anonymous",
            api_id: &about.name,
            authentication: None,
            domain_name: domain,
            domain_prefix: domain.split('.').next().unwrap_or_default(),
            http: Http {
                method: head.method.as_str(),
                path,
                protocol: protocol(head.version),
                source_ip: source(&head.headers),
                user_agent: lossy(head.headers.get(USER_AGENT)),
            },
            request_id: request_id(id),
            route_key: DEFAULT,
            stage: DEFAULT,
            time,
            time_epoch,
        },
        body,
        is_base64_encoded,
    };
    // Strings, numbers and maps with names as keys are always JSON.
    serde_json::to_vec(&event).unwrap_or_default()
}

/// The authority that the client has asked for.
fn host(head: &request::Parts) -> String {
    let named = head
        .headers
        .get(HOST)
        .map(|host| lossy(Some(host)).into_owned());
    let target = head
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    named.or(target).unwrap_or_else(|| "localhost".to_owned())
}

/// An authority without its port.
fn domain(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((domain, port)) if port.bytes().all(|b| b.is_ascii_digit()) => domain,
        _ => host,
    }
}

fn protocol(version: Version) -> &'static str {
    if version == Version::HTTP_10 {
        "HTTP/1.0"
    } else if version == Version::HTTP_2 {
        "HTTP/2.0"
    } else {
        "HTTP/1.1"
    }
}

/// The client's address: the first that the proxies before us name.
fn source(headers: &HeaderMap) -> Cow<'_, str> {
    let first = |text: Cow<'_, str>| text.split(',').next().map(|ip| ip.trim().to_owned());
    let named = headers
        .get("x-forwarded-for")
        .map(|value| lossy(Some(value)));
    let named = named.and_then(first).filter(|ip| !ip.is_empty());
    named.map_or(Cow::Borrowed("127.0.0.1"), Cow::Owned)
}

/// The time in the Common Log Format, and in milliseconds since 1970.
fn moment(now: SystemTime) -> (String, i64) {
    let at = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    (
        at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
        at.as_millisecond(),
    )
}

fn lossy(value: Option<&HeaderValue>) -> Cow<'_, str> {
    String::from_utf8_lossy(value.map(HeaderValue::as_bytes).unwrap_or_default())
}

/// All headers but the cookies; those that come more than once, joined.
fn headers<'a>(
    headers: &'a HeaderMap,
    host: &str,
    trace: Option<&str>,
) -> BTreeMap<&'a str, String> {
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != COOKIE) {
        let value = lossy(Some(value));
        all.entry(name.as_str())
            .and_modify(|before| {
                before.push(',');
                before.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    all.entry("host").or_insert_with(|| host.to_owned());
    if let Some(trace) = trace {
        all.entry("x-amzn-trace-id")
            .or_insert_with(|| trace.to_owned());
    }
    all
}

fn cookies(headers: &HeaderMap) -> Vec<Cow<'_, str>> {
    let mut all = Vec::new();
    for value in headers.get_all(COOKIE) {
        let pieces = value
            .as_bytes()
            .split(|byte| *byte == b';')
            .map(<[u8]>::trim_ascii);
        all.extend(
            pieces
                .filter(|one| !one.is_empty())
                .map(String::from_utf8_lossy),
        );
    }
    all
}

/// The query's parameters, decoded; those that come more than once, joined.
fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        all.entry(decode(name))
            .and_modify(|before| {
                before.push(',');
                before.push_str(&value);
            })
            .or_insert(value);
    }
    all
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes())
        .decode_utf8_lossy()
        .into_owned()
}

/// The body as the event carries it, and whether that is base64.
fn text<'a>(headers: &HeaderMap, body: &'a Bytes) -> (Option<Cow<'a, str>>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    match std::str::from_utf8(body) {
        Ok(text) if is_textual(headers) => (Some(Cow::Borrowed(text)), false),
        _ => (Some(Cow::Owned(BASE64.encode(body))), true),
    }
}

/// Whether a body of this type is text. One without a type is, if its bytes are.
fn is_textual(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let kind = lossy(Some(kind)).to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default();
    let textual = [
        "text/",
        "json",
        "xml",
        "javascript",
        "x-www-form-urlencoded",
    ];
    kind.is_empty() || textual.iter().any(|word| kind.contains(word))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::contract::lambda::{DEFAULT_REGION, LATEST};

    fn about() -> About {
        About {
            name: "probe".to_owned(),
            owner: "default".to_owned(),
            version: LATEST.to_owned(),
            memory_max_mib: 128,
            handler: "h".to_owned(),
            region: DEFAULT_REGION.to_owned(),
            environment: BTreeMap::new(),
            snap_start: false,
        }
    }

    fn of(uri: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Value {
        let mut request = http::Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_659_687_279_885);
        let body = Bytes::copy_from_slice(body);
        let event = event(&about(), RequestId(7), &head, None, &body, now);
        serde_json::from_slice(&event).unwrap()
    }

    #[test]
    fn the_least_request_leaves_out_what_it_does_not_have() {
        assert_eq!(
            of("http://p.example:8080/", &[], b""),
            json!({
                "version": "2.0",
                "routeKey": "$default",
                "rawPath": "/",
                "rawQueryString": "",
                "headers": {"host": "p.example:8080"},
                "requestContext": {
                    "accountId": "anonymous",
                    "apiId": "probe",
                    "authentication": null,
                    "domainName": "p.example",
                    "domainPrefix": "p",
                    "http": {
                        "method": "POST",
                        "path": "/",
                        "protocol": "HTTP/1.1",
                        "sourceIp": "127.0.0.1",
                        "userAgent": "",
                    },
                    "requestId": "00000000-0000-0000-0000-000000000007",
                    "routeKey": "$default",
                    "stage": "$default",
                    "time": "05/Aug/2022:08:14:39 +0000",
                    "timeEpoch": 1_659_687_279_885_u64,
                },
                "isBase64Encoded": false,
            })
        );
    }

    #[test]
    fn a_body_is_text_or_base64_by_its_type_and_its_bytes() {
        let text: &[u8] = "ü".as_bytes();
        for (kind, body, wanted) in [
            (None, text, false),
            (Some("text/plain"), text, false),
            (Some("application/json; charset=utf-8"), text, false),
            (Some("application/problem+json"), text, false),
            (Some("image/svg+xml"), text, false),
            (Some("application/x-www-form-urlencoded"), text, false),
            (Some("application/octet-stream"), text, true),
            (Some("multipart/form-data; boundary=text/json"), text, true),
            (Some("image/png"), text, true),
            (None, b"\xff", true),
            (Some("application/json"), b"\xff", true),
        ] {
            let headers: Vec<(&str, &[u8])> = kind
                .iter()
                .map(|kind| ("content-type", kind.as_bytes()))
                .collect();
            let event = of("http://p/", &headers, body);
            assert_eq!(event["isBase64Encoded"], wanted, "{kind:?}");
            let carried = event["body"].as_str().unwrap();
            if wanted {
                assert_eq!(BASE64.decode(carried).unwrap(), body);
            } else {
                assert_eq!(carried.as_bytes(), body);
            }
        }
    }

    #[test]
    fn queries_cookies_and_addresses() {
        let headers: [(&str, &[u8]); 5] = [
            ("cookie", b"a=1;b=2; ;"),
            ("cookie", b"c=\xff"),
            ("x-forwarded-for", b" 2001:db8::1 , 10.0.0.1"),
            ("x-raw", b"\xff"),
            ("host", b"[::1]:8080"),
        ];
        let event = of("http://p/a%2Fb?a&b=&c=%zz&d=%ff&+e=1+2&a=3", &headers, b"");
        assert_eq!(event["cookies"], json!(["a=1", "b=2", "c=\u{fffd}"]));
        assert_eq!(
            event["queryStringParameters"],
            json!({"a": ",3", "b": "", "c": "%zz", "d": "\u{fffd}", " e": "1 2"})
        );
        assert_eq!(event["rawPath"], "/a%2Fb");
        assert_eq!(event["requestContext"]["http"]["sourceIp"], "2001:db8::1");
        assert_eq!(event["requestContext"]["domainName"], "[::1]");
        assert_eq!(event["headers"]["x-raw"], "\u{fffd}");
        assert!(event["headers"].get("cookie").is_none());
    }

    proptest! {
        /// Whatever comes in, the event is JSON, and the body is found in it again.
        #[test]
        fn no_request_breaks_it(
            path in "/[!-~]{0,40}",
            kind in "[ -~]{0,40}",
            cookie in proptest::collection::vec(0x20_u8..=0xff, 0..40),
            body in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let cookie = cookie.into_iter().filter(|b| *b != 0x7f).collect::<Vec<u8>>();
            prop_assume!(http::Uri::try_from(format!("http://p{path}")).is_ok());
            let headers: [(&str, &[u8]); 2] =
                [("content-type", kind.as_bytes()), ("cookie", &cookie)];
            let event = of(&format!("http://p{path}"), &headers, &body);
            let carried = event["body"].as_str().unwrap_or_default();
            let found = match event["isBase64Encoded"].as_bool() {
                Some(true) => BASE64.decode(carried).unwrap(),
                _ => carried.as_bytes().to_vec(),
            };
            prop_assert_eq!(found, body);
        }
    }
}
