//! One run of a component for wasi:http 0.3, inside the event loop of its store.
//!
//! ```text
//! call ─→ handler returns a response ─→ head and what is there of the body: offered
//!          tasks go on, streams flow ─→ no task is left, and the body was taken ─→ over
//! ```
//!
//! A handler of 0.3 may go on after it has returned its response: it writes the body by then. So a
//! run is over when two things have happened: every task of the instance has ended, and the reader
//! has taken the whole body or has gone away. Both are bounded by the limits on time, which are
//! watched from outside of this future: a guest that computes holds the store, and nothing in here
//! is polled meanwhile.
//!
//! A short reply is complete before anybody has seen its head, and is then handed on whole.
//!
//! Deliberately absent: those limits, and what becomes of the instance (`run`).

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::uri::{Authority, PathAndQuery, Scheme};
use wasmtime::Store;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error, WasiHttpView};

use crate::body::Inbound;
use crate::host::Host;
use crate::reply::{Reply, Taken};
use crate::run::Slot;

type Processed = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A request as the interface of 0.3 has it, before it is in the store's table.
pub(crate) struct Arrived {
    request: Request,
    /// Whether the guest could make something of the request.
    processed: Processed,
}

/// Makes a request into one of 0.3: with a scheme, and the authority apart from the headers.
///
/// Fails if it has no legal authority.
pub(crate) fn arrived(
    store: &mut Store<Host>,
    request: http::Request<Inbound>,
) -> Result<Arrived, String> {
    let (mut head, body) = request.into_parts();
    let authority = match head.uri.authority() {
        Some(authority) => authority.clone(),
        None => {
            let host = head.headers.get(http::header::HOST);
            let host = host.ok_or("the request names no host")?;
            let host = Authority::try_from(host.as_bytes());
            host.map_err(|error| format!("the request's host is not one: {error}"))?
        }
    };
    let root = || PathAndQuery::from_static("/");
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(head.uri.path_and_query().cloned().unwrap_or_else(root));
    uri.scheme = Some(head.uri.scheme().cloned().unwrap_or(Scheme::HTTP));
    uri.authority = Some(authority);
    head.uri = http::Uri::from_parts(uri).map_err(|error| error.to_string())?;
    let request = http::Request::from_parts(head, body);
    let (request, processed) = Request::from_http(store.data_mut().http().hooks, request);
    let processed = Box::pin(processed);
    Ok(Arrived { request, processed })
}

/// Runs one call to its end; its head appears in `slot` as soon as it is there.
pub(crate) async fn serve(
    store: &mut Store<Host>,
    service: &Service,
    arrived: Arrived,
    slot: &Slot,
) -> wasmtime::Result<()> {
    let ran = store.run_concurrent(async |accessor| {
        let Arrived { request, processed } = arrived;
        let taken = Arc::new(Taken::default());
        let head = match service.handle(accessor, request).await? {
            Ok(response) => {
                let head = accessor.with(|mut store| response.into_http(&mut store, processed))?;
                Ok(head.map(|body| Reply::flowing(body, taken.clone())))
            }
            Err(code) => {
                taken.tell();
                Err(format!("{code:?}"))
            }
        };
        *slot.lock() = Some(head);
        poll_fn(|cx| poll_over(cx, accessor, slot, &taken)).await;
        Ok(())
    });
    ran.await?
}

/// Ready once no task is left and the body needs the store no more.
fn poll_over(
    cx: &mut Context<'_>,
    accessor: &Accessor<Host>,
    slot: &Slot,
    taken: &Taken,
) -> Poll<()> {
    if let Some(Ok(head)) = &mut *slot.lock() {
        head.body_mut().gather(cx);
    }
    ready!(accessor.poll_no_interesting_tasks(cx));
    taken.poll(cx)
}
