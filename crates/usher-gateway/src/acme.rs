//! Certificates that an authority makes for names of ours (ACME, RFC 8555), proven by `http-01`.
//!
//! ```text
//!   each name: kept ─► shown ─► its last third ─► order ─► prove ─► certificate ─► kept, shown
//!                                  ▲                └── failed: back off, twice as long ──┐
//!                                  └──────────────────────────────────────────────────────┘
//! ```
//!
//! The account and every certificate stand in the data folder, where only their owner reads them: a
//! restart asks the authority for nothing. When to do what is decided by `usher_core::certificate`.
//!
//! Deliberately absent: `dns-01`, and so certificates for `*.`; names that nobody named, since
//! authorities bound how many they make.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use usher_core::certificate::{Next, next};

use crate::tls::{Certificates, Expected, Pair, PairError, read_kept, write_kept};

/// The authority that is asked where none is named.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// How long one order may take, in milliseconds.
const ORDER_MAX_MS: u64 = 180_000;
/// How long an authority may take to look at a proof or to make a certificate, in milliseconds.
const ANSWER_MAX_MS: u64 = 60_000;

const ACCOUNT_FILE: &str = "account.json";

/// Which certificates are wanted, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orders {
    /// The names, each of which gets a certificate.
    pub names: Vec<String>,
    /// The authority's directory, a URL.
    pub directory: String,
    /// The authority's own certificate where it is none that the system trusts, a file in PEM.
    pub root: Option<PathBuf>,
    /// Where the authority may write to, such as `mailto:me@example.com`.
    pub contact: Option<String>,
    /// Where the account and the certificates are kept.
    pub folder: PathBuf,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    #[error("the authority refused, or was not reached")]
    Authority(#[from] instant_acme::Error),
    #[error("the authority does not take http-01 for this name")]
    NoChallenge,
    #[error("the authority did not find the proof; it asks for it at port 80 of the name")]
    NotProven,
    #[error("it took longer than {ORDER_MAX_MS} ms")]
    TooLong,
    #[error("the request for it cannot be made")]
    Request(#[from] rcgen::Error),
    #[error("what the authority made cannot be used")]
    Unusable(#[from] PairError),
    #[error("a file in {} cannot be read or written", folder.display())]
    File {
        folder: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the account that is kept cannot be read")]
    Account(#[from] serde_json::Error),
}

/// The account as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

/// One name and what became of it.
struct Name {
    name: String,
    there: Option<Pair>,
    failures: u32,
    failed: Instant,
}

/// Has certificates made and made anew, for as long as it is polled. The gateway of the same
/// certificates must be serving on a port that the authority reaches as port 80.
pub async fn keep(certificates: Arc<Certificates>, orders: Orders) {
    let mut names: Vec<_> = orders
        .names
        .iter()
        .map(|name| Name {
            name: name.clone(),
            there: orders.read(name, &certificates),
            failures: 0,
            failed: Instant::now(),
        })
        .collect();
    for name in &names {
        if let Some(pair) = &name.there {
            certificates.put_ordered(pair.clone());
        }
    }
    loop {
        let mut rest_s = u64::MAX;
        for name in &mut names {
            rest_s = rest_s.min(name.look(&orders, &certificates).await);
        }
        if names.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(rest_s)).await;
    }
}

impl Name {
    /// Has the certificate made if that is due. Returns when to look again, in seconds.
    async fn look(&mut self, orders: &Orders, certificates: &Certificates) -> u64 {
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now_s = now.unwrap_or_default().as_secs();
            let there = self.there.as_ref().map(|pair| pair.validity);
            let failed_ago_s = self.failed.elapsed().as_secs();
            match next(now_s, there, self.failures, failed_ago_s) {
                Next::Wait { seconds } => return seconds,
                Next::Make => {}
            }
            let name = &self.name;
            match orders.make(name, certificates).await {
                Ok(pair) => {
                    tracing::info!(%name, "a certificate was made");
                    certificates.put_ordered(pair.clone());
                    self.there = Some(pair);
                    self.failures = 0;
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    self.failed = Instant::now();
                    let causes = causes(&error);
                    let failures = self.failures;
                    tracing::warn!(%name, failures, error = causes, "no certificate was made");
                }
            }
        }
    }
}

/// An error with what led to it.
fn causes(error: &OrderError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl Orders {
    fn certificate_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }

    fn file_error(&self, source: std::io::Error) -> OrderError {
        let folder = self.folder.clone();
        OrderError::File { folder, source }
    }

    /// The certificate that is kept for a name. One that cannot be read is as good as none.
    fn read(&self, name: &str, certificates: &Certificates) -> Option<Pair> {
        let path = self.certificate_file(name);
        let text = read_kept(&path).inspect_err(|error| {
            tracing::warn!(%error, path = %path.display(), "a kept certificate is made anew");
        });
        let text = text.ok()??;
        let pair = Pair::from_pem(&text, &text, certificates.provider());
        let pair = pair.inspect_err(|error| {
            tracing::warn!(%error, path = %path.display(), "a kept certificate is made anew");
        });
        pair.ok()
    }

    /// Has a certificate made, and keeps it.
    async fn make(&self, name: &str, certificates: &Certificates) -> Result<Pair, OrderError> {
        let order = self.order(name, certificates);
        let order_max = Duration::from_millis(ORDER_MAX_MS);
        let made = tokio::time::timeout(order_max, order).await;
        let text = made.map_err(|_| OrderError::TooLong)??;
        let pair = Pair::from_pem(text.as_bytes(), text.as_bytes(), certificates.provider())?;
        // Kept before it is shown, so that a restart does not ask for what was made already.
        write_kept(&self.certificate_file(name), text.as_bytes())
            .map_err(|source| self.file_error(source))?;
        Ok(pair)
    }

    /// Orders a certificate; returns it with its key in one text.
    async fn order(&self, name: &str, certificates: &Certificates) -> Result<String, OrderError> {
        let account = self.account().await?;
        let names = [Identifier::Dns(name.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let expected = expect(&mut order, certificates).await?;
        let patience = RetryPolicy::new().timeout(Duration::from_millis(ANSWER_MAX_MS));
        let status = order.poll_ready(&patience).await?;
        if status != OrderStatus::Ready {
            return Err(OrderError::NotProven);
        }
        drop(expected);

        let key = KeyPair::generate()?;
        let mut request = CertificateParams::new([name.to_owned()])?;
        request.distinguished_name = DistinguishedName::new();
        let request = request.serialize_request(&key)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&patience).await?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// The account that is kept for this authority, else a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let path = self.folder.join(ACCOUNT_FILE);
        let builder = match &self.root {
            Some(root) => Account::builder_with_root(root)?,
            None => Account::builder()?,
        };
        let kept = read_kept(&path).map_err(|source| self.file_error(source))?;
        let kept = kept.map(|text| serde_json::from_slice::<Kept>(&text));
        if let Some(kept) = kept.transpose()?
            && kept.directory == self.directory
        {
            return Ok(builder.from_credentials(kept.credentials).await?);
        }
        let contact: Vec<_> = self.contact.as_deref().into_iter().collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.directory.clone();
        let (account, credentials) = builder.create(&new, directory.clone(), None).await?;
        let kept = Kept {
            directory,
            credentials,
        };
        write_kept(&path, &serde_json::to_vec(&kept)?).map_err(|source| self.file_error(source))?;
        Ok(account)
    }
}

/// Has the authority look for the proofs that it wants, which are there for as long as what is
/// returned.
async fn expect(
    order: &mut Order,
    certificates: &Certificates,
) -> Result<Vec<Expected>, OrderError> {
    let mut expected = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            _ => return Err(OrderError::NotProven),
        }
        let challenge = authorization.challenge(ChallengeType::Http01);
        let mut challenge = challenge.ok_or(OrderError::NoChallenge)?;
        let proof = challenge.key_authorization().as_str().to_owned();
        let token = challenge.token.clone();
        expected.push(certificates.challenges().expect(token, proof));
        challenge.set_ready().await?;
    }
    Ok(expected)
}
