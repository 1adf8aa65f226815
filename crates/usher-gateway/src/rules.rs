//! What holds for owners and for those who call their functions: the rate at which requests begin,
//! how many run, and whether a caller needs a key.
//!
//! Both tables are watched, so that a change holds for the next request. A key of this platform
//! that is shown here ends here: no function is given it, whether it asks for one or not.
//!
//! Deliberately absent: waiting (`door`), and quotas on what is not a request.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use usher_api::access::{KEYS_PREFIX, OWNERS_PREFIX};
use usher_backbone::Watched;
use usher_core::admit::{PerOwner, RETRY_AFTER_MAX_S};
use usher_core::api_key::{KEY_PREFIX, KeyRecord, Scope, Secret};
use usher_core::fault::Fault;
use usher_core::function::{InvokeBy, Revision};
use usher_core::id::{Digest, Name};
use usher_core::owner::{OwnerRecord, Quota, Quotas};
use usher_core::rate::{Bucket, Rate};

/// The keys and quotas that a gateway knows.
pub struct Rules {
    keys: Arc<Watched<KeyRecord>>,
    owners: Arc<Watched<OwnerRecord>>,
    begun: Instant,
}

/// One owner, as requests to its functions see it.
#[derive(Debug)]
pub(crate) struct Owner {
    number: u64,
    bucket: Mutex<Bucket>,
}

impl Owner {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            bucket: Mutex::default(),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(
            Arc::new(Watched::new(KEYS_PREFIX)),
            Arc::new(Watched::new(OWNERS_PREFIX)),
        )
    }
}

impl Rules {
    /// The rules that these tables hold, which somebody lets follow the backbone.
    pub fn new(keys: Arc<Watched<KeyRecord>>, owners: Arc<Watched<OwnerRecord>>) -> Self {
        Self {
            keys,
            owners,
            begun: Instant::now(),
        }
    }

    /// A request of this owner is about to begin: takes it off the rate, and tells how many may
    /// run.
    pub(crate) fn begin(&self, name: &Name, owner: &Owner) -> Result<PerOwner, Fault> {
        let record = self.owners.get(name.as_str());
        let quotas = record.map_or(Quotas::NONE, |record| record.quotas);
        if let Some(per_s) = quotas.requests_per_s {
            let rate = Rate {
                per_s,
                burst: quotas.burst.unwrap_or(per_s),
            };
            let now_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            let taken = owner.bucket.lock().take(rate, now_us);
            taken.map_err(|wait_us| {
                let wait_s = u32::try_from(wait_us.div_ceil(1_000_000));
                Fault::OwnerBusy {
                    quota: Quota::Rate,
                    retry_after_s: wait_s.unwrap_or(u32::MAX).clamp(1, RETRY_AFTER_MAX_S),
                }
            })?;
        }
        Ok(PerOwner {
            owner: owner.number,
            concurrency_max: quotas.concurrency_max,
        })
    }

    /// Whether a request may call this revision. Takes a key of this platform out of its head.
    pub(crate) fn call(&self, revision: &Revision, headers: &mut HeaderMap) -> Result<(), Fault> {
        let needed = revision.settings.invoke == InvokeBy::Key;
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let Some(first) = shown.next() else {
            return match needed {
                true => Err(Fault::KeyNeeded),
                false => Ok(()),
            };
        };
        let alone = shown.next().is_none();
        let ours = |value: &[u8]| {
            let mut places = value.windows(KEY_PREFIX.len());
            places.any(|text| text == KEY_PREFIX.as_bytes())
        };
        let may = needed && alone && self.may_call(revision, first.to_str().unwrap_or_default());
        // A function that asks for a key has no use for what was shown to the platform.
        let values = headers.get_all(AUTHORIZATION).iter();
        if needed || values.map(|value| value.as_bytes()).any(ours) {
            headers.remove(AUTHORIZATION);
        }
        match needed && !may {
            true => Err(Fault::KeyNeeded),
            false => Ok(()),
        }
    }

    fn may_call(&self, revision: &Revision, shown: &str) -> bool {
        let secret = shown.split_once(' ').filter(|(scheme, _)| {
            // The scheme's case does not matter (RFC 9110, 11.1).
            scheme.eq_ignore_ascii_case("bearer")
        });
        let secret = secret.and_then(|(_, secret)| secret.trim().parse::<Secret>().ok());
        let Some(secret) = secret else { return false };
        let Some(record) = self.keys.get(&secret.id().to_string()) else {
            return false;
        };
        let digest = Digest(Sha256::digest(secret.text()).into());
        record.admits(&digest, now_us()).is_ok()
            && record.allows(Scope::Invoke)
            && record.speaks_for(&revision.function.owner)
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
