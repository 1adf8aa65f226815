//! A request on its way to the gateway, and the answer on its way back: frame by frame, and byte by
//! byte after a change of protocol.
//!
//! Deliberately absent: what the gateway does itself, such as taking out what a client must not say.

use std::net::SocketAddr;

use http::header::{CONNECTION, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use usher_api::body::Body;

use super::page;

/// Headers of one connection, which the next one has its own of.
static OF_CONNECTION: [HeaderName; 4] = [CONNECTION, EXPECT, TE, TRANSFER_ENCODING];
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The way to the gateway.
pub(crate) struct Forward {
    gateway: SocketAddr,
    client: Client<HttpConnector, Body>,
}

impl Forward {
    /// The way to the gateway that listens there.
    pub(crate) fn new(gateway: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut client = Client::builder(TokioExecutor::new());
        client.set_host(false);
        Self {
            gateway,
            client: client.build(connector),
        }
    }

    /// The gateway's answer.
    pub(crate) async fn send(&self, mut request: Request<Incoming>) -> Response<Body> {
        let asked = upgrade_of(request.headers());
        let on_request = asked.is_some().then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        let Some(uri) = self.uri(&head.uri) else {
            return page::text(StatusCode::BAD_REQUEST, "usher dev: the address is no path");
        };
        if !head.headers.contains_key(HOST) {
            let host = head.uri.authority().map_or("localhost", Authority::as_str);
            if let Ok(host) = HeaderValue::from_str(host) {
                head.headers.insert(HOST, host);
            }
        }
        (head.uri, head.version) = (uri, Version::HTTP_11);
        cleanse(&mut head.headers, asked.as_ref());
        let sent = Request::from_parts(head, Body::from(body));
        let mut answer = match self.client.request(sent).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%error, "the gateway did not answer");
                let told = "usher dev: the request broke off; the function's log may say why";
                return page::text(StatusCode::BAD_GATEWAY, told);
            }
        };
        let chosen = upgrade_of(answer.headers());
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS
            && let Some(on_request) = on_request
        {
            let on_answer = hyper::upgrade::on(&mut answer);
            tokio::spawn(lend(on_request, on_answer));
        }
        let (mut head, body) = answer.into_parts();
        cleanse(&mut head.headers, chosen.as_ref());
        Response::from_parts(head, Body::from(body))
    }

    fn uri(&self, asked: &Uri) -> Option<Uri> {
        let root = || PathAndQuery::from_static("/");
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.gateway.to_string())
            .path_and_query(asked.path_and_query().cloned().unwrap_or_else(root))
            .build()
            .ok()
    }
}

/// The protocol that a head would change to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(UPGRADE).cloned()
}

/// Takes out what is of one connection, but a change of protocol.
fn cleanse(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    for name in OF_CONNECTION.iter().chain([&KEEP_ALIVE, &UPGRADE]) {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
}

/// Passes bytes both ways until both sides are done.
async fn lend(client: hyper::upgrade::OnUpgrade, gateway: hyper::upgrade::OnUpgrade) {
    let (Ok(client), Ok(gateway)) = tokio::join!(client, gateway) else {
        return;
    };
    let (mut client, mut gateway) = (TokioIo::new(client), TokioIo::new(gateway));
    // Either side may go at any time.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut gateway).await;
}
