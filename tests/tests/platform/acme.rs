//! A certificate from an authority that speaks ACME: Debian's `pebble`, with a server of names of
//! its own, both on loopback.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use usher_api::body::Body;

use crate::event;
use crate::folder::Folder;
use crate::server::Server;
use crate::tls::{root, shake};

const NAME: &str = "shop.example.test";

/// An address that nobody has.
fn free() -> SocketAddr {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Names are asked for by datagrams too.
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// An authority that is running.
struct Authority {
    directory: String,
    management: SocketAddr,
    _processes: [Child; 2],
}

/// Starts a program that goes with what holds it, and waits for a line of it.
async fn start(program: &str, args: &[&str], until: &str) -> Child {
    let path = Path::new("/usr/bin").join(program);
    let shown = path.display();
    assert!(
        path.exists(),
        "{shown} is not there; `cargo xtask peers` installs it"
    );
    let mut child = Command::new(path)
        .args(args)
        .env("PEBBLE_VA_NOSLEEP", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    event(program, async {
        loop {
            let line = lines.next_line().await.unwrap();
            if line.expect("it ended").contains(until) {
                return;
            }
        }
    })
    .await;
    // It goes on to write, and must not wait for a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    child
}

/// Starts an authority that looks for proofs at the gateway.
async fn authority(folder: &Path, gateway: SocketAddr) -> Authority {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.distinguished_name
        .push(DnType::CommonName, "root of the authority's own server");
    let certificate = root.self_signed(&root_key).unwrap();
    std::fs::write(folder.join("root.pem"), certificate.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let server = server
        .signed_by(&key, &Issuer::new(root, root_key))
        .unwrap();
    std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
    std::fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();

    let (names, listen, management) = (free(), free(), free());
    let config = serde_json::json!({ "pebble": {
        "listenAddress": listen.to_string(),
        "managementListenAddress": management.to_string(),
        "certificate": folder.join("server.pem"),
        "privateKey": folder.join("server.key"),
        "httpPort": gateway.port(),
        "tlsPort": 1,
    }});
    let file = folder.join("pebble.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let names = names.to_string();
    let other = free().to_string();
    let server_of_names = start(
        "pebble-challtestsrv",
        &[
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-dns01",
            &names,
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-management",
            &other,
        ],
        "Starting management server",
    )
    .await;
    let args = ["-config", file.to_str().unwrap(), "-dnsserver", &names];
    let pebble = start("pebble", &args, "ACME directory available").await;
    Authority {
        directory: format!("https://{listen}/dir"),
        management,
        _processes: [server_of_names, pebble],
    }
}

/// The certificate that vouches for all that the authority makes.
async fn issuer(authority: &Authority, folder: &Path) -> CertificateDer<'static> {
    let own = root(&folder.join("root.pem"));
    // It tells of its directory before it listens here.
    event("the authority's own interface listens", async {
        while TcpStream::connect(authority.management).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stream = shake(authority.management, "127.0.0.1", &[], own)
        .await
        .unwrap();
    let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut client, connection) = made.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/roots/0").header("host", "127.0.0.1");
    let response = client
        .send_request(request.body(Body::Empty).unwrap())
        .await;
    let body = response.unwrap().into_body().collect().await.unwrap();
    CertificateDer::from_pem_slice(&body.to_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_ordered_proven_shown_and_kept() {
    let (data, folder) = (Folder::new(), Folder::new());
    let gateway = free();
    let authority = authority(folder.path(), gateway).await;
    let issuer = issuer(&authority, folder.path()).await;
    let own = folder.path().join("root.pem");
    let directory = authority.directory.clone();
    let words = [
        "--gateway-tls",
        "127.0.0.1:0",
        "--acme-name",
        NAME,
        "--acme-directory",
        &directory,
        "--acme-root",
        own.to_str().unwrap(),
        "--acme-contact",
        "mailto:me@example.test",
    ];
    let server = Server::up_at(data.path(), gateway, &words).await;
    let address = server.gateway_tls.unwrap();
    event("the authority's certificate is shown", async {
        while shake(address, NAME, &[], issuer.clone()).await.is_err() {}
    })
    .await;
    // Only for the name that it was ordered for.
    let other = shake(address, "other.localhost", &[], issuer.clone()).await;
    other.unwrap_err();
    let kept = data.path().join("tls/acme");
    for file in ["account.json", &format!("{NAME}.pem")] {
        let mode = kept.join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    server.kill().await;
    // Without the authority there is what was kept.
    drop(authority);
    let server = Server::up_at(data.path(), gateway, &words).await;
    let address = server.gateway_tls.unwrap();
    event("the kept certificate is shown", async {
        while shake(address, NAME, &[], issuer.clone()).await.is_err() {}
    })
    .await;
}
