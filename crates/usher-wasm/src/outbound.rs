//! Outbound HTTP of guests: only to what the function's allow-list names.
//!
//! How the list is kept to is `usher_engine::outbound`'s, the same for every engine. Redirects are
//! the guest's own affair: a new request, checked anew.
//!
//! Deliberately absent: connections kept from one request to the next, which would be state.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::HeaderName;
use http::uri::Scheme as UriScheme;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use usher_core::outbound::{AllowList, Denied, Scheme};
use usher_engine::outbound::{NotReached, reach};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, Result, WasiBody, WasiHttpHooks,
};

/// How long connecting may take where the guest names no bound, in milliseconds.
const CONNECT_MAX_MS: u64 = 10_000;
/// How long the response's head may take where the guest names no bound, in milliseconds.
const FIRST_BYTE_MAX_MS: u64 = 60_000;
/// Writes to a body that wait for their reader.
const BODY_CHUNKS_MAX: usize = 4;
/// Bytes of one write to a body.
const BODY_CHUNK_MAX_BYTES: usize = 64 << 10;

/// Headers that no guest may set or see: wasi:http's own list.
static FORBIDDEN: [HeaderName; 9] = DEFAULT_FORBIDDEN_HEADERS;

/// What one environment may reach.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    allowed: Arc<AllowList>,
    refuses: bool,
}

impl Outbound {
    pub(crate) fn new(allowed: Arc<AllowList>) -> Self {
        Self {
            allowed,
            refuses: false,
        }
    }

    /// Whether everything is refused, whatever the list says.
    pub(crate) fn refuse(&mut self, all: bool) {
        self.refuses = all;
    }
}

type Io = Box<dyn Future<Output = Result<()>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Io)>;

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        if self.refuses {
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        }
        Box::new(send(self.allowed.clone(), request, options))
    }

    /// The default's own answer, without making its list of names anew for each header.
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        FORBIDDEN.contains(name)
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS_MAX
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_MAX_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_MAX_BYTES
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn send(
    allowed: Arc<AllowList>,
    mut request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
) -> Sent {
    let bound = |given: Option<Duration>, max_ms| given.unwrap_or(Duration::from_millis(max_ms));
    let connect_max = bound(options.and_then(|o| o.connect_timeout), CONNECT_MAX_MS);
    let first_byte_max = bound(
        options.and_then(|o| o.first_byte_timeout),
        FIRST_BYTE_MAX_MS,
    );
    let place = Place::of(request.uri())?;
    let stream = timeout(connect_max, connect(&allowed, &place))
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Hyper)?;
    let connection = tokio::spawn(connection);
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let response = timeout(first_byte_max, sender.send_request(request))
        .await
        .map_err(|_| Error::HttpResponseTimeout)?
        .map_err(Error::Hyper)?;
    let io: Io = Box::new(async move {
        let ended = connection.await.map_err(|_| Error::ConnectionTerminated)?;
        ended.map_err(Error::Hyper)
    });
    Ok((
        response.map(|body| body.map_err(Error::Hyper).boxed_unsync()),
        io,
    ))
}

/// Where a request goes.
struct Place {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl Place {
    fn of(uri: &http::Uri) -> Result<Self> {
        let scheme = match uri.scheme() {
            Some(scheme) if *scheme == UriScheme::HTTP => Scheme::Http,
            Some(scheme) if *scheme == UriScheme::HTTPS => Scheme::Https,
            _ => return Err(Error::HttpProtocolError),
        };
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        let default = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(default),
        })
    }
}

async fn connect(allowed: &AllowList, place: &Place) -> Result<Box<dyn Stream>> {
    let Place { scheme, host, port } = place;
    let stream = reach(allowed, *scheme, host, *port).await;
    let stream = stream.map_err(not_reached)?;
    match scheme {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => {
            let name = rustls::pki_types::ServerName::try_from(host.to_owned())
                .map_err(|_| Error::HttpRequestUriInvalid)?;
            let connector = tokio_rustls::TlsConnector::from(TLS.clone());
            let stream = connector.connect(name, stream).await.map_err(Error::Tls)?;
            Ok(Box::new(stream))
        }
    }
}

fn not_reached(failure: NotReached) -> Error {
    match failure {
        NotReached::Denied(denied) => {
            tracing::debug!(%denied, "outbound request refused");
            match denied {
                Denied::Inside { .. } => Error::DestinationIpProhibited,
                Denied::NotListed { .. } => Error::HttpRequestDenied,
            }
        }
        NotReached::Resolve(error) => Error::DnsError {
            rcode: Some(error.kind().to_string()),
            info_code: None,
        },
        NotReached::NoAddress => Error::DestinationNotFound,
        NotReached::Connect(error) => Error::Connect(error),
    }
}

static TLS: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let config = rustls::ClientConfig::builder();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
});
