//! What the environments of each owner may use of this node's memory together, by their bounds.
//!
//! ```text
//!   start ─► room? ─ yes ─► held with the environment, given back when it is dropped
//!             └ no ─► an idle environment of the owner ends ─► again
//!                      └ there is none ─► wait for one to end ─► again
//!                                          └ too long: the start fails, and says why
//! ```
//!
//! What is held travels with the environment by value, so that no end of one can forget it. It is
//! counted for owners without a quota too: one that is set later holds for what runs already.
//!
//! Deliberately absent: what an environment really uses, which its own bound holds.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use usher_backbone::Watched;
use usher_core::fault::Fault;
use usher_core::id::Name;
use usher_core::owner::{OwnerRecord, Quota};
use usher_engine::StartError;

/// Where an owner's idle environments can be given up.
pub(crate) trait Spare: Send + Sync {
    /// Ends one that nobody uses and that need not stay ready. False: there is none.
    fn spare(&self) -> bool;
}

/// One for all environments of a node.
pub(crate) struct Ledger {
    owners: Arc<Watched<OwnerRecord>>,
    accounts: Mutex<HashMap<Name, Account>>,
    given_back: Notify,
}

#[derive(Default)]
struct Account {
    used_mib: u64,
    spares: Vec<Weak<dyn Spare>>,
}

/// What one environment may use; given back by drop.
pub(crate) struct Held {
    ledger: Arc<Ledger>,
    owner: Name,
    mib: u64,
}

/// There is no room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "owner {owner} may use {max_mib} MiB on this node (its quota memory_max_mib), its environments \
     may use {used_mib} MiB already, and one more of this function {mib} MiB \
     (limits.memory_max_mib)"
)]
pub(crate) struct NoRoom {
    owner: Name,
    max_mib: u64,
    used_mib: u64,
    mib: u64,
}

impl Ledger {
    pub(crate) fn new(owners: Arc<Watched<OwnerRecord>>) -> Arc<Self> {
        Arc::new(Self {
            owners,
            accounts: Mutex::default(),
            given_back: Notify::new(),
        })
    }

    /// From now on idle environments may be given up here for others of the owner.
    pub(crate) fn register(&self, owner: &Name, spare: Weak<dyn Spare>) {
        let mut accounts = self.accounts.lock();
        let account = accounts.entry(owner.clone()).or_default();
        account.spares.retain(|spare| spare.strong_count() > 0);
        account.spares.push(spare);
    }

    /// Room for an environment with this bound. Waits for it, but not longer than that.
    pub(crate) async fn take(
        self: &Arc<Self>,
        owner: &Name,
        mib: u64,
        wait_max: Duration,
    ) -> Result<Held, NoRoom> {
        let until = Instant::now() + wait_max;
        let mut quotas = self.owners.applied();
        loop {
            let given_back = self.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            quotas.borrow_and_update();
            let no_room = match self.make_room(owner, mib) {
                Ok(held) => return Ok(held),
                Err(no_room) => no_room,
            };
            // What can never fit is not waited for.
            if mib > no_room.max_mib {
                return Err(no_room);
            }
            let changed = async {
                if quotas.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = given_back => {}
                () = changed => {}
                () = tokio::time::sleep_until(until) => return Err(no_room),
            }
        }
    }

    /// Takes the room that there is, or that idle environments have.
    fn make_room(self: &Arc<Self>, owner: &Name, mib: u64) -> Result<Held, NoRoom> {
        loop {
            let no_room = match self.try_take(owner, mib) {
                Ok(held) => return Ok(held),
                Err(no_room) => no_room,
            };
            let spares = match self.accounts.lock().get(owner) {
                Some(account) => account.spares.clone(),
                None => Vec::new(),
            };
            // Outside the lock, as what is given up comes back here.
            let mut spares = spares.iter().filter_map(Weak::upgrade);
            if mib > no_room.max_mib || !spares.any(|spare| spare.spare()) {
                return Err(no_room);
            }
        }
    }

    fn try_take(self: &Arc<Self>, owner: &Name, mib: u64) -> Result<Held, NoRoom> {
        let record = self.owners.get(owner.as_str());
        let max_mib = record.and_then(|record| record.quotas.memory_max_mib);
        let mut accounts = self.accounts.lock();
        let account = accounts.entry(owner.clone()).or_default();
        let then = account.used_mib.saturating_add(mib);
        if let Some(max_mib) = max_mib.filter(|max_mib| then > *max_mib) {
            return Err(NoRoom {
                owner: owner.clone(),
                max_mib,
                used_mib: account.used_mib,
                mib,
            });
        }
        account.used_mib = then;
        Ok(Held {
            ledger: Arc::clone(self),
            owner: owner.clone(),
            mib,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(account) = self.ledger.accounts.lock().get_mut(&self.owner) {
            account.used_mib = account.used_mib.saturating_sub(self.mib);
        }
        self.ledger.given_back.notify_waiters();
    }
}

impl NoRoom {
    /// The failure of the start that found none.
    pub(crate) fn into_error(self, retry_after_s: u32) -> StartError {
        StartError {
            fault: Fault::OwnerBusy {
                quota: Quota::Memory,
                retry_after_s,
            },
            cause: self.to_string(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::Bytes;
    use usher_backbone::{Embedded, KeyValue, Limits};

    use super::*;

    const NOT: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(3_600);

    /// A spare that has one environment.
    struct One(Mutex<Option<Held>>);

    impl Spare for One {
        fn spare(&self) -> bool {
            self.0.lock().take().is_some()
        }
    }

    struct Rig {
        ledger: Arc<Ledger>,
        owners: Arc<Watched<OwnerRecord>>,
        store: Arc<Embedded>,
        _folder: tempfile::TempDir,
    }

    impl Rig {
        async fn new(max_mib: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Embedded::open(folder.path(), Limits::default()).unwrap();
            let (store, owners) = (Arc::new(store), Arc::new(Watched::new("owners.")));
            let (table, watched) = (Arc::clone(&owners), Arc::clone(&store));
            tokio::spawn(async move { table.follow(&*watched).await });
            let rig = Self {
                ledger: Ledger::new(Arc::clone(&owners)),
                owners,
                store,
                _folder: folder,
            };
            rig.bound(max_mib).await;
            rig
        }

        async fn bound(&self, max_mib: u64) {
            let record = format!(
                r#"{{"owner":"ann","quotas":{{"memory_max_mib":{max_mib}}},"updated_us":0}}"#
            );
            let revision = self
                .store
                .put("owners.ann", Bytes::from(record))
                .await
                .unwrap();
            let mut applied = self.owners.applied();
            applied.wait_for(|it| *it >= revision).await.unwrap();
        }
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn no_more_is_held_than_the_owner_may() {
        let rig = Rig::new(512).await;
        let ledger = &rig.ledger;
        let first = ledger.take(&name("ann"), 256, NOT).await.unwrap();
        let second = ledger.take(&name("ann"), 256, NOT).await.unwrap();
        let error = ledger.take(&name("ann"), 1, NOT).await.err().unwrap();
        assert_eq!((error.used_mib, error.max_mib), (512, 512));
        assert!(error.to_string().contains("memory_max_mib"), "{error}");
        // The control: another owner is not bounded by it.
        assert!(ledger.take(&name("bob"), 9_999, NOT).await.is_ok());
        let ann = name("ann");
        let waiting = ledger.take(&ann, 200, LONG);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(first);
        let third = waiting.await.unwrap();
        drop((second, third));
        assert_eq!(ledger.accounts.lock()[&name("ann")].used_mib, 0);
        // What can never fit is refused at once.
        assert!(ledger.take(&name("ann"), 513, LONG).await.is_err());
    }

    #[tokio::test]
    async fn whoever_waits_learns_of_a_quota_that_is_raised() {
        let rig = Rig::new(100).await;
        let _held = rig.ledger.take(&name("ann"), 100, NOT).await.unwrap();
        let ann = name("ann");
        let waiting = rig.ledger.take(&ann, 100, LONG);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        rig.bound(200).await;
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn idle_environments_make_room() {
        let rig = Rig::new(100).await;
        let idle = rig.ledger.take(&name("ann"), 100, NOT).await.unwrap();
        let spare = Arc::new(One(Mutex::new(Some(idle))));
        let weak: Weak<dyn Spare> = Arc::downgrade(&spare) as _;
        rig.ledger.register(&name("ann"), weak);
        let held = rig.ledger.take(&name("ann"), 60, NOT).await;
        assert!(held.is_ok() && spare.0.lock().is_none());
        assert!(rig.ledger.take(&name("ann"), 60, NOT).await.is_err());
    }
}
