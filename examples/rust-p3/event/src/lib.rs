//! Answers a CloudEvent, which it wants in its headers, with another one: of the type `TYPE.seen`,
//! with the same data. With `?form=structured` the answer is a body of JSON, with `?form=wrong` an
//! event that lacks what every event has.
//!
//! The manifest beside it says in which form it sees events, so nothing here reads the other one.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

struct Event;

impl Guest for Event {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let form = guest::query(&request, "form");
        let headers = request.get_headers();
        let kind = text(&headers, "ce-type").unwrap_or_else(|| "none".to_owned());
        let content_type = text(&headers, "content-type");
        let (body, _) = guest::body(request);
        let data = body.collect().await;
        let answer = Fields::new();
        let body = match form.as_deref() {
            Some("structured") => {
                set(&answer, "content-type", "application/cloudevents+json");
                format!(
                    "{{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/event\",\
                     \"type\":\"{kind}.seen\",\"data\":{}}}",
                    String::from_utf8_lossy(&data)
                )
                .into_bytes()
            }
            Some("wrong") => {
                set(&answer, "ce-type", "lonely");
                data
            }
            _ => {
                set(&answer, "ce-specversion", "1.0");
                set(&answer, "ce-id", "2");
                set(&answer, "ce-source", "/event");
                set(&answer, "ce-type", &format!("{kind}.seen"));
                if let Some(content_type) = content_type {
                    set(&answer, "content-type", &content_type);
                }
                data
            }
        };
        let (mut output, stream) = wit_stream::new();
        let (_, no_trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(answer, Some(stream), no_trailers);
        spawn_local(async move {
            let _unsent = output.write_all(body).await;
        });
        Ok(response)
    }
}

fn text(headers: &Fields, name: &str) -> Option<String> {
    let value = headers.get(name).into_iter().next()?;
    String::from_utf8(value).ok()
}

fn set(headers: &Fields, name: &str, value: &str) {
    let _ = headers.append(name, value.as_bytes());
}

wasip3::http::service::export!(Event);
