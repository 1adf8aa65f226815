//! The probes search for each other's secrets: 16 tasks at once, live and fresh, renewed right
//! after the run and right before the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use usher_core::function::{RenewalChoice, Settings};
use usher_engine::{Behind, Used};
use usher_wasm::{WasmEnvironment, WasmImage, WasmUsed};

use crate::count;
use crate::guests::Bench;
use crate::probe::{Beginning, Marker, SEEKERS, ask, leftover};

const TASKS: usize = 16;
/// Ways of renewing, of which each gets the same share of the requests.
const WAYS: [(RenewalChoice, When); 4] = [
    (RenewalChoice::Live, When::After),
    (RenewalChoice::Live, When::Before),
    (RenewalChoice::Fresh, When::After),
    (RenewalChoice::Fresh, When::Before),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Renewed and scrubbed as soon as the reply is there.
    After,
    /// Renewed once the next request has come, and scrubbed while that runs.
    Before,
}

/// An environment between two requests.
enum Between {
    Clean(WasmEnvironment),
    Used(WasmUsed),
}

/// One task's environments, one after another.
struct Prober {
    bench: Arc<Bench>,
    image: Arc<WasmImage>,
    when: When,
    replaced: Arc<AtomicUsize>,
}

impl Prober {
    /// Plants and seeks in turn; answers what all runs had begun with.
    async fn probe(self, requests: usize) -> Beginning {
        let mut between = Between::Clean(self.bench.start(&self.image).await);
        let (mut beginning, mut pages) = (None, None);
        let mut planted = Marker::random();
        for at in 0..requests {
            let plants = at % 2 == 0;
            let target = if plants {
                planted = Marker::random();
                planted.plant()
            } else {
                planted.seek()
            };
            let (environment, behind) = self.clean(between).await;
            let scrub = behind.map(|behind| tokio::task::spawn_blocking(|| behind.scrub()));
            let (found, _, used) = ask(&self.bench, environment, &target).await;
            if let Some(scrub) = scrub {
                scrub.await.unwrap();
            }
            assert_eq!(found.planted, plants);
            assert_eq!(found.hits > 0, plants, "request {at}: {found:?}");
            if !plants {
                let before = *pages.get_or_insert(found.memory_pages);
                assert_eq!(found.memory_pages, before, "request {at}: growth stays");
            }
            let this = found.beginning();
            assert_eq!(*beginning.get_or_insert(this.clone()), this, "request {at}");
            between = match self.when {
                When::Before => Between::Used(used),
                When::After => {
                    let (environment, behind) = self.clean(Between::Used(used)).await;
                    drop(behind);
                    Between::Clean(environment)
                }
            };
        }
        beginning.unwrap()
    }

    /// A clean environment: the same one, or another where something is left that cannot go back.
    async fn clean(&self, between: Between) -> (WasmEnvironment, Option<Behind>) {
        match between {
            Between::Clean(environment) => (environment, None),
            Between::Used(used) => match used.renew(false).await {
                Ok(renewed) => (renewed.clean, renewed.behind),
                Err(error) => {
                    assert!(leftover(&error), "{error}");
                    self.replaced.fetch_add(1, Ordering::Relaxed);
                    (self.bench.start(&self.image).await, None)
                }
            },
        }
    }
}

/// `requests` by all tasks together, for one way of renewing.
async fn probe(
    bench: &Arc<Bench>,
    probe: &str,
    (renewal, when): (RenewalChoice, When),
    requests: usize,
) -> Beginning {
    let settings = Settings {
        renewal,
        ..Settings::default()
    };
    let image = bench.load(probe, settings).await;
    let replaced = Arc::new(AtomicUsize::new(0));
    let each = requests.div_ceil(TASKS).next_multiple_of(2);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let prober = Prober {
                bench: bench.clone(),
                image: image.clone(),
                when,
                replaced: replaced.clone(),
            };
            tokio::spawn(prober.probe(each))
        })
        .collect();
    let mut beginnings = Vec::new();
    for task in tasks {
        beginnings.push(task.await.unwrap());
    }
    let first = beginnings[0].clone();
    assert!(beginnings.iter().all(|other| *other == first), "{probe}");
    assert_eq!(first.counter, 1, "{probe}");
    let replaced = replaced.load(Ordering::Relaxed);
    assert_eq!(replaced, 0, "{probe} {renewal:?} {when:?}: not put back");
    first
}

/// No hit in any of the ways, and every run of every way begins with the same numbers.
async fn finds_nothing(name: &str) {
    let bench = Arc::new(Bench::new());
    let mut beginnings = Vec::new();
    for way in WAYS {
        beginnings.push(probe(&bench, name, way, count() / WAYS.len()).await);
    }
    let fresh = beginnings.last().unwrap();
    for (beginning, way) in beginnings.iter().zip(WAYS) {
        assert_eq!(beginning, fresh, "{name} {way:?}");
        assert_eq!(beginning.first_handle, 1, "{name} {way:?}");
    }
}

macro_rules! seekers {
    ($($name:ident: $at:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                finds_nothing(SEEKERS[$at]).await;
            }
        )+
    };
}

seekers! {
    rust_finds_nothing: 0;
    c_finds_nothing: 1;
    wat_finds_nothing: 2;
}
