//! What a client asks about keys, owners and the audit log.

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use usher_core::api_key::KeyId;
use usher_core::id::Name;
use usher_core::owner::Quotas;

use super::{ANSWER_WAIT_MAX_MS, Answers, Client, ClientError, JSON};
use crate::access::{AuditLine, AuditQuery, KeyMade, KeyRequest, KeyView, Keys, OwnerView, Owners};
use crate::body::Body;

impl Client {
    /// Makes a key. Its secret is in the answer, and nowhere else.
    pub async fn create_key(&self, request: &KeyRequest) -> Result<KeyMade, ClientError> {
        self.send_json(Method::POST, "/v1/keys", request).await
    }

    /// The keys, of one owner or all.
    pub async fn keys(&self, owner: Option<&Name>) -> Result<Keys, ClientError> {
        let query = owner.map_or_else(String::new, |owner| format!("?owner={owner}"));
        self.get(&format!("/v1/keys{query}")).await
    }

    /// Takes a key back: no call with it is answered any more.
    pub async fn revoke_key(&self, id: KeyId) -> Result<KeyView, ClientError> {
        let request = self.request(Method::DELETE, &format!("/v1/keys/{id}"), Body::Empty);
        self.value(request, ANSWER_WAIT_MAX_MS).await
    }

    /// All owners.
    pub async fn owners(&self) -> Result<Owners, ClientError> {
        self.get("/v1/owners").await
    }

    /// One owner, who need not have anything.
    pub async fn owner(&self, owner: &Name) -> Result<OwnerView, ClientError> {
        self.get(&format!("/v1/owners/{owner}")).await
    }

    /// Sets all quotas of an owner; [`Quotas::NONE`] takes them away.
    pub async fn set_owner(&self, owner: &Name, quotas: &Quotas) -> Result<OwnerView, ClientError> {
        let path = format!("/v1/owners/{owner}");
        self.send_json(Method::PUT, &path, quotas).await
    }

    /// The audit log, oldest line first; with `follow` it goes on until it is dropped.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Answers<AuditLine>, ClientError> {
        let mut path = format!("/v1/audit?follow={}", query.follow);
        if let Some(owner) = &query.owner {
            path.push_str(&format!("&owner={owner}"));
        }
        if let Some(since_us) = query.since_us {
            path.push_str(&format!("&since_us={since_us}"));
        }
        self.stream(self.request(Method::GET, &path, Body::Empty))
            .await
    }

    async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let json = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        let mut request = self.request(method, path, Body::from(Bytes::from(json)));
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        self.value(request, ANSWER_WAIT_MAX_MS).await
    }
}

/// The path of a function without an owner in its query, where that is `default`. Where many
/// things are asked for, no owner means all.
pub(super) fn unnamed(path: &str) -> String {
    let of_one = path.starts_with("/v1/functions/");
    let Some((path, query)) = path.split_once('?').filter(|_| of_one) else {
        return path.to_owned();
    };
    let pieces: Vec<_> = query
        .split('&')
        .filter(|piece| *piece != "owner=default")
        .collect();
    match pieces.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", pieces.join("&")),
    }
}

#[cfg(test)]
mod tests {
    use super::unnamed;

    #[test]
    fn only_the_default_owner_is_left_out() {
        for (before, after) in [
            ("a", "a"),
            ("a?owner=default", "a"),
            ("a?owner=default&tail=1", "a?tail=1"),
            ("a?tail=1&owner=default", "a?tail=1"),
            (
                "a?owner=default2&x=owner=default",
                "a?owner=default2&x=owner=default",
            ),
        ] {
            let of_one = |path| format!("/v1/functions/{path}");
            assert_eq!(unnamed(&of_one(before)), of_one(after));
        }
        assert_eq!(
            unnamed("/v1/functions?owner=default"),
            "/v1/functions?owner=default"
        );
    }
}
