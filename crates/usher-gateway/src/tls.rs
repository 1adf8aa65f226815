//! TLS: which certificate a client is shown, and where certificates come from.
//!
//! ```text
//!   server name ─┬ one that was given, by name, else by `*.` ─► files, read again when they change
//!                ├ one that an authority made for it ─────────► `acme`
//!                └ else ──────────────────────────────────────► the platform's own authority
//! ```
//!
//! Each handshake looks at what there is then, so a change of certificates ends no connection. Only
//! TLS 1.2 and 1.3 are spoken, as rustls has them, by the primitives of ring.
//!
//! Deliberately absent: handshakes (`hello`), and certificates of clients.

mod authority;
mod challenges;
mod kept;
mod pair;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use usher_core::route::Domain;

use authority::Authority;
pub(crate) use challenges::{Challenges, Expected};
pub(crate) use pair::Pair;
pub use pair::PairError;

pub(crate) use kept::{read as read_kept, write as write_kept};

/// The name of HTTP/2 in a handshake.
pub(crate) const ALPN_HTTP_2: &[u8] = b"h2";
const ALPN_HTTP_1: &[u8] = b"http/1.1";

/// What a gateway shows to clients of TLS.
pub struct Certificates {
    given_files: Vec<Files>,
    /// What the files held when they were read last.
    seen: Mutex<Vec<Vec<u8>>>,
    given: ArcSwap<ByName>,
    ordered: ArcSwap<ByName>,
    own: Authority,
    folder: PathBuf,
    provider: Arc<CryptoProvider>,
    challenges: Arc<Challenges>,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate and those that vouch for it, in PEM.
    pub certificates: PathBuf,
    /// Its private key, in PEM; may be the same file.
    pub key: PathBuf,
}

/// Why a given certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is in two files does not make a certificate.
    #[error("{} and {} are no certificate with its key", files.certificates.display(), files.key.display())]
    Pair {
        /// Which.
        files: Files,
        /// What is wrong.
        #[source]
        source: PairError,
    },
}

#[derive(Debug, Default)]
struct ByName {
    first: Option<Arc<CertifiedKey>>,
    names: HashMap<String, Pair>,
}

impl Certificates {
    /// Certificates that are given in files, and the platform's own, kept in a folder.
    ///
    /// # Errors
    /// If one that is given cannot be used.
    pub fn new(folder: &Path, domain: Domain, given: Vec<Files>) -> Result<Arc<Self>, GivenError> {
        let provider = Arc::new(ring::default_provider());
        let certificates = Self {
            own: Authority::new(folder, domain, Arc::clone(&provider)),
            folder: folder.to_owned(),
            given_files: given,
            seen: Mutex::default(),
            given: ArcSwap::default(),
            ordered: ArcSwap::default(),
            provider,
            challenges: Arc::default(),
        };
        certificates.reload()?;
        Ok(Arc::new(certificates))
    }

    /// Whether there are files that may change.
    pub fn has_files(&self) -> bool {
        !self.given_files.is_empty()
    }

    /// The certificate to trust for those that the platform makes itself; there once it has made
    /// one.
    pub fn authority(&self) -> PathBuf {
        self.folder.join(authority::CERTIFICATE_FILE)
    }

    /// Reads the files again. True: they hold something else than before, which handshakes see from
    /// now on.
    ///
    /// # Errors
    /// If one cannot be used; then all stays as it was.
    pub fn reload(&self) -> Result<bool, GivenError> {
        let read = |path: &PathBuf| {
            let bytes =
                read_kept(path).and_then(|bytes| bytes.ok_or(io::ErrorKind::NotFound.into()));
            bytes.map_err(|source| GivenError::Read {
                path: path.clone(),
                source,
            })
        };
        let mut texts = Vec::with_capacity(self.given_files.len() * 2);
        let mut given = ByName::default();
        for files in &self.given_files {
            let (certificates, key) = (read(&files.certificates)?, read(&files.key)?);
            let pair = Pair::from_pem(&certificates, &key, &self.provider);
            given.put(pair.map_err(|source| GivenError::Pair {
                files: files.clone(),
                source,
            })?);
            texts.extend([certificates, key]);
        }
        let mut seen = self.seen.lock();
        let changed = *seen != texts;
        if changed {
            self.given.store(Arc::new(given));
            *seen = texts;
        }
        Ok(changed)
    }

    /// Shows a certificate to whoever asks for its names, from now on.
    pub(crate) fn put_ordered(&self, pair: Pair) {
        self.ordered.rcu(|before| {
            let mut next = ByName {
                first: None,
                names: before.names.clone(),
            };
            next.put(pair.clone());
            next
        });
    }

    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    pub(crate) fn provider(&self) -> &CryptoProvider {
        &self.provider
    }

    /// Shakes hands with clients, showing what there is at that time.
    pub(crate) fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let resolver = Arc::clone(self) as Arc<dyn ResolvesServerCert>;
        let config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_no_client_auth().with_cert_resolver(resolver));
        let mut config = config.unwrap_or_else(|error| unreachable!("ring has both: {error}"));
        config.alpn_protocols = vec![ALPN_HTTP_2.to_vec(), ALPN_HTTP_1.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.map(str::to_ascii_lowercase);
        let name = name.as_deref();
        let (given, ordered) = (self.given.load(), self.ordered.load());
        let named = name.and_then(|name| given.of(name).or_else(|| ordered.of(name)));
        named
            .or_else(|| given.first.clone().filter(|_| name.is_none()))
            .or_else(|| self.own.certificate(name))
    }
}

impl ByName {
    fn put(&mut self, pair: Pair) {
        self.first.get_or_insert_with(|| Arc::clone(&pair.key));
        for name in &pair.names {
            self.names.insert(name.clone(), pair.clone());
        }
    }

    fn of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let wild = || {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        };
        let pair = self.names.get(name).or_else(wild);
        pair.map(|pair| Arc::clone(&pair.key))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("folder", &self.folder)
            .field("given_files", &self.given_files)
            .finish_non_exhaustive()
    }
}
