//! TLS of the real binary: components and programs over it, given certificates, and an address that
//! is taken.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Request, Version};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use usher_api::body::Body;

use crate::event;
use crate::folder::Folder;
use crate::server::{Server, run};

/// A program that answers with what it is told of the client's connection.
const PROGRAM: &str = r#"
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Tells(BaseHTTPRequestHandler):
    def do_GET(self):
        names = ("host", "forwarded", "x-forwarded-proto", "x-forwarded-host")
        body = "\n".join(f"{name}: {self.headers.get(name)}" for name in names).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Tells).serve_forever()
"#;

/// Connects to an address that is to prove that it has a name.
pub(crate) async fn shake(
    address: SocketAddr,
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
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    event("a handshake ends", connector.connect(name, socket)).await
}

/// A certificate in a file.
pub(crate) fn root(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

/// Asks for `/` of a host over a connection, in the version that its handshake settled.
async fn get(stream: TlsStream<TcpStream>, host: &str) -> (Version, String) {
    let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    let request = match second {
        true => Request::get(format!("https://{host}/")),
        false => Request::get("/").header("host", host),
    };
    let request = request.body(Body::Empty).unwrap();
    let response = if second {
        let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (mut client, connection) = made.unwrap();
        tokio::spawn(connection);
        event("an answer", client.send_request(request)).await
    } else {
        let (mut client, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        event("an answer", client.send_request(request)).await
    };
    let response = response.unwrap();
    assert_eq!(response.status(), 200, "{response:?}");
    let version = response.version();
    let body = event("a body", response.into_body().collect()).await;
    let body = body.unwrap().to_bytes();
    (version, String::from_utf8(body.to_vec()).unwrap())
}

/// Writes a certificate for a name, signed by itself, and its key.
fn give(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let files = (folder.join("given.crt"), folder.join("given.key"));
    std::fs::write(&files.0, certificate.pem()).unwrap();
    std::fs::write(&files.1, key.serialize_pem()).unwrap();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_and_programs_are_served_over_tls_in_both_versions_and_after_a_restart() {
    let data = Folder::new();
    let component = Folder::function("hello", "rust-hello", "");
    let program = Folder::new();
    std::fs::write(program.path().join("app.py"), PROGRAM).unwrap();
    let manifest = "name = \"tells\"\n[process]\ncontract = \"http\"\n\
                    command = [\"python3\", \"app.py\"]\n[limits]\nstart_max_ms = 60000\n";
    std::fs::write(program.path().join("function.toml"), manifest).unwrap();
    let server = Server::up(data.path()).await;
    for folder in [&component, &program] {
        server.run(&["deploy", folder.text()]).await.done();
    }
    let address = server.gateway_tls.unwrap();
    let authority = data.path().join("tls/authority.pem");
    assert!(!authority.exists(), "made before anybody asked for it");
    let strange = CertificateParams::new(Vec::new()).unwrap();
    let strange = strange.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let refused = shake(address, "hello.localhost", &[], strange.der().clone()).await;
    refused.unwrap_err();

    let both: [&[&[u8]]; 2] = [&[b"h2", b"http/1.1"], &[b"http/1.1"]];
    for (alpn, version) in both.into_iter().zip([Version::HTTP_2, Version::HTTP_11]) {
        let stream = shake(address, "hello.localhost", alpn, root(&authority)).await;
        let (spoken, body) = get(stream.unwrap(), "hello.localhost").await;
        assert_eq!(spoken, version);
        assert!(!body.is_empty());
        let stream = shake(address, "tells.localhost", alpn, root(&authority)).await;
        let (spoken, body) = get(stream.unwrap(), "tells.localhost").await;
        assert_eq!(spoken, version);
        let told = "host: tells.localhost\n\
                    forwarded: for=127.0.0.1;host=tells.localhost;proto=https\n\
                    x-forwarded-proto: https\nx-forwarded-host: tells.localhost";
        assert_eq!(body, told);
    }

    let trusted = root(&authority);
    server.kill().await;
    let server = Server::up(data.path()).await;
    let address = server.gateway_tls.unwrap();
    let stream = shake(address, "hello.localhost", &[b"h2"], trusted).await;
    get(stream.unwrap(), "hello.localhost").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn given_certificates_are_read_again_and_no_connection_is_lost() {
    let (data, given) = (Folder::new(), Folder::new());
    let component = Folder::function("hello", "rust-hello", "");
    let files = give(given.path(), "hello.example.test");
    let (certificate, key) = (files.0.to_str().unwrap(), files.1.to_str().unwrap());
    let words = [
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
        "--domain",
        "example.test",
    ];
    let server = Server::up_with(data.path(), &words).await;
    server.run(&["deploy", component.text()]).await.done();
    let address = server.gateway_tls.unwrap();
    let first = root(&files.0);
    let before = shake(address, "hello.example.test", &[b"h2"], first.clone()).await;
    let before = before.unwrap();
    give(given.path(), "hello.example.test");
    let second = root(&files.0);
    server.signal(Signal::HUP);
    event("the new certificate is shown", async {
        while shake(address, "hello.example.test", &[], second.clone())
            .await
            .is_err()
        {}
    })
    .await;
    let old = shake(address, "hello.example.test", &[], first).await;
    old.unwrap_err();
    get(before, "hello.example.test").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_ends_only_a_platform_that_was_told_to_use_it() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let data = Folder::new();
    let words = ["up", "--gateway", "127.0.0.1:0", "--api", "127.0.0.1:0"];
    let more = ["--data", data.text(), "--gateway-tls", &taken];
    let told = run(None, &[&words[..], &more].concat()).await;
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let message = told.lines[0]["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("cannot listen on {taken}")),
        "{message}"
    );

    // The usual address is held by this test, or by somebody before it.
    let _usual = TcpListener::bind("127.0.0.1:8443");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = free.local_addr().unwrap();
    drop(free);
    let server = Server::up_at(data.path(), gateway, &[]).await;
    assert_eq!((server.gateway, server.gateway_tls), (gateway, None));
    drop(server);
    let server = Server::up_with(Folder::new().path(), &["--gateway-tls", "off"]).await;
    assert_eq!(server.gateway_tls, None);
}
