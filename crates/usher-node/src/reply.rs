//! The body of a reply whose guest still runs.
//!
//! Whoever drops it before its end cancels the run. Its end is the last frame, or the number of
//! bytes that the head promised: servers do not ask for more, and the guest may then still have
//! something to finish.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;
use usher_api::body::{Body, BodyError};

/// Says that nobody reads the reply any more.
pub(crate) type Cancelled = oneshot::Receiver<()>;

/// Ties a reply's body to its run. `headless`: the reply has no body by the rules of HTTP, so that
/// its being dropped unread says nothing.
pub(crate) fn tie(
    response: http::Response<Body>,
    headless: bool,
) -> (http::Response<Body>, Cancelled) {
    let (cancel, cancelled) = oneshot::channel();
    let (head, body) = response.into_parts();
    let promised = head
        .headers
        .get(http::header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    let no_body = headless
        || head.status == http::StatusCode::NO_CONTENT
        || head.status == http::StatusCode::NOT_MODIFIED;
    let body = Tied {
        missing_bytes: promised.or_else(|| body.size_hint().exact()),
        cancel: (!no_body).then_some(cancel),
        body,
    };
    (
        http::Response::from_parts(head, Body::stream(body)),
        cancelled,
    )
}

/// Resolves when the reply was dropped before its end, and never otherwise.
pub(crate) async fn dropped_early(cancelled: Cancelled) {
    if cancelled.await.is_err() {
        std::future::pending::<()>().await;
    }
}

struct Tied {
    body: Body,
    /// Bytes to come before the body has its promised length.
    missing_bytes: Option<u64>,
    /// None once the end was reached.
    cancel: Option<oneshot::Sender<()>>,
}

impl http_body::Body for Tied {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.missing_bytes = self.missing_bytes.map(|bytes| bytes.saturating_sub(length));
            }
            // An error is the run's own end.
            Some(Err(_)) | None => self.cancel = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        if self.missing_bytes == Some(0) || self.body.is_end_stream() {
            return;
        }
        if let Some(cancel) = self.cancel.take() {
            // The run may be over already.
            let _ = cancel.send(());
        }
    }
}
