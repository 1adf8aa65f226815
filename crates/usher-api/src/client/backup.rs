//! Taking and restoring back-ups.

use bytes::Bytes;
use futures_util::StreamExt;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt;

use super::{ANSWER_WAIT_MAX_MS, Answers, Client, ClientError, UPLOAD_WAIT_MAX_MS, innermost};
use crate::backup::{MEDIA_TYPE, OnConflict, Restored};
use crate::body::Body;

/// A back-up as it comes.
pub struct Download {
    /// How many bytes will come, where the API says so.
    pub bytes: Option<u64>,
    /// The bytes. An error is the last of them, and then what came is no back-up.
    pub pieces: Answers<Bytes>,
}

impl Client {
    /// Takes a back-up of the whole platform.
    ///
    /// # Errors
    /// As for every request.
    pub async fn backup(&self) -> Result<Download, ClientError> {
        let request = self.request(Method::GET, "/v1/backup", Body::Empty);
        let response = self.send(request, ANSWER_WAIT_MAX_MS).await?;
        let bytes = response.headers().get(CONTENT_LENGTH);
        let bytes = bytes.and_then(|bytes| bytes.to_str().ok()?.parse().ok());
        let this = self.clone();
        let pieces = response
            .into_body()
            .into_data_stream()
            .map(move |piece| piece.map_err(|error| this.broken(innermost(&error))));
        Ok(Download {
            bytes,
            pieces: pieces.boxed(),
        })
    }

    /// Restores the back-up that `archive` streams.
    ///
    /// # Errors
    /// As for every request; what the API says then tells what was changed.
    pub async fn restore(
        &self,
        archive: Body,
        on_conflict: OnConflict,
    ) -> Result<Restored, ClientError> {
        let wish = match on_conflict {
            OnConflict::Refuse => "refuse",
            OnConflict::Keep => "keep",
            OnConflict::Replace => "replace",
        };
        let path = format!("/v1/restore?on-conflict={wish}");
        let mut request = self.request(Method::POST, &path, archive);
        let tar = HeaderValue::from_static(MEDIA_TYPE);
        request.headers_mut().insert(CONTENT_TYPE, tar);
        self.value(request, UPLOAD_WAIT_MAX_MS).await
    }
}
