//! CloudEvents between a caller and a function that wants to see them in one form.
//!
//! ```text
//! caller ── binary or structured ──► checked ──► the function's form ──► function
//!        ◄── the caller's form ◄──────────────── an event, or any other reply ──
//! ```
//!
//! A function without a mode gets everything as it comes, and nothing here looks at it. With one,
//! an event is checked before an environment is claimed, and its body is read whole only where it
//! has to be converted or checked itself. What is no event passes as it is.
//!
//! A Lambda function gets an event as what it calls its own: the JSON of the structured form, as a
//! direct call. Deliberately absent: the rules of events (`usher_core::cloud_event`).

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use usher_api::body::{Body, BodyError};
use usher_core::cloud_event::{self, BATCH, Event, Flaws, Form, HEADER_PREFIX, STRUCTURED};
use usher_core::fault::{Fault, TimeLimit};
use usher_core::function::{Contract, EventMode, Events, Revision};

/// Says that a direct call of a Lambda function has failed; its status is a success all the same.
static FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");

/// What the reply to an event is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The caller's form.
    form: Form,
    /// Whether the reply is the result of a direct call.
    direct: bool,
    event_max_bytes: u64,
}

/// A request as its function wants it, and what the caller wants back; none where the reply stays
/// as it is.
pub(crate) async fn arrive(
    revision: &Revision,
    request: Request<Body>,
) -> Result<(Request<Body>, Option<Wanted>), Fault> {
    let settings = &revision.settings;
    let events = &settings.events;
    if events.mode == EventMode::AsIs {
        return Ok((request, None));
    }
    let Some(form) = form_of(request.headers()) else {
        return Ok((request, None));
    };
    let wait_max_ms = settings.limits.first_byte_max_ms;
    let read = tokio::time::timeout(
        Duration::from_millis(wait_max_ms),
        converted(revision, events, &form, request),
    );
    let request = read.await.map_err(|_| Fault::TimeOut {
        limit: TimeLimit::FirstByte,
        limit_ms: wait_max_ms,
    })??;
    let wanted = Wanted {
        form,
        direct: is_lambda(revision),
        event_max_bytes: events.event_max_bytes,
    };
    Ok((request, Some(wanted)))
}

async fn converted(
    revision: &Revision,
    events: &Events,
    form: &Form,
    request: Request<Body>,
) -> Result<Request<Body>, Fault> {
    let (mut head, body) = request.into_parts();
    let encoded = head.headers.contains_key(CONTENT_ENCODING);
    let to_headers = events.mode == EventMode::Binary;
    match form {
        Form::Foreign(form) => return Err(Fault::EventForm { form: form.clone() }),
        Form::Batch if !events.batches => {
            return Err(Fault::EventForm { form: BATCH.into() });
        }
        // Nothing has to be converted, and the body may be of any length and kind.
        Form::Binary if to_headers => {
            checked(&head.headers, Vec::new())?;
            return Ok(Request::from_parts(head, body));
        }
        Form::Binary | Form::Structured | Form::Batch if encoded => {
            return Err(Fault::BadEvent {
                mistakes: "a body with a Content-Encoding cannot be converted".into(),
            });
        }
        Form::Binary | Form::Structured | Form::Batch => {}
    }
    let body = whole(body, events.event_max_bytes).await?;
    let (content_type, body) = match form {
        Form::Binary => {
            let event = checked(&head.headers, body.into())?;
            forget(&mut head.headers);
            (STRUCTURED, event.json().into())
        }
        Form::Batch => {
            cloud_event::check_batch(&body).map_err(bad)?;
            (BATCH, body)
        }
        Form::Structured | Form::Foreign(_) => {
            let event = Event::from_json(&body).map_err(bad)?;
            if to_headers {
                forget(&mut head.headers);
                write(&mut head.headers, &event)
                    .map_err(|mistakes| Fault::BadEvent { mistakes })?;
                let data = Bytes::from(event.into_data());
                return Ok(Request::from_parts(head, resized(data)));
            }
            (STRUCTURED, body)
        }
    };
    let content_type = match is_lambda(revision) {
        true => {
            head.method = Method::POST;
            head.uri = direct(&head.uri, revision);
            "application/json"
        }
        false => content_type,
    };
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(Request::from_parts(head, resized(body)))
}

/// The reply in the caller's form.
pub(crate) async fn leave(
    response: Response<Body>,
    wanted: &Wanted,
) -> Result<Response<Body>, Fault> {
    match wanted.direct {
        true => result(response, wanted).await,
        false => reply(response, wanted).await,
    }
}

/// A reply of a program or a component: an event of another form than the caller's is converted.
async fn reply(response: Response<Body>, wanted: &Wanted) -> Result<Response<Body>, Fault> {
    let form = form_of(response.headers());
    let converts = matches!(
        (&form, &wanted.form),
        (Some(Form::Binary), Form::Structured) | (Some(Form::Structured), Form::Binary)
    );
    if !converts {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err(Fault::BadReplyEvent {
            mistakes: "a body with a Content-Encoding cannot be converted".into(),
        });
    }
    let body = whole_reply(body, wanted).await?;
    let event = match form {
        Some(Form::Binary) => of_headers(&head.headers, body.into()),
        _ => Event::from_json(&body),
    };
    let event = event.map_err(bad_reply)?;
    forget(&mut head.headers);
    let body = answer(&mut head.headers, event, wanted)?;
    Ok(Response::from_parts(head, body))
}

/// The result of a direct call: an event, nothing, or any other JSON.
async fn result(response: Response<Body>, wanted: &Wanted) -> Result<Response<Body>, Fault> {
    let (mut head, body) = response.into_parts();
    if head.headers.contains_key(&FUNCTION_ERROR) {
        head.status = StatusCode::BAD_GATEWAY;
        return Ok(Response::from_parts(head, body));
    }
    if !head.status.is_success() {
        return Ok(Response::from_parts(head, body));
    }
    let body = whole_reply(body, wanted).await?;
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    if body.trim_ascii() == b"null" {
        head.headers.remove(CONTENT_TYPE);
        head.status = StatusCode::NO_CONTENT;
        return Ok(Response::from_parts(head, Body::Empty));
    }
    if !claims_to_be_an_event(&body) {
        return Ok(Response::from_parts(head, resized(body)));
    }
    let event = Event::from_json(&body).map_err(bad_reply)?;
    let body = answer(&mut head.headers, event, wanted)?;
    Ok(Response::from_parts(head, body))
}

/// Whether a result is an object with the attribute by which events are known.
fn claims_to_be_an_event(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Claim {
        specversion: Option<serde::de::IgnoredAny>,
    }
    // A list would be read as an object's values in their order.
    let object = body.trim_ascii_start().first() == Some(&b'{');
    object && serde_json::from_slice::<Claim>(body).is_ok_and(|claim| claim.specversion.is_some())
}

/// Writes an event in the caller's form: headers, and the body that it answers.
fn answer(headers: &mut HeaderMap, event: Event, wanted: &Wanted) -> Result<Body, Fault> {
    if wanted.form == Form::Binary {
        write(headers, &event).map_err(|mistakes| Fault::BadReplyEvent { mistakes })?;
        return Ok(resized(event.into_data().into()));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(STRUCTURED));
    Ok(resized(event.json().into()))
}

fn resized(body: Bytes) -> Body {
    Body::from(body)
}

fn form_of(headers: &HeaderMap) -> Option<Form> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    Form::of(content_type, headers.keys().map(HeaderName::as_str))
}

fn of_headers(headers: &HeaderMap, body: Vec<u8>) -> Result<Event, Flaws> {
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
    Event::from_headers(headers, body)
}

fn checked(headers: &HeaderMap, body: Vec<u8>) -> Result<Event, Fault> {
    of_headers(headers, body).map_err(bad)
}

/// Removes what headers say of an event and of the body that came with it.
fn forget(headers: &mut HeaderMap) {
    let named: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(HEADER_PREFIX))
        .cloned()
        .collect();
    let of_body = [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING];
    for name in named.iter().chain(&of_body) {
        headers.remove(name);
    }
}

fn write(headers: &mut HeaderMap, event: &Event) -> Result<(), String> {
    for (name, value) in event.headers() {
        let refused = |_| format!("{name} cannot stand in a header");
        let value = HeaderValue::try_from(value).map_err(refused)?;
        let refused = |_| format!("{name} is no name of a header");
        let name = HeaderName::try_from(name.as_str()).map_err(refused)?;
        headers.insert(name, value);
    }
    Ok(())
}

fn bad(flaws: Flaws) -> Fault {
    Fault::BadEvent {
        mistakes: flaws.to_string(),
    }
}

fn bad_reply(flaws: Flaws) -> Fault {
    Fault::BadReplyEvent {
        mistakes: flaws.to_string(),
    }
}

fn is_lambda(revision: &Revision) -> bool {
    let process = revision.settings.process.as_ref();
    process.is_some_and(|process| process.contract == Contract::Lambda)
}

/// The address of a direct call.
fn direct(uri: &http::Uri, revision: &Revision) -> http::Uri {
    let name = &revision.function.name;
    let mut parts = uri.clone().into_parts();
    let path = format!("/2015-03-31/functions/{name}/invocations");
    // A name is one label of letters, digits and dashes, so that the path is always legal.
    parts.path_and_query = path.parse().ok();
    http::Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

async fn whole(mut body: Body, event_max_bytes: u64) -> Result<Bytes, Fault> {
    let too_large = || Fault::EventTooLarge { event_max_bytes };
    if body.size_hint().lower() > event_max_bytes {
        return Err(too_large());
    }
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match error {
            BodyError::Fault(fault) => fault,
            BodyError::Connection(_) | BodyError::Broken(_) => Fault::CallerGone,
        })?;
        // Trailers are no part of an event.
        if let Ok(data) = frame.into_data() {
            if gathered.len() as u64 + data.len() as u64 > event_max_bytes {
                return Err(too_large());
            }
            gathered.extend_from_slice(&data);
        }
    }
    Ok(gathered.into())
}

async fn whole_reply(body: Body, wanted: &Wanted) -> Result<Bytes, Fault> {
    let read = whole(body, wanted.event_max_bytes).await;
    read.map_err(|fault| match fault {
        Fault::EventTooLarge { event_max_bytes } => Fault::BadReplyEvent {
            mistakes: format!("it is larger than {event_max_bytes} bytes (events.event_max_bytes)"),
        },
        other => other,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use usher_core::function::{Process, Settings};
    use usher_core::id::{Digest, FunctionKey, Name, RevisionId};

    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/","type":"t","data":[1.50]}"#;

    fn revision(mode: EventMode, contract: Option<Contract>) -> Revision {
        let process = contract.map(|contract| Process {
            contract,
            command: vec!["it".to_owned()],
            handler: None,
            environment: Default::default(),
            reuse: false,
            areas: Vec::new(),
            snap_start: false,
        });
        let events = Events {
            mode,
            event_max_bytes: 200,
            ..Events::default()
        };
        Revision {
            id: RevisionId(Digest([0; 32])),
            function: FunctionKey {
                owner: Name::default_owner(),
                name: "it".parse().unwrap(),
            },
            number: 1,
            artifact: Digest([0; 32]),
            settings: Settings {
                process,
                events,
                ..Settings::default()
            },
        }
    }

    fn structured(body: &str) -> Request<Body> {
        let request = Request::post("http://it.test/path?q").header(CONTENT_TYPE, STRUCTURED);
        request.body(Body::from(body.to_owned())).unwrap()
    }

    fn binary() -> http::request::Builder {
        let attributes = [
            ("id", "1"),
            ("source", "/"),
            ("type", "t"),
            ("specversion", "1.0"),
        ];
        let request = Request::post("http://it.test/path?q");
        attributes.iter().fold(request, |request, (name, value)| {
            request.header(format!("{HEADER_PREFIX}{name}"), *value)
        })
    }

    async fn text(body: Body) -> String {
        let bytes = body.collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    async fn refused(mode: EventMode, request: Request<Body>) -> Fault {
        arrive(&revision(mode, None), request).await.err().unwrap()
    }

    #[tokio::test]
    async fn what_needs_no_conversion_is_not_read() {
        // Longer than what may be read whole.
        let long = "x".repeat(1_000);
        for (mode, request) in [
            (EventMode::AsIs, structured(&long)),
            (EventMode::AsIs, binary().body(long.clone().into()).unwrap()),
            (
                EventMode::Binary,
                binary().body(long.clone().into()).unwrap(),
            ),
            (
                EventMode::Structured,
                Request::new(Body::from(long.clone())),
            ),
        ] {
            let (arrived, _) = arrive(&revision(mode, None), request).await.unwrap();
            assert_eq!(text(arrived.into_body()).await, long);
        }
    }

    #[tokio::test]
    async fn a_lambda_function_is_called_directly() {
        let revision = revision(EventMode::Structured, Some(Contract::Lambda));
        let (arrived, wanted) = arrive(&revision, structured(EVENT)).await.unwrap();
        assert_eq!(arrived.uri().path(), "/2015-03-31/functions/it/invocations");
        assert_eq!(text(arrived.into_body()).await, EVENT);
        let wanted = wanted.unwrap();
        let reply = |body: &'static str| Response::new(Body::from(body.to_owned()));
        let nothing = leave(reply("null"), &wanted).await.unwrap();
        assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
        let other = leave(reply("[1]"), &wanted).await.unwrap();
        assert_eq!(text(other.into_body()).await, "[1]");
        let event = leave(reply(EVENT), &wanted).await.unwrap();
        assert_eq!(event.headers()[CONTENT_TYPE], STRUCTURED);
        let wrong = leave(reply("{\"specversion\":\"1.0\"}"), &wanted).await;
        assert!(matches!(wrong, Err(Fault::BadReplyEvent { .. })));
        let mut failed = reply("{}");
        let unhandled = HeaderValue::from_static("Unhandled");
        failed.headers_mut().insert(&FUNCTION_ERROR, unhandled);
        let failed = leave(failed, &wanted).await.unwrap();
        assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
    }

    #[tokio::test]
    async fn what_cannot_be_converted_is_refused() {
        let large = format!("{EVENT}{}", " ".repeat(200));
        let too_large = refused(EventMode::Binary, structured(&large)).await;
        assert_eq!(
            too_large,
            Fault::EventTooLarge {
                event_max_bytes: 200
            }
        );
        let wrong = refused(EventMode::Binary, structured("{}")).await;
        assert!(matches!(wrong, Fault::BadEvent { .. }));
        for media in [BATCH, "application/cloudevents+avro"] {
            let mut request = structured("[]");
            let media = HeaderValue::from_static(media);
            request.headers_mut().insert(CONTENT_TYPE, media);
            let fault = refused(EventMode::Structured, request).await;
            assert!(matches!(fault, Fault::EventForm { .. }));
        }
        let encoded = binary().header(CONTENT_ENCODING, "gzip");
        let encoded = encoded.body(Body::Empty).unwrap();
        let fault = refused(EventMode::Structured, encoded).await;
        assert!(matches!(fault, Fault::BadEvent { .. }));
    }

    /// The time for a body is bounded, however slow its sender is.
    #[tokio::test(start_paused = true)]
    async fn a_sender_that_stops_is_not_waited_for() {
        let silent = http_body_util::StreamBody::new(futures_util::stream::pending());
        let request = binary().body(Body::stream(silent)).unwrap();
        let fault = refused(EventMode::Structured, request).await;
        assert!(matches!(fault, Fault::TimeOut { .. }));
    }
}
