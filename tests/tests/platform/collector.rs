//! A stand-in for an OpenTelemetry collector: takes OTLP over HTTP, and keeps the spans.
//!
//! It reads the protocol's bytes by the numbers of its fields, with no code that the platform
//! writes them with. Deliberately absent: everything of the protocol but spans.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::event;

/// A span as it was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    /// 1: internal, 2: server.
    pub(crate) kind: u64,
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The traces and spans that it links to.
    pub(crate) links: Vec<(String, String)>,
    /// 2: an error.
    pub(crate) status: u64,
    /// Of the whole that it was sent with.
    pub(crate) resource: BTreeMap<String, String>,
}

/// What was taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) spans: Vec<Span>,
    /// Every body, as it came.
    pub(crate) bodies: Vec<Bytes>,
    pub(crate) heads: Vec<HeaderMap>,
}

/// A collector that runs until it is dropped.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    taken: watch::Sender<Taken>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = watch::Sender::new(Taken::default());
        let task = tokio::spawn(serve(listener, taken.clone()));
        Self {
            address,
            taken,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until what was taken is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Taken) -> bool) -> Taken {
        let mut taken = self.taken.subscribe();
        let waited = event(what, taken.wait_for(|taken| so(taken))).await;
        waited.unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, taken: watch::Sender<Taken>) {
    let taken = Arc::new(taken);
    while let Ok((socket, _)) = listener.accept().await {
        let taken = Arc::clone(&taken);
        tokio::spawn(async move {
            let take = service_fn(move |request| take(Arc::clone(&taken), request));
            let http = hyper::server::conn::http1::Builder::new();
            // Whoever breaks off has said all that is kept of it.
            let _ = http.serve_connection(TokioIo::new(socket), take).await;
        });
    }
}

async fn take(
    taken: Arc<watch::Sender<Taken>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let known = head.method == http::Method::POST && head.uri.path() == "/v1/traces";
    let is_protobuf = head.headers.get("content-type").map(|kind| kind.as_bytes());
    if !known || is_protobuf != Some(b"application/x-protobuf") {
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return Ok(response);
    }
    let body = body.collect().await.unwrap().to_bytes();
    let spans = spans(&body);
    taken.send_modify(|taken| {
        taken.spans.extend(spans);
        taken.bodies.push(body);
        taken.heads.push(head.headers);
    });
    let response = Response::builder().header("content-type", "application/x-protobuf");
    Ok(response.body(Full::default()).unwrap())
}

/// A field of a message.
enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// The fields of a message, with their numbers.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(cut(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).unwrap();
                Field::Bytes(cut(&mut bytes, length))
            }
            5 => {
                let number = u32::from_le_bytes(cut(&mut bytes, 4).try_into().unwrap());
                Field::Number(u64::from(number))
            }
            kind => panic!("no such kind of field: {kind}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn cut<'b>(bytes: &mut &'b [u8], length: usize) -> &'b [u8] {
    let (head, rest) = bytes.split_at(length);
    *bytes = rest;
    head
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = cut(bytes, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

/// The messages in one field.
fn messages(bytes: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    let fields = fields(bytes).into_iter();
    fields.filter_map(move |(found, field)| match field {
        Field::Bytes(bytes) if found == number => Some(bytes),
        _ => None,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spans(request: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in messages(request, 1) {
        let resource = messages(of_resource, 1).next().unwrap();
        let resource: BTreeMap<_, _> = messages(resource, 1).map(attribute).collect();
        for of_scope in messages(of_resource, 2) {
            spans.extend(messages(of_scope, 2).map(|bytes| Span {
                resource: resource.clone(),
                ..span(bytes)
            }));
        }
    }
    spans
}

fn span(bytes: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, field) in fields(bytes) {
        match (number, field) {
            (1, Field::Bytes(id)) => span.trace = hexadecimal(id),
            (2, Field::Bytes(id)) => span.id = hexadecimal(id),
            (3, Field::Bytes(state)) => span.state = text(state),
            (4, Field::Bytes(id)) => span.parent = hexadecimal(id),
            (5, Field::Bytes(name)) => span.name = text(name),
            (6, Field::Number(kind)) => span.kind = kind,
            (7, Field::Number(time)) => span.began_ns = time,
            (8, Field::Number(time)) => span.ended_ns = time,
            (9, Field::Bytes(pair)) => span.attributes.extend([attribute(pair)]),
            (13, Field::Bytes(link)) => {
                let id = |number| messages(link, number).next().map(hexadecimal);
                span.links.push((id(1).unwrap(), id(2).unwrap()));
            }
            (15, Field::Bytes(status)) => {
                let code = fields(status).into_iter().find(|(number, _)| *number == 3);
                if let Some((_, Field::Number(code))) = code {
                    span.status = code;
                }
            }
            _ => {}
        }
    }
    span
}

fn attribute(pair: &[u8]) -> (String, String) {
    let name = text(messages(pair, 1).next().unwrap());
    let value = messages(pair, 2).next().unwrap();
    let value = match fields(value).into_iter().next() {
        Some((1, Field::Bytes(value))) => text(value),
        Some((2, Field::Number(value))) => (value != 0).to_string(),
        Some((3, Field::Number(value))) => value.to_string(),
        _ => panic!("{name} is no text, number or truth"),
    };
    (name, value)
}
