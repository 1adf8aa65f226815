//! A plain HTTP client for what a load generator cannot do: reading every answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// How long one answer may take, in seconds.
const ANSWER_MAX_S: u64 = 60;
/// The longest answer that is read, in bytes.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// The header in which the platform says how it served a request.
const PROOF_HEADER: &str = "usher-run";

/// A client that keeps its connections.
#[derive(Clone)]
pub(crate) struct Http(Client<HttpConnector, Empty<Bytes>>);

/// An answer that has come whole.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its body.
    pub(crate) body: Bytes,
    /// How the platform says that it served the request.
    pub(crate) run: Option<String>,
    /// From asking to the first bytes of the answer, connecting included.
    pub(crate) first_byte: Duration,
}

impl Http {
    /// Without connections yet.
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build(HttpConnector::new()))
    }

    /// Where each request is to have a connection of its own.
    pub(crate) fn closing() -> Self {
        Self(
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(HttpConnector::new()),
        )
    }

    /// Asks for a page and reads it whole.
    pub(crate) async fn get(&self, url: &str) -> Result<Answer> {
        let limit = Duration::from_secs(ANSWER_MAX_S);
        let uri: http::Uri = url.parse()?;
        let answer = async {
            let begun = Instant::now();
            let response = self.0.get(uri).await?;
            let first_byte = begun.elapsed();
            let status = response.status().as_u16();
            let run = response.headers().get(PROOF_HEADER);
            let run = run.and_then(|run| Some(run.to_str().ok()?.to_owned()));
            let read = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect();
            let body = read
                .await
                .map_err(|error| anyhow::anyhow!(error))?
                .to_bytes();
            anyhow::Ok(Answer {
                status,
                body,
                run,
                first_byte,
            })
        };
        tokio::time::timeout(limit, answer)
            .await
            .with_context(|| format!("no answer within {ANSWER_MAX_S} s from {url}"))?
    }
}

/// A runtime for a client's work.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}
