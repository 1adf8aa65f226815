//! `usher invoke`: one request to a function, through the gateway that the API names.
//!
//! Bodies stream in both directions. Deliberately absent: retries, as a call may have effects.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use usher_api::body::{Body, BodyError};
use usher_api::http::FunctionView;
use usher_core::function::InvokeBy;

use crate::call::Caller;
use crate::cli::{Invoke, Remote};
use crate::output;

/// How much of a streamed body is read at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Calls the function and writes its answer; fails where the status is 400 or above.
pub(crate) async fn run(invoke: Invoke, json: bool) -> anyhow::Result<ExitCode> {
    let view = invoke.one.client()?.show(&invoke.one.key()).await?;
    let with_data = invoke.data.is_some();
    let mut request = request(
        address(&view, &invoke.path)?,
        invoke.method.unwrap_or(match with_data {
            true => Method::POST,
            false => Method::GET,
        }),
        headers(&invoke.header)?,
        body(invoke.data).await?,
    );
    if view.revision.settings.invoke == InvokeBy::Key {
        show_key(&invoke.one.remote, request.headers_mut())?;
    }
    let answer = Caller::new().send(request).await?;
    let status = answer.status();
    match json {
        true => tell_json(answer).await?,
        false => tell(answer, invoke.include).await?,
    }
    if status.is_client_error() || status.is_server_error() {
        if !json {
            eprintln!(
                "usher: {} answered {status}; `usher logs {}` may tell more",
                view.name, view.name
            );
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows the gateway the key that the API was shown, unless another one is given.
fn show_key(remote: &Remote, headers: &mut HeaderMap) -> anyhow::Result<()> {
    if let Some(secret) = remote.secret()?
        && !headers.contains_key(AUTHORIZATION)
    {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.text()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(())
}

/// The function's address by path, which needs no name to be resolved.
fn address(view: &FunctionView, path: &str) -> anyhow::Result<Uri> {
    if !path.starts_with('/') {
        bail!("--path {path:?} must begin with a slash");
    }
    let url = view
        .urls
        .last()
        .context("the platform names no address of the function")?;
    let whole = format!("{}{path}", url.trim_end_matches('/'));
    whole
        .parse()
        .with_context(|| format!("{whole} is no address; look at --path"))
}

fn request(uri: Uri, method: Method, headers: HeaderMap, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.uri_mut() = uri;
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    request
}

fn headers(given: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for header in given {
        let wrong = || format!("--header {header:?} is none; write NAME:VALUE");
        let (name, value) = header.split_once(':').with_context(wrong)?;
        let name: HeaderName = name.trim().parse().with_context(wrong)?;
        let value: HeaderValue = value.trim().parse().with_context(wrong)?;
        headers.append(name, value);
    }
    Ok(headers)
}

async fn body(data: Option<String>) -> anyhow::Result<Body> {
    let Some(data) = data else {
        return Ok(Body::Empty);
    };
    if data == "-" {
        let input = std::io::stdin().as_fd().try_clone_to_owned()?;
        return Ok(streamed(tokio::fs::File::from_std(input.into())));
    }
    let Some(path) = data.strip_prefix('@') else {
        return Ok(Body::from(data));
    };
    let file = tokio::fs::File::open(path).await;
    Ok(streamed(file.with_context(|| {
        format!("--data @{path}: the file cannot be read")
    })?))
}

fn streamed(source: impl AsyncRead + Send + Unpin + 'static) -> Body {
    let frames = stream::try_unfold(source, |mut source| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        let broken = |error: std::io::Error| BodyError::Broken(error.to_string());
        let read = source.read(&mut chunk).await.map_err(broken)?;
        chunk.truncate(read);
        let frame = Frame::data(Bytes::from(chunk));
        Ok((read > 0).then_some((frame, source)))
    });
    Body::stream(StreamBody::new(frames.boxed()))
}

async fn tell(answer: Response<Incoming>, include: bool) -> anyhow::Result<()> {
    let (head, mut body) = answer.into_parts();
    if include {
        output::line(format!("{:?} {}", head.version, head.status))?;
        for (name, value) in &head.headers {
            output::line(format!(
                "{name}: {}",
                String::from_utf8_lossy(value.as_bytes())
            ))?;
        }
        output::line("")?;
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer broke off")?;
        if let Some(data) = frame.data_ref() {
            let mut out = std::io::stdout().lock();
            out.write_all(data)?;
            out.flush()?;
        }
    }
    Ok(())
}

async fn tell_json(answer: Response<Incoming>) -> anyhow::Result<()> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.context("the answer broke off")?;
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
        .collect();
    output::json(&json!({
        "status": head.status.as_u16(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body.to_bytes()),
    }))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_wrong_ones_named() {
        let given = ["a: b:c".to_owned(), "a:d".to_owned()];
        let read = headers(&given).unwrap();
        let values: Vec<_> = read.get_all("a").iter().collect();
        assert_eq!(values, ["b:c", "d"]);
        let error = headers(&["nothing".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("NAME:VALUE"), "{error}");
    }

    #[tokio::test]
    async fn a_streamed_body_is_what_its_source_has() {
        let bytes = vec![7; CHUNK_BYTES + 1];
        let body = streamed(std::io::Cursor::new(bytes.clone()));
        assert_eq!(body.collect().await.unwrap().to_bytes(), bytes);
    }
}
