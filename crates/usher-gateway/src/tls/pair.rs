//! A certificate with its key, as files hold it and as handshakes use it.
//!
//! Deliberately absent: where it comes from, and whether anybody trusts it.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use usher_core::certificate::Validity;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// How many certificates one chain has at most.
const CHAIN_MAX: usize = 16;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) key: Arc<CertifiedKey>,
    /// The host names that it is for, in lower case; `*.` stands for one label.
    pub(crate) names: Vec<String>,
    pub(crate) validity: Validity,
}

/// Why texts are no certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The certificates' text.
    #[error("the certificates are not in PEM, or there is none, or there are too many")]
    Certificates,
    /// The key's text.
    #[error("the private key is not in PEM, or there is none")]
    Key,
    /// The first certificate.
    #[error("the first certificate cannot be read")]
    Unreadable,
    /// Both together.
    #[error("the private key is not that of the first certificate, or of a kind that is not known")]
    Mismatch(#[source] rustls::Error),
}

impl Pair {
    /// Reads both from PEM; they may be in one text.
    pub(crate) fn from_pem(
        certificates: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, PairError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates)
            .take(CHAIN_MAX + 1)
            .collect();
        let chain = chain.map_err(|_| PairError::Certificates)?;
        if !(1..=CHAIN_MAX).contains(&chain.len()) {
            return Err(PairError::Certificates);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PairError::Key)?;
        Self::of(chain, key, provider)
    }

    /// Puts both together.
    pub(crate) fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<Self, PairError> {
        let first = chain.first().ok_or(PairError::Certificates)?;
        let (names, validity) = read(first).ok_or(PairError::Unreadable)?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(PairError::Mismatch)?;
        Ok(Self {
            key: Arc::new(key),
            names,
            validity,
        })
    }
}

/// The names that a certificate is for, and when.
fn read(der: &CertificateDer<'_>) -> Option<(Vec<String>, Validity)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let seconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0);
    let validity = certificate.validity();
    let validity = Validity {
        from_s: seconds(validity.not_before.timestamp()),
        to_s: seconds(validity.not_after.timestamp()),
    };
    let extension = certificate.subject_alternative_name().ok()?;
    let names = extension.map_or(&[][..], |extension| &extension.value.general_names);
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Some((names.collect(), validity))
}
