//! The client's part about secrets: a value goes there and never comes back.

use bytes::Bytes;
use http::Method;
use usher_core::id::Name;
use usher_core::secret::Secret;

use super::{ANSWER_WAIT_MAX_MS, Client, ClientError};
use crate::body::Body;
use crate::secret::{SecretDeleted, SecretList, SecretView};

impl Client {
    /// Sets a secret, whether it was there or not.
    pub async fn set_secret(
        &self,
        owner: &Name,
        name: &Name,
        value: &Secret,
    ) -> Result<SecretView, ClientError> {
        let body = Body::from(Bytes::copy_from_slice(value.bytes()));
        let request = self.request(Method::PUT, &path(owner, name), body);
        self.value(request, ANSWER_WAIT_MAX_MS).await
    }

    /// Shows that a secret is there.
    pub async fn secret(&self, owner: &Name, name: &Name) -> Result<SecretView, ClientError> {
        self.get(&path(owner, name)).await
    }

    /// The secrets of one owner, or of all.
    pub async fn secrets(&self, owner: Option<&Name>) -> Result<SecretList, ClientError> {
        let owner = owner.map(|owner| format!("?owner={owner}"));
        let path = format!("/v1/secrets{}", owner.unwrap_or_default());
        self.get(&path).await
    }

    /// Deletes a secret that no function uses.
    pub async fn delete_secret(
        &self,
        owner: &Name,
        name: &Name,
    ) -> Result<SecretDeleted, ClientError> {
        let request = self.request(Method::DELETE, &path(owner, name), Body::Empty);
        self.value(request, ANSWER_WAIT_MAX_MS).await
    }
}

fn path(owner: &Name, name: &Name) -> String {
    format!("/v1/secrets/{name}?owner={owner}")
}
