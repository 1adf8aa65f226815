//! An authority of our own, for names that no other one vouches for: it stays in the data folder,
//! and whoever trusts it trusts every function of this platform.
//!
//! ```text
//!   first hello ─► read the authority, or make and keep one ─► a certificate for the name asked
//! ```
//!
//! Each name has a certificate of its own, since most clients take no `*.localhost`. The authority
//! may vouch for `localhost`, for the platform's domain and for this machine only, so that trusting
//! it opens nothing else. Nothing is made before a client asks, and what cannot be kept is made all
//! the same.
//!
//! Deliberately absent: names under other domains, which get the certificate of `localhost`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SanType,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;
use usher_core::route::Domain;

use super::kept;
use super::pair::{Pair, PairError};

/// The certificate to trust, in the folder.
pub(crate) const CERTIFICATE_FILE: &str = "authority.pem";
const KEY_FILE: &str = "authority.key";

const DAY: Duration = Duration::from_secs(86_400);
/// How long the authority is valid, in days.
const AUTHORITY_DAYS: u32 = 3_650;
/// How long a certificate of it is, in days; browsers take at most 398.
const LEAF_DAYS: u32 = 90;
/// How far back validity begins, as clients' clocks differ.
const SLACK: Duration = DAY;
/// How many certificates are remembered. With one more, all are forgotten and made again.
const LEAVES_MAX: usize = 512;

/// See the module.
pub(crate) struct Authority {
    folder: PathBuf,
    domain: Domain,
    provider: Arc<CryptoProvider>,
    made: Mutex<Option<Made>>,
}

struct Made {
    issuer: Issuer<'static, KeyPair>,
    authority: Pair,
    /// All certificates have the same key, since making one is what costs most.
    leaf_key: KeyPair,
    leaves: HashMap<String, Pair>,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("the file cannot be read or written")]
    File(#[from] io::Error),
    #[error("the certificate cannot be made")]
    Make(#[from] rcgen::Error),
    #[error(transparent)]
    Pair(#[from] PairError),
    #[error("what is kept is no text")]
    Text,
}

impl Authority {
    pub(crate) fn new(folder: &Path, domain: Domain, provider: Arc<CryptoProvider>) -> Self {
        Self {
            folder: folder.to_owned(),
            domain,
            provider,
            made: Mutex::default(),
        }
    }

    /// A certificate for a name, or the one of `localhost` where the name is none of ours.
    pub(crate) fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name.filter(|name| self.is_ours(name)).unwrap_or_default();
        let now_s = seconds(SystemTime::now());
        let made = self.made(name, now_s);
        made.inspect_err(|error| tracing::error!(%error, "no certificate of our own was made"))
            .ok()
    }

    /// Whether a name is `localhost`, the platform's domain, or under one of them.
    fn is_ours(&self, name: &str) -> bool {
        let under = |domain: &str| {
            let front = name.strip_suffix(domain);
            front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        under("localhost") || under(self.domain.as_str())
    }

    fn made(&self, name: &str, now_s: u64) -> Result<Arc<CertifiedKey>, MakeError> {
        let mut made = self.made.lock();
        let current = made.take().filter(|made| is_fresh(&made.authority, now_s));
        let made = made.insert(match current {
            Some(made) => made,
            None => self.open(now_s)?,
        });
        if let Some(leaf) = made.leaves.get(name).filter(|leaf| is_fresh(leaf, now_s)) {
            return Ok(Arc::clone(&leaf.key));
        }
        if made.leaves.len() >= LEAVES_MAX {
            made.leaves.clear();
        }
        let leaf = self.sign(made, name)?;
        let key = Arc::clone(&leaf.key);
        made.leaves.insert(name.to_owned(), leaf);
        Ok(key)
    }

    /// The authority that is kept, else a new one.
    fn open(&self, now_s: u64) -> Result<Made, MakeError> {
        match self.read() {
            Ok(Some(made)) if is_fresh(&made.authority, now_s) => return Ok(made),
            Ok(_) => {}
            Err(error) => tracing::warn!(
                %error,
                folder = %self.folder.display(),
                "the platform's own authority cannot be read, and is made anew"
            ),
        }
        let key = KeyPair::generate()?;
        let certificate = self.describe()?.self_signed(&key)?;
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        let kept = kept::write(&self.folder.join(KEY_FILE), key.as_bytes()).and_then(|()| {
            kept::write(&self.folder.join(CERTIFICATE_FILE), certificate.as_bytes())
        });
        if let Err(error) = kept {
            tracing::warn!(
                %error,
                folder = %self.folder.display(),
                "the platform's own authority cannot be kept, and lasts until the end of this run"
            );
        }
        self.made_of(&certificate, &key)
    }

    fn read(&self) -> Result<Option<Made>, MakeError> {
        let file = |name| -> Result<Option<String>, MakeError> {
            let bytes = kept::read(&self.folder.join(name))?;
            let text = bytes.map(String::from_utf8).transpose();
            text.map_err(|_| MakeError::Text)
        };
        match (file(CERTIFICATE_FILE)?, file(KEY_FILE)?) {
            (Some(certificate), Some(key)) => self.made_of(&certificate, &key).map(Some),
            _ => Ok(None),
        }
    }

    fn made_of(&self, certificate: &str, key: &str) -> Result<Made, MakeError> {
        let (text, pem) = (certificate.as_bytes(), key.as_bytes());
        Ok(Made {
            authority: Pair::from_pem(text, pem, &self.provider)?,
            issuer: Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?,
            leaf_key: KeyPair::generate()?,
            leaves: HashMap::new(),
        })
    }

    fn describe(&self) -> Result<CertificateParams, rcgen::Error> {
        let mut authority = lasting(AUTHORITY_DAYS, Vec::new())?;
        authority.distinguished_name = DistinguishedName::new();
        authority
            .distinguished_name
            .push(DnType::CommonName, "usher on this machine");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let own = [
            CidrSubnet::from_addr_prefix(Ipv4Addr::LOCALHOST.into(), 32),
            CidrSubnet::from_addr_prefix(Ipv6Addr::LOCALHOST.into(), 128),
        ];
        let mut names = vec!["localhost".to_owned(), self.domain.as_str().to_owned()];
        names.dedup();
        authority.name_constraints = Some(NameConstraints {
            permitted_subtrees: names
                .into_iter()
                .map(GeneralSubtree::DnsName)
                .chain(own.map(GeneralSubtree::IpAddress))
                .collect(),
            excluded_subtrees: Vec::new(),
        });
        Ok(authority)
    }

    /// Makes the certificate of a name; of this machine where there is none.
    fn sign(&self, made: &Made, name: &str) -> Result<Pair, MakeError> {
        let mut names = match name {
            "" => vec!["localhost".to_owned(), self.domain.as_str().to_owned()],
            name => vec![name.to_owned()],
        };
        names.dedup();
        let mut leaf = lasting(LEAF_DAYS, names)?;
        if name.is_empty() {
            for own in [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ] {
                leaf.subject_alt_names.push(SanType::IpAddress(own));
            }
        }
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(&made.leaf_key, &made.issuer)?;
        let key = PrivatePkcs8KeyDer::from(made.leaf_key.serialize_der());
        let chain = vec![certificate.der().clone()];
        Ok(Pair::of(chain, key.into(), &self.provider)?)
    }
}

/// A certificate for names, from now on for so many days.
fn lasting(days: u32, names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "usher");
    let now = SystemTime::now();
    params.not_before = (now - SLACK).into();
    params.not_after = (now + DAY * days).into();
    Ok(params)
}

/// Whether a certificate will do, and not only for a moment.
fn is_fresh(pair: &Pair, now_s: u64) -> bool {
    pair.validity.holds(now_s) && now_s < pair.validity.renewal_s()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
