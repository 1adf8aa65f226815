//! The keys of the API: made, listed, taken back, and held against who asks.
//!
//! ```text
//!   open (no administrator's key yet) ─first key that administers→ closed, for ever
//! ```
//!
//! While the API is open whoever reaches it may do anything, so that nothing stands in the way on a
//! machine of one's own; it listens at loopback then. The last key that administers the platform
//! cannot be taken back, so a platform that was closed never opens again.
//!
//! The records are read from the backbone at each call: a key that was taken back is not taken any
//! more from that moment on. Deliberately absent: what a key may be used for (`api::gate`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest as _, Sha256};
use usher_api::access::{KEYS_MAX, KEYS_PREFIX, KeyMade, KeyRequest, KeyView, key_entry};
use usher_backbone::{Backbone, Entry, ReadError, WriteError};
use usher_core::api_key::{KeyId, KeyRecord, LABEL_MAX_BYTES, Secret};
use usher_core::id::{Digest, Name};

use crate::controller::{Follower, now_us};

/// How long a change waits until everybody who watches knows of it, in milliseconds.
const FOLLOW_WAIT_MAX_MS: u64 = 10_000;

/// How often an id is drawn that is not taken.
const DRAWS_MAX: usize = 8;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Whoever reaches an API without keys.
    Anyone,
    /// The platform itself.
    Platform,
    /// The holder of a key.
    Key(Arc<KeyRecord>),
}

impl Caller {
    /// To whose things he is confined; none: he is not.
    pub(crate) fn owner(&self) -> Option<&Name> {
        match self {
            Self::Anyone | Self::Platform => None,
            Self::Key(key) => key.owner.as_ref(),
        }
    }
}

/// Why it is not known who asks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKnown {
    /// The API has keys, and none was shown.
    #[error(
        "the API asks for a key: send it as `authorization: Bearer KEY`; the command line takes \
         --key-file FILE or USHER_KEY"
    )]
    NoKey,
    /// The header is there twice, or is no text of that form.
    #[error("the header authorization is not one `Bearer KEY` with a key of this platform")]
    Malformed,
    /// There is no such key, or not any more. Which of them is not told.
    #[error("this key is not known, was revoked, or has expired")]
    Refused,
    /// The keys could not be read.
    #[error("the keys could not be read")]
    Read(#[from] ReadError),
}

/// Why a key was not made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The request makes no sense.
    #[error("{0}")]
    Mistake(&'static str),
    /// There are as many as there may be.
    #[error("there are {KEYS_MAX} keys already; revoke those that nobody uses")]
    TooMany,
    /// There is none of this id.
    #[error("there is no key {0}; `usher key list` shows those that there are")]
    NoSuchKey(KeyId),
    /// Nobody could manage the platform without it.
    #[error(
        "{0} is the last key that administers the platform and has not expired; make another one \
         with --scope admin first"
    )]
    Last(KeyId),
    /// The system gave no randomness.
    #[error("the system gave no randomness for a key")]
    NoRandomness,
    /// The keys could not be read.
    #[error("the keys could not be read")]
    Read(#[from] ReadError),
    /// The change could not be stored.
    #[error("the change of the keys could not be stored")]
    Write(#[from] WriteError),
    /// It is stored, and not yet known to every gateway.
    #[error("it is stored, but a gateway did not learn of it within {FOLLOW_WAIT_MAX_MS} ms")]
    NotFollowed,
}

/// All keys of a platform.
pub(crate) struct KeyRing {
    backbone: Arc<dyn Backbone>,
    followers: Vec<Follower>,
    /// A key of the platform for itself, which is stored nowhere.
    own: Option<(KeyId, Digest)>,
    closed: AtomicBool,
    /// One change at a time, so that two do not take back the last two keys.
    turn: tokio::sync::Mutex<()>,
}

impl KeyRing {
    /// The keys that the backbone holds.
    pub(crate) fn new(
        backbone: Arc<dyn Backbone>,
        followers: Vec<Follower>,
        own: Option<&Secret>,
    ) -> Self {
        Self {
            backbone,
            followers,
            own: own.map(|own| (own.id(), digest(own))),
            closed: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Whether the API asks for a key.
    pub(crate) async fn closed(&self) -> Result<bool, ReadError> {
        if self.closed.load(Relaxed) {
            return Ok(true);
        }
        let closed = all(&*self.backbone)
            .await?
            .iter()
            .any(KeyRecord::administers);
        if closed {
            self.closed.store(true, Relaxed);
        }
        Ok(closed)
    }

    /// Who shows this, where it is shown as the header `authorization` of a request.
    pub(crate) async fn who(&self, shown: Option<&str>) -> Result<Caller, NotKnown> {
        let Some(shown) = shown else {
            return match self.closed().await? {
                true => Err(NotKnown::NoKey),
                false => Ok(Caller::Anyone),
            };
        };
        let (scheme, secret) = shown.split_once(' ').ok_or(NotKnown::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(NotKnown::Malformed);
        }
        let secret: Secret = secret.trim().parse().map_err(|_| NotKnown::Malformed)?;
        let digest = digest(&secret);
        if let Some((id, own)) = &self.own
            && *id == secret.id()
        {
            let own = record(*id, *own, KeyRequest::default());
            let fits = own.admits(&digest, now_us());
            return fits
                .map(|()| Caller::Platform)
                .map_err(|_| NotKnown::Refused);
        }
        let entry = self.backbone.get(&key_entry(secret.id())).await?;
        let record = entry.as_ref().and_then(read).ok_or(NotKnown::Refused)?;
        match record.admits(&digest, now_us()) {
            Ok(()) => Ok(Caller::Key(Arc::new(record))),
            Err(unfit) => {
                tracing::debug!(key = %record.id, %unfit, "a key was refused");
                Err(NotKnown::Refused)
            }
        }
    }

    /// Makes a key.
    pub(crate) async fn create(&self, request: KeyRequest) -> Result<KeyMade, KeyError> {
        let _turn = self.turn.lock().await;
        let (mut made, revision) = create(&*self.backbone, request).await?;
        made.closed = self.closed().await?;
        self.followed(revision).await?;
        Ok(made)
    }

    /// The keys of one owner, or all.
    pub(crate) async fn list(&self, owner: Option<&Name>) -> Result<Vec<KeyView>, KeyError> {
        let now_us = now_us();
        let all = all(&*self.backbone).await?;
        let asked = all
            .iter()
            .filter(|key| owner.is_none() || key.owner.as_ref() == owner);
        Ok(asked.map(|key| KeyView::of(key, now_us)).collect())
    }

    /// Takes a key back, if it is this owner's where one is given.
    pub(crate) async fn revoke(
        &self,
        id: KeyId,
        owner: Option<&Name>,
    ) -> Result<KeyView, KeyError> {
        let _turn = self.turn.lock().await;
        let entry = self.backbone.get(&key_entry(id)).await?;
        let entry = entry.ok_or(KeyError::NoSuchKey(id))?;
        let record = read(&entry).ok_or(KeyError::NoSuchKey(id))?;
        if owner.is_some() && record.owner.as_ref() != owner {
            return Err(KeyError::NoSuchKey(id));
        }
        let now_us = now_us();
        if record.administers() {
            let others = all(&*self.backbone).await?;
            let mut others = others.iter().filter(|other| other.id != id);
            if !others.any(|other| other.administers() && !other.expired(now_us)) {
                return Err(KeyError::Last(id));
            }
        }
        let key = key_entry(id);
        let revision = self.backbone.delete(&key, Some(entry.revision)).await?;
        self.followed(revision).await?;
        Ok(KeyView::of(&record, now_us))
    }

    async fn followed(&self, revision: u64) -> Result<(), KeyError> {
        match all_followed(&self.followers, revision).await {
            true => Ok(()),
            false => Err(KeyError::NotFollowed),
        }
    }
}

/// Whether all of them have come as far as that, in a bounded time.
pub(crate) async fn all_followed(followers: &[Follower], revision: u64) -> bool {
    let all = async {
        for follower in followers {
            let mut follower = follower.clone();
            // One that has gone serves nobody any more.
            let _ = follower.wait_for(|applied| *applied >= revision).await;
        }
    };
    let wait = Duration::from_millis(FOLLOW_WAIT_MAX_MS);
    tokio::time::timeout(wait, all).await.is_ok()
}

/// Makes a key on a backbone: on that of a platform which is stopped, this is how somebody gets in
/// again who has lost his. Answers the key, and the write.
pub async fn create(
    backbone: &dyn Backbone,
    request: KeyRequest,
) -> Result<(KeyMade, u64), KeyError> {
    check(&request)?;
    let before = all(backbone).await?;
    if before.len() >= KEYS_MAX {
        return Err(KeyError::TooMany);
    }
    for _ in 0..DRAWS_MAX {
        let secret = draw().map_err(|_| KeyError::NoRandomness)?;
        let record = record(secret.id(), digest(&secret), request.clone());
        let value = serde_json::to_vec(&record).map(Bytes::from);
        let value = value.map_err(|error| WriteError::Io(Arc::new(error.into())))?;
        match backbone.create(&key_entry(record.id), value).await {
            Err(WriteError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(revision) => {
                let closed = record.administers() || before.iter().any(KeyRecord::administers);
                let made = KeyMade {
                    secret: secret.text().to_owned(),
                    closed,
                    key: KeyView::of(&record, record.created_us),
                };
                return Ok((made, revision));
            }
        }
    }
    Err(KeyError::NoRandomness)
}

/// A new secret, of the system's randomness.
///
/// # Errors
/// If the system gives none.
pub fn draw() -> io::Result<Secret> {
    let random = SystemRandom::new();
    let (mut id, mut secret) = ([0; 8], [0; 32]);
    let drawn = random.fill(&mut id).and_then(|()| random.fill(&mut secret));
    drawn.map_err(|_| io::Error::other("the system gave no randomness"))?;
    Ok(Secret::new(KeyId::new(u64::from_be_bytes(id)), secret))
}

fn check(request: &KeyRequest) -> Result<(), KeyError> {
    let mistake = if request.scopes.is_empty() {
        "a key needs a scope: read, deploy, invoke or admin"
    } else if request.label.len() > LABEL_MAX_BYTES || request.label.contains(char::is_control) {
        "a label has at most 128 bytes and no control characters"
    } else if request
        .expires_us
        .is_some_and(|expires| expires <= now_us())
    {
        "the key would have expired already"
    } else {
        return Ok(());
    };
    Err(KeyError::Mistake(mistake))
}

fn record(id: KeyId, digest: Digest, request: KeyRequest) -> KeyRecord {
    KeyRecord {
        id,
        owner: request.owner,
        scopes: request.scopes,
        created_us: now_us(),
        expires_us: request.expires_us,
        label: request.label,
        digest,
    }
}

fn digest(secret: &Secret) -> Digest {
    Digest(Sha256::digest(secret.text()).into())
}

async fn all(backbone: &dyn Backbone) -> Result<Vec<KeyRecord>, ReadError> {
    let listing = backbone.list(KEYS_PREFIX).await?;
    Ok(listing.entries.iter().filter_map(read).collect())
}

/// A record that cannot be read admits nobody.
fn read(entry: &Entry) -> Option<KeyRecord> {
    match serde_json::from_slice(&entry.value) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(key = %entry.key, %error, "the record of a key cannot be read");
            None
        }
    }
}
