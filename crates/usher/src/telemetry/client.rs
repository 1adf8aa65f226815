//! The HTTP client that spans are sent with: one collector, answers of a bounded size.

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};

/// How much of an answer is read, in bytes.
const ANSWER_MAX_BYTES: usize = 64 << 10;
/// How long connecting may take, in milliseconds.
const CONNECT_WAIT_MAX_MS: u64 = 3_000;

/// A collector.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    uri: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Collector {
    /// The collector at `url`, which takes what is sent at `path` below that. An error does not
    /// tell the address, which may hold a secret.
    pub(crate) fn at(url: &str, path: &str) -> anyhow::Result<Self> {
        let bad = |reason| {
            anyhow::anyhow!(
                "the address of the collector cannot be used: {reason}; write one such as \
                 http://127.0.0.1:4318"
            )
        };
        let uri: Uri = url.parse().map_err(|_| bad("it cannot be read"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(bad(
                "only http is spoken; let a collector beside the platform do TLS",
            ));
        }
        let mut parts = uri.into_parts();
        let authority = parts.authority.as_ref().map(http::uri::Authority::as_str);
        if authority.is_none_or(|authority| authority.contains('@')) {
            return Err(bad("it has no host, or a user"));
        }
        let above = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
        let whole = format!("{}{path}", above.trim_end_matches('/'));
        let whole = whole.parse().map_err(|_| bad("its path cannot be read"))?;
        parts.path_and_query = Some(whole);
        let uri = Uri::from_parts(parts).map_err(|_| bad("it cannot be read"))?;
        let mut connector = HttpConnector::new();
        let wait = std::time::Duration::from_millis(CONNECT_WAIT_MAX_MS);
        connector.set_connect_timeout(Some(wait));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { uri, client })
    }

    /// Where spans go.
    pub(crate) fn url(&self) -> String {
        self.uri.to_string()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.request(request.map(Full::new)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn spans_go_below_the_collectors_address() {
        for (url, whole) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://host/", "http://host/v1/traces"),
            ("http://host/otlp/", "http://host/otlp/v1/traces"),
        ] {
            assert_eq!(Collector::at(url, "/v1/traces").unwrap().url(), whole);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        for url in ["", "https://host", "host:4318", "http://me:secret@host"] {
            let refused = Collector::at(url, "/v1/traces").unwrap_err();
            assert!(!refused.to_string().contains("secret"), "{refused}");
        }
    }
}
