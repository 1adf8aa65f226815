//! Pages that reload by themselves: a stream of events, and the script that listens to it.
//!
//! ```text
//!  page with the number that it was served at ─► GET /__usher/dev/events ─► another number ─► reload
//! ```
//!
//! The number carries when this platform was started, so that a page outlives its end and reloads
//! from the next one. The script goes behind the end of a page, where every browser runs it, so that
//! nothing of a page has to be held back to find a place in it.
//!
//! Deliberately absent: pages that are compressed, or whose policy (CSP) forbids the script.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Frame;
use tokio::sync::watch;
use usher_api::body::Body;

use super::page;
use super::stage::{Outcome, Stage};

/// Where pages hear of changes.
pub(crate) const EVENTS_PATH: &str = "/__usher/dev/events";
/// Where the script is.
pub(crate) const SCRIPT_PATH: &str = "/__usher/dev/reload.js";

const SCRIPT: &str = include_str!("reload.js");

/// The element that makes a page reload when the number is no longer this one.
pub(crate) fn script(seen: &str) -> String {
    format!("<script src=\"{SCRIPT_PATH}\" data-seen=\"{seen}\"></script>")
}

/// The number of an attempt of the platform that was started then.
pub(crate) fn seen(started_us: u64, number: u64) -> String {
    format!("{started_us}-{number}")
}

/// The script itself.
pub(crate) fn script_answer() -> Response<Body> {
    page::answer(StatusCode::OK, "text/javascript", SCRIPT.to_owned())
}

/// The events, from how things stand on: `{"seen": NUMBER, "state": "serving" or "failed"}`.
pub(crate) fn events(stage: watch::Receiver<Stage>, started_us: u64) -> Response<Body> {
    let events = stream::unfold((stage, None), move |(mut stage, told)| async move {
        let next = |stage: &Stage| stage.number > 0 && Some(stage.number) != told;
        let (number, state) = {
            let stage = stage.wait_for(next).await.ok()?;
            let state = match stage.outcome {
                Outcome::Serving | Outcome::Nothing => "serving",
                Outcome::Failed(_) => "failed",
            };
            (stage.number, state)
        };
        let data = serde_json::json!({ "seen": seen(started_us, number), "state": state });
        let event = Bytes::from(format!("event: state\ndata: {data}\n\n"));
        Some((Ok(Frame::data(event)), (stage, Some(number))))
    });
    let mut answer = Response::new(Body::stream(StreamBody::new(events.boxed())));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Asks for a page that the script can be added to.
pub(crate) fn ask_plain(headers: &mut HeaderMap) {
    headers.remove(ACCEPT_ENCODING);
}

/// Adds the script to the answer where it is a page.
pub(crate) fn inject(method: &Method, answer: Response<Body>, seen: &str) -> Response<Body> {
    let headers = answer.headers();
    let is_page = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| {
            kind.trim_start()
                .to_ascii_lowercase()
                .starts_with("text/html")
        });
    let is_plain = headers.get(CONTENT_ENCODING).is_none();
    let is_whole = !matches!(
        answer.status(),
        StatusCode::PARTIAL_CONTENT | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    if *method == Method::HEAD || !is_page || !is_plain || !is_whole {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    // The same page with another number is another page.
    head.headers.remove(ETAG);
    let script = Frame::data(Bytes::from(script(seen)));
    // Nothing may stand behind trailers, which no browser shows anyway.
    let data = BodyStream::new(body).filter(|frame| {
        let is_data = frame.as_ref().map_or(true, Frame::is_data);
        std::future::ready(is_data)
    });
    let end = stream::once(async { Ok::<_, Infallible>(script) })
        .map(|frame| frame.map_err(|never| match never {}));
    Response::from_parts(head, Body::stream(StreamBody::new(data.chain(end))))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn injected(kind: &str, encoding: Option<&str>) -> (HeaderMap, String) {
        let mut answer = Response::builder()
            .header(CONTENT_TYPE, kind)
            .header(CONTENT_LENGTH, "2");
        if let Some(encoding) = encoding {
            answer = answer.header(CONTENT_ENCODING, encoding);
        }
        let answer = answer.body(Body::from("hi".to_owned())).unwrap();
        let (head, body) = inject(&Method::GET, answer, "1-2").into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn only_pages_get_the_script() {
        let (headers, page) = injected("text/html; charset=utf-8", None).await;
        assert!(page.starts_with("hi<script "), "{page}");
        assert!(page.contains("data-seen=\"1-2\""), "{page}");
        assert!(headers.get(CONTENT_LENGTH).is_none());
        for (kind, encoding) in [("text/html", Some("gzip")), ("text/plain", None)] {
            let (headers, body) = injected(kind, encoding).await;
            assert_eq!(body, "hi");
            assert_eq!(headers[CONTENT_LENGTH], "2");
        }
    }

    #[tokio::test]
    async fn each_attempt_is_told_once() {
        let (set, stage) = watch::channel(Stage::first());
        let answer = events(stage, 7);
        let mut frames = BodyStream::new(answer.into_body());
        let step = |number, outcome| {
            set.send_modify(|stage| (stage.number, stage.outcome) = (number, outcome));
        };
        step(1, Outcome::Serving);
        let frame = frames.next().await.unwrap().unwrap().into_data().unwrap();
        let text = str::from_utf8(&frame).unwrap();
        assert!(text.starts_with("event: state\ndata: {") && text.ends_with("}\n\n"));
        assert!(
            text.contains("\"7-1\"") && text.contains("serving"),
            "{text}"
        );
        assert!(futures_util::poll!(frames.next()).is_pending());
        step(3, Outcome::Serving);
        let frame = frames.next().await.unwrap().unwrap().into_data().unwrap();
        assert!(str::from_utf8(&frame).unwrap().contains("\"7-3\""));
    }
}
