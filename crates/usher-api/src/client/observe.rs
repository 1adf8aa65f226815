//! The client's side of watching: the logs of all functions, and the table of the busiest.

use http::Method;
use usher_core::id::Name;

use super::{Answers, Client, ClientError};
use crate::body::Body;
use crate::node::{FunctionLogLine, LogQuery};
use crate::top::{Top, TopQuery};

impl Client {
    /// The logs of all functions, or of those of one owner, oldest line first; with `follow` it
    /// goes on until it is dropped.
    pub async fn all_logs(
        &self,
        owner: Option<&Name>,
        query: &LogQuery,
    ) -> Result<Answers<FunctionLogLine>, ClientError> {
        let mut path = format!("/v1/logs?follow={}&quiet={}", query.follow, query.quiet);
        if let Some(owner) = owner {
            path.push_str(&format!("&owner={owner}"));
        }
        if let Some(tail) = query.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        if let Some(request) = query.request {
            path.push_str(&format!("&request={request}"));
        }
        self.stream(self.request(Method::GET, &path, Body::Empty))
            .await
    }

    /// The busiest functions. The answer comes when it was looked for so long as was asked for.
    pub async fn top(&self, query: &TopQuery) -> Result<Top, ClientError> {
        let mut path = format!("/v1/top?sort={}&offset={}", query.sort.word(), query.offset);
        if let Some(owner) = &query.owner {
            path.push_str(&format!("&owner={owner}"));
        }
        if let Some(limit) = query.limit {
            path.push_str(&format!("&limit={limit}"));
        }
        if let Some(window_ms) = query.window_ms {
            path.push_str(&format!("&window_ms={window_ms}"));
        }
        let request = self.request(Method::GET, &path, Body::Empty);
        let looks_ms = query.window_ms.unwrap_or(crate::top::WINDOW_DEFAULT_MS);
        self.value(request, super::ANSWER_WAIT_MAX_MS + looks_ms)
            .await
    }
}
