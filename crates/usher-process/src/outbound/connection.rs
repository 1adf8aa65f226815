//! One connection of a program to its proxy: requests, or a request and then a tunnel.
//!
//! ```text
//!  serving ─┬ GET http://… ─► forwarded over a connection of its own ─► serving
//!           ├ CONNECT ─► 200 ─► tunnel ─► either side ends ───────────► gone
//!           └ refused, nothing moves ─────────────────────────────────► gone
//! ```

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, uri};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use usher_api::body::{Body, BodyError};
use usher_core::outbound::Scheme;
use usher_engine::outbound::{NotReached, reach};

use super::Shared;
use super::refusal::{self, Place, reply};
use crate::contract::port::head::{self, Outgoing};
use crate::contract::port::link::{Begun, Link};
use crate::tunnel::{Counted, Moved, pump, stands_still};

/// The largest head of a program's request, in bytes.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// The most headers of a program's request.
const HEADERS_MAX: usize = 100;

/// A tunnel that was granted: the program's end, once the 200 is written, and the other.
type Tunnel = (OnUpgrade, TcpStream);

/// Serves a connection to its end.
pub(super) async fn run(stream: TcpStream, shared: Arc<Shared>) {
    // It only fails where the connection is gone, which the first read tells.
    let _ = stream.set_nodelay(true);
    let idle_max = Duration::from_millis(shared.bounds.idle_max_ms);
    let head_wait_max = Duration::from_millis(shared.bounds.head_wait_max_ms);
    let moved = Arc::<Moved>::default();
    let tunnel = Arc::<Mutex<Option<Tunnel>>>::default();
    let granted = Arc::clone(&tunnel);
    let service = service_fn(move |request| {
        let (shared, granted) = (Arc::clone(&shared), Arc::clone(&granted));
        async move { Ok::<_, Infallible>(serve(&shared, &granted, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_wait_max)
        .max_header_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX);
    let counted = Counted::new(stream, Arc::clone(&moved));
    let http = http.serve_connection(TokioIo::new(counted), service);
    tokio::select! {
        ended = http.with_upgrades() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a program's connection to its proxy ended early");
            }
        }
        () = stands_still(&moved, idle_max) => return,
    }
    let tunnel = tunnel.lock().take();
    if let Some((program, outside)) = tunnel
        && let Ok(program) = program.await
    {
        pump(TokioIo::new(program), outside, idle_max).await;
    }
}

async fn serve(
    shared: &Shared,
    granted: &Mutex<Option<Tunnel>>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let claim = hyper::upgrade::on(&mut request);
    let connects = request.method() == Method::CONNECT;
    let place = match place(&request) {
        Ok(place) => place,
        Err(text) => return reply(StatusCode::BAD_REQUEST, text.to_owned()),
    };
    let outside = match connect(shared, &place).await {
        Ok(outside) => outside,
        Err(response) => return response,
    };
    if connects {
        *granted.lock() = Some((claim, outside));
        return Response::new(Body::Empty);
    }
    match forward(request.map(Body::from), outside).await {
        Ok(response) => response,
        Err(text) => reply(StatusCode::BAD_GATEWAY, text),
    }
}

/// Reads where a request is to go.
fn place<B: http_body::Body>(request: &Request<B>) -> Result<Place, &'static str> {
    let connects = request.method() == Method::CONNECT;
    let uri = request.uri();
    let scheme = match uri.scheme() {
        None if connects => None,
        Some(scheme) if *scheme == uri::Scheme::HTTP && !connects => Some(Scheme::Http),
        Some(_) => return Err("this proxy passes http:// on; use CONNECT for anything else"),
        None => return Err("this is a proxy: ask it for an absolute http:// URI, or CONNECT"),
    };
    let authority = uri.authority().ok_or("the request names no host")?;
    if authority.as_str().contains('@') {
        return Err("the request's host contains a user, which is not passed on");
    }
    let port = match (authority.port_u16(), scheme) {
        (Some(port), _) => port,
        (None, Some(scheme)) if authority.port().is_none() => scheme.default_port(),
        _ => return Err("the request names no port"),
    };
    if connects && !request.body().is_end_stream() {
        return Err("CONNECT has no body");
    }
    Ok(Place {
        scheme,
        host: authority.host().to_owned(),
        port,
    })
}

/// Connects to where the list permits, or says why not.
async fn connect(shared: &Shared, place: &Place) -> Result<TcpStream, Response<Body>> {
    let allowed = &shared.allowed;
    let Place { host, port, .. } = place;
    // What is spoken in a tunnel is not known; it may be either where the list has it so.
    let plain = || allowed.names(Scheme::Http, host, *port).is_ok();
    let secure = || allowed.names(Scheme::Https, host, *port).is_ok();
    let scheme = match place.scheme {
        Some(scheme) => scheme,
        None if !secure() && plain() => Scheme::Http,
        None => Scheme::Https,
    };
    let connect_max = Duration::from_millis(shared.bounds.connect_max_ms);
    let reached = tokio::time::timeout(connect_max, reach(allowed, scheme, host, *port)).await;
    match reached {
        Ok(Ok(stream)) => {
            // It only fails where the connection is gone.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(NotReached::Denied(denied))) => {
            let sentence = refusal::sentence(&denied, place);
            (shared.refused)(&sentence);
            Err(reply(StatusCode::FORBIDDEN, sentence))
        }
        Ok(Err(failure)) => Err(refusal::failed(&failure, place)),
        Err(_) => {
            let limit_ms = shared.bounds.connect_max_ms;
            let text = format!("{host}:{port} was not reached within {limit_ms} ms");
            Err(reply(StatusCode::GATEWAY_TIMEOUT, text))
        }
    }
}

/// Hands one request on, over a connection that is used for nothing else.
async fn forward(request: Request<Body>, outside: TcpStream) -> Result<Response<Body>, String> {
    let outgoing = Outgoing::plain(request, false).map_err(|error| error.to_string())?;
    let link = Link::open(outside).await;
    let link = link.map_err(|error| error.to_string())?;
    let begun = link.send(outgoing.into_request()).await;
    let Begun { response, link } = begun.map_err(|lost| {
        let error = lost.error.to_string();
        error.replace("the program", "the peer")
    })?;
    let (mut parts, body) = response.into_parts();
    head::reply(&mut parts, None).map_err(|_| "the peer's reply is not HTTP/1.1".to_owned())?;
    let body = match body.is_end_stream() {
        true => Body::Empty,
        false => Body::stream(Forwarded { body, link }),
    };
    Ok(Response::from_parts(parts, body))
}

/// A reply's body, which drives the connection that it comes from.
struct Forwarded {
    body: Incoming,
    link: Link,
}

impl http_body::Body for Forwarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut frame = Pin::new(&mut this.body).poll_frame(cx);
        if frame.is_pending() {
            this.link.drive(cx);
            frame = Pin::new(&mut this.body).poll_frame(cx);
        }
        frame.map(|frame| frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
