//! TLS: who is shown which certificate, and clients that take their time.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use usher_api::body::Body;
use usher_api::invoke::Invocation;
use usher_core::function::Settings;
use usher_gateway::tls::{Certificates, Files};
use usher_gateway::{Bounds, Config, Drained, Gateway, Gauge, RouteTable, Tls};

use crate::rig::{Fake, event, figures, revision, text};

/// A gateway that speaks TLS, and its folder.
struct Secure {
    address: SocketAddr,
    clear: SocketAddr,
    gauge: Gauge,
    certificates: Arc<Certificates>,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Drained>,
}

impl Secure {
    async fn start(bounds: Bounds, given: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = given.iter().map(|name| give(folder.path(), name));
        let domain = "apps.example".parse().unwrap();
        let certificates = Certificates::new(folder.path(), domain, files.collect()).unwrap();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            listen,
            tls: Some(Tls {
                listen,
                certificates: Arc::clone(&certificates),
            }),
            bounds,
            ..Config::default()
        };
        let table = Arc::new(RouteTable::new());
        table.serve_single(revision("default", "only", Settings::default()));
        let invoker = Fake(async |invocation: Invocation| {
            let proto = invocation.request.headers()["x-forwarded-proto"].clone();
            let (uri, proto) = (invocation.request.uri(), proto.to_str().unwrap());
            text(format!("{proto} {uri}"))
        });
        let gateway = Gateway::bind(config, table, Arc::new(invoker))
            .await
            .unwrap();
        let (stop, stopped) = oneshot::channel();
        Self {
            address: gateway.tls_addr().unwrap(),
            clear: gateway.local_addr(),
            gauge: gateway.gauge(),
            certificates,
            folder,
            stop,
            served: tokio::spawn(gateway.serve(async move {
                let _ = stopped.await;
            })),
        }
    }

    /// What the client trusts: the platform's own authority, or a certificate that was given.
    fn root(&self, file: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.folder.path().join(file)).unwrap()
    }

    async fn shake(
        &self,
        name: &str,
        alpn: &[&[u8]],
        root: CertificateDer<'static>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        event(connector.connect(name, socket)).await
    }
}

/// Writes a certificate for a name, signed by itself, and its key.
fn give(folder: &Path, name: &str) -> Files {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let file = |end: &str| folder.join(format!("{}.{end}", name.replace('*', "any")));
    let files = Files {
        certificates: file("crt"),
        key: file("key"),
    };
    std::fs::write(&files.certificates, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// Has the platform make its own authority, which it does when it is first asked.
async fn own_root(secure: &Secure) -> CertificateDer<'static> {
    let mistrusted = CertificateParams::new(Vec::new()).unwrap();
    let mistrusted = mistrusted
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap();
    let refused = secure
        .shake("localhost", &[], mistrusted.der().clone())
        .await;
    refused.unwrap_err();
    secure.root("authority.pem")
}

async fn get(mut stream: TlsStream<TcpStream>, host: &str) -> String {
    let head = format!("GET /p HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    event(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn the_platforms_own_authority_vouches_for_its_names_and_for_no_other() {
    let secure = Secure::start(Bounds::default(), &[]).await;
    assert!(
        !secure.certificates.authority().exists(),
        "made before anybody asked"
    );
    let root = own_root(&secure).await;
    for name in [
        "localhost",
        "hello.localhost",
        "hello.ann.localhost",
        "apps.example",
        "hello.apps.example",
        "127.0.0.1",
    ] {
        let stream = secure.shake(name, &[], root.clone()).await;
        let stream = stream.unwrap_or_else(|error| panic!("{name}: {error}"));
        let answer = get(stream, name).await;
        let seen = format!("https https://{name}/p");
        assert!(answer.ends_with(&seen), "{answer}");
    }
    for name in [
        "other.example",
        "notlocalhost",
        "evilapps.example",
        "10.0.0.1",
    ] {
        assert!(
            secure.shake(name, &[], root.clone()).await.is_err(),
            "{name}"
        );
    }
    use std::os::unix::fs::PermissionsExt;
    let key = secure.folder.path().join("authority.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // Another gateway on the same folder shows what the client trusts already.
    let domain = "apps.example".parse().unwrap();
    let again = Certificates::new(secure.folder.path(), domain, Vec::new()).unwrap();
    assert_eq!(secure.root("authority.pem"), root);
    drop(again);
}

#[tokio::test]
async fn the_handshake_settles_the_version_and_everything_else_is_the_same() {
    let secure = Secure::start(Bounds::default(), &[]).await;
    let root = own_root(&secure).await;
    let stream = secure
        .shake("a.localhost", &[b"h2", b"http/1.1"], root.clone())
        .await;
    let stream = stream.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://a.localhost/p").body(Body::Empty);
    let response = event(client.send_request(request.unwrap())).await.unwrap();
    let body = event(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "https https://a.localhost/p");
    let stream = secure
        .shake("a.localhost", &[b"http/1.1"], root.clone())
        .await;
    assert!(get(stream.unwrap(), "a").await.starts_with("HTTP/1.1 200 "));
    // A client that speaks neither is told so in the handshake.
    assert!(secure.shake("a.localhost", &[b"smtp"], root).await.is_err());
    // The clear port is still there, and says what it is.
    let mut clear = TcpStream::connect(secure.clear).await.unwrap();
    let head = b"GET /p HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    clear.write_all(head).await.unwrap();
    let mut answer = String::new();
    event(clear.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("http http://a/p"), "{answer}");
    secure.stop.send(()).unwrap();
    assert_eq!(event(secure.served).await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn given_certificates_are_picked_by_name_and_read_again_while_connections_go_on() {
    let secure = Secure::start(Bounds::default(), &["one.example", "*.wild.example"]).await;
    let shake = async |name, file| secure.shake(name, &[], secure.root(file)).await;
    shake("one.example", "one.example.crt").await.unwrap();
    shake("x.wild.example", "any.wild.example.crt")
        .await
        .unwrap();
    shake("x.y.wild.example", "any.wild.example.crt")
        .await
        .unwrap_err();
    shake("one.example", "any.wild.example.crt")
        .await
        .unwrap_err();
    // Whoever names nobody is shown the first one, and names of the platform its own.
    let root = own_root(&secure).await;
    secure.shake("hello.apps.example", &[], root).await.unwrap();

    let old = secure.root("one.example.crt");
    let mut before = secure.shake("one.example", &[], old.clone()).await.unwrap();
    assert!(
        !secure.certificates.reload().unwrap(),
        "nothing has changed"
    );
    give(secure.folder.path(), "one.example");
    assert!(secure.certificates.reload().unwrap());
    secure.shake("one.example", &[], old).await.unwrap_err();
    shake("one.example", "one.example.crt").await.unwrap();
    before
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    event(before.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");

    // What cannot be used changes nothing.
    let current = secure.root("one.example.crt");
    let file = secure.folder.path().join("one.example.crt");
    std::fs::write(&file, "half").unwrap();
    let error = secure.certificates.reload().unwrap_err().to_string();
    assert!(error.contains("one.example.crt"), "{error}");
    std::fs::remove_file(&file).unwrap();
    secure.certificates.reload().unwrap_err();
    secure.shake("one.example", &[], current).await.unwrap();
}

#[test]
fn a_certificate_with_a_strange_key_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (give(folder.path(), "one"), give(folder.path(), "two"));
    let mixed = Files {
        key: two.key,
        ..one
    };
    let domain = "localhost".parse().unwrap();
    Certificates::new(folder.path(), domain, vec![mixed]).unwrap_err();
}

#[tokio::test]
async fn slow_handshakes_hold_nobody_up_and_end() {
    let bounds = Bounds {
        handshakes_max: 4,
        handshake_wait_max_ms: 300,
        ..Bounds::default()
    };
    let secure = Secure::start(bounds, &[]).await;
    let root = own_root(&secure).await;
    let mut slow = Vec::new();
    for at in 0..20 {
        let mut socket = TcpStream::connect(secure.address).await.unwrap();
        // Some say nothing at all, some begin.
        if at % 2 == 0 {
            socket.write_all(&[22, 3, 1, 0, 200, 1]).await.unwrap();
        }
        slow.push(socket);
    }
    figures(&secure.gauge, |now| now.connections == 20).await;
    // The clear port does not know of them.
    let mut clear = TcpStream::connect(secure.clear).await.unwrap();
    clear
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    event(clear.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    drop(clear);
    // All of them are let go, and then there is room.
    figures(&secure.gauge, |now| now.connections == 0).await;
    secure.shake("localhost", &[], root).await.unwrap();
}

#[tokio::test]
async fn a_drain_does_not_wait_for_handshakes() {
    let secure = Secure::start(Bounds::default(), &[]).await;
    let _silent = TcpStream::connect(secure.address).await.unwrap();
    figures(&secure.gauge, |now| now.connections == 1).await;
    secure.stop.send(()).unwrap();
    assert_eq!(event(secure.served).await.unwrap(), Drained { cut: 0 });
}
