//! What a request is told when the source does not serve: a page for people, JSON or a text for
//! programs.
//!
//! Everything that came from outside is escaped. A page reloads by itself when something changes.
//!
//! Deliberately absent: what is wrong (`report`).

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;
use usher_api::body::Body;

use super::live;
use super::report::Report;

/// After how long a program may ask again where a build goes on, in seconds.
const RETRY_AFTER_S: u16 = 1;

const STYLE: &str = "body{margin:0;font:16px/1.5 system-ui,sans-serif;background:#16181d;\
                     color:#e8e8ea}main{max-width:60rem;margin:3rem auto;padding:0 1.5rem}\
                     h1{font-size:1.4rem;color:#ff7b72;margin:0 0 .5rem}\
                     h1.busy{color:#79b8ff}p{margin:.5rem 0;white-space:pre-wrap}\
                     pre{background:#0d0f13;border:1px solid #30343c;border-radius:6px;\
                     padding:1rem;overflow:auto;font:13px/1.45 ui-monospace,monospace}\
                     small{color:#9a9ea6}";

/// What a caller understands best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Page,
    Json,
    Text,
}

impl Form {
    /// By what comes first in `accept`; weights are not looked at, as no browser lowers its pages.
    fn asked(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter();
        let accepted = accepted.filter_map(|value| value.to_str().ok());
        let kinds = accepted.flat_map(|value| value.split(','));
        let mut forms = kinds.filter_map(|kind| match kind.split(';').next()?.trim() {
            "text/html" | "application/xhtml+xml" => Some(Self::Page),
            "application/json" => Some(Self::Json),
            "text/plain" => Some(Self::Text),
            _ => None,
        });
        forms.next().unwrap_or(Self::Text)
    }
}

/// The answer while the source is wrong; `seen` is the number of the attempt that failed.
pub(crate) fn failed(report: &Report, headers: &HeaderMap, seen: &str) -> Response<Body> {
    let title = report.phase.title();
    let body = match Form::asked(headers) {
        Form::Page => {
            let mut inner = format!(
                "<h1>{title}</h1><p id=\"message\">{}</p>",
                escaped(&report.message)
            );
            if !report.output.is_empty() {
                let output = escaped(report.output.trim_end());
                inner.push_str(&format!("<pre id=\"output\">{output}</pre>"));
            }
            inner.push_str("<small>usher dev: this page reloads when it is mended</small>");
            return page(StatusCode::INTERNAL_SERVER_ERROR, title, &inner, seen);
        }
        Form::Json => {
            let error = json!({
                "label": report.phase.label(),
                "message": report.message,
                "output": report.output,
            });
            return json_answer(StatusCode::INTERNAL_SERVER_ERROR, error);
        }
        Form::Text => format!(
            "{title}: {}\n\n{}\n",
            report.message,
            report.output.trim_end()
        ),
    };
    text(StatusCode::INTERNAL_SERVER_ERROR, body.trim_end())
}

/// The answer where nothing has served yet and a build takes long.
pub(crate) fn building(headers: &HeaderMap, seen: &str) -> Response<Body> {
    let title = "The build goes on";
    let told = "nothing is served before it has ended; see the terminal";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut answer = match Form::asked(headers) {
        Form::Page => {
            let inner = format!("<h1 class=\"busy\">{title}</h1><p id=\"message\">{told}</p>");
            page(status, title, &inner, seen)
        }
        Form::Json => json_answer(status, json!({ "label": "building", "message": told })),
        Form::Text => text(status, &format!("{title}: {told}")),
    };
    let headers = answer.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    answer
}

fn page(status: StatusCode, title: &str, inner: &str, seen: &str) -> Response<Body> {
    let script = live::script(seen);
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main>{inner}</main>{script}</body></html>\n"
    );
    answer(status, "text/html; charset=utf-8", page)
}

/// As the gateway tells its own errors.
fn json_answer(status: StatusCode, error: serde_json::Value) -> Response<Body> {
    let body = format!("{}\n", json!({ "error": error }));
    answer(status, "application/json", body)
}

/// The answer to what the front itself cannot do.
pub(crate) fn text(status: StatusCode, told: &str) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", format!("{told}\n"))
}

/// An answer that is not kept by anybody.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// A text as it may stand in a page, between tags and in quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::report::Phase;
    use super::*;

    fn told(accept: &str) -> (Response<Body>, String) {
        let report = Report {
            phase: Phase::Build,
            message: "`make` failed".to_owned(),
            output: "expected <T> & \"U\"</pre><script>alert('1')</script>\n".to_owned(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        let answer = failed(&report, &headers, "1-1");
        let Body::Whole(bytes) = answer.body() else {
            panic!("it is whole");
        };
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (answer, text)
    }

    #[test]
    fn a_browser_gets_a_page_in_which_nothing_is_markup_that_came_from_outside() {
        let (answer, page) = told("text/html,application/xhtml+xml,*/*;q=0.8");
        assert_eq!(answer.status(), 500);
        assert!(page.contains("expected &lt;T&gt; &amp; &quot;U&quot;&lt;/pre&gt;&lt;script&gt;"));
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(page.contains("data-seen=\"1-1\""), "{page}");
    }

    #[test]
    fn programs_get_what_they_ask_for() {
        let (answer, json) = told("application/json");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["error"]["label"], "build-failed");
        assert!(json["error"]["output"].as_str().unwrap().contains("<T>"));
        for accept in ["*/*", "text/plain", ""] {
            let (answer, text) = told(accept);
            assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
            assert!(text.starts_with("The build failed: `make` failed\n\nexpected <T>"));
        }
    }
}
