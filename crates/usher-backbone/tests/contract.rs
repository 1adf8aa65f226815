//! The embedded backbone passes the contract suite, and follows random scripts beside a twin.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use usher_backbone::contract::twin::{Followed, Guess, Step, TwinOp, follow};
use usher_backbone::contract::{self, Harness};
use usher_backbone::{Backbone, Embedded, Limits};

/// The folder of the latest backbone, so that it can be opened again.
struct Folders {
    limits: Limits,
    latest: std::sync::Mutex<Option<TempDir>>,
}

impl Folders {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            latest: None.into(),
        }
    }

    fn open(&self, fresh: bool) -> Arc<dyn Backbone> {
        let mut latest = self.latest.lock().unwrap();
        if fresh {
            *latest = Some(tempfile::tempdir().unwrap());
        }
        let folder = latest.as_ref().unwrap().path();
        Arc::new(Embedded::open(folder, self.limits.clone()).unwrap())
    }
}

#[async_trait]
impl Harness for Folders {
    async fn empty(&self) -> Arc<dyn Backbone> {
        self.open(true)
    }

    async fn reopen(&self, backbone: Arc<dyn Backbone>) -> Arc<dyn Backbone> {
        assert_eq!(Arc::strong_count(&backbone), 1, "no other handle");
        drop(backbone);
        self.open(false)
    }

    fn value_max_bytes(&self) -> usize {
        self.limits.value_max_bytes
    }

    fn batch_max_ops(&self) -> usize {
        self.limits.batch_max_ops
    }

    fn blob_max_bytes(&self) -> usize {
        usize::try_from(self.limits.blob_max_bytes).unwrap()
    }
}

fn small() -> Limits {
    Limits {
        blob_max_bytes: 4 << 20,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_passes_the_contract() {
    contract::all(&Folders::new(small())).await;
}

fn op() -> impl Strategy<Value = TwinOp> {
    let guess = prop_oneof![
        6 => Just(Guess::Any),
        1 => Just(Guess::Absent),
        2 => Just(Guess::Right),
        1 => Just(Guess::Wrong),
    ];
    let value = proptest::option::weighted(0.7, any::<u8>());
    (0..6_u8, value, guess).prop_map(|(key, value, guess)| TwinOp { key, value, guess })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => vec(op(), 1..4).prop_map(Step::Apply),
        6 => Just(Step::Read),
        1 => Just(Step::Reopen),
    ]
}

fn run(limits: Limits, script: &[Step]) -> Followed {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(follow(&Folders::new(limits), script))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn embedded_follows_its_twin(script in vec(step(), 1..60)) {
        run(small(), &script);
    }

    #[test]
    fn a_watcher_that_falls_behind_knows_the_end(
        ops in 1_usize..6,
        bytes in 100_usize..2_000,
        script in vec(step(), 1..60),
    ) {
        let limits = Limits {
            watch_log_max_ops: ops,
            watch_log_max_bytes: bytes,
            ..small()
        };
        run(limits, &script);
    }
}

/// The negative control of the property above: with a short log a watcher is not told everything,
/// so without the comparison it would not know the end; with a long log it is told everything.
#[test]
fn only_a_short_log_leaves_changes_out() {
    let write = |n: u8| TwinOp {
        key: n % 3,
        value: n.is_multiple_of(2).then_some(n),
        guess: Guess::Any,
    };
    let script: Vec<_> = (0..50).map(|n| Step::Apply(vec![write(n)])).collect();
    let long = run(small(), &script);
    // The write that ends the script is told too, and counted by nobody else.
    assert_eq!(long.told, long.writes + 1);
    let limits = Limits {
        watch_log_max_ops: 4,
        ..small()
    };
    let short = run(limits, &script);
    assert!(short.told < short.writes, "{short:?}");
}
