//! The pipeline's steps are spans in their order, and the hook comes before each run.

use std::cell::RefCell;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Once};

use parking_lot::Mutex;
use tracing::span;
use usher_api::trace::{About, End, Recording, RenewalTrace, RequestTrace, TraceSink};
use usher_core::function::{RenewWhen, Settings};
use usher_core::id::{EnvironmentId, RequestId};
use usher_core::trace::{Step, TraceParent};
use usher_engine::contract;
use usher_node::steps::{BeforeRun, TARGET, Upcoming};

use crate::World;

thread_local! {
    /// The names of the spans that this thread has made, which runs one test.
    static NAMES: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// Notes the names of spans as they are made, for all threads: a place in the code asks once
/// whether anybody wants its spans, and may ask on the thread of a test that has no subscriber of
/// its own.
struct Notes(AtomicU64);

/// Before anything makes a span.
pub(crate) fn note() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let notes = Notes(AtomicU64::new(1));
        tracing::subscriber::set_global_default(notes).unwrap();
    });
}

impl tracing::Subscriber for Notes {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        NAMES.with_borrow_mut(|names| names.push(attributes.metadata().name()));
        span::Id::from_u64(self.0.fetch_add(1, SeqCst))
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Hook(Mutex<Vec<EnvironmentId>>);

impl BeforeRun for Hook {
    fn before_run(&self, upcoming: &Upcoming<'_>) {
        self.0.lock().push(upcoming.environment);
    }
}

async fn names(world: &World, renew: RenewWhen) -> Vec<Vec<&'static str>> {
    let adapt = |settings: &mut Settings| settings.renew = renew;
    let revision = world.revision("hello", adapt);
    let mut all = Vec::new();
    for _ in 0..2 {
        NAMES.take();
        world.call(&revision).await.unwrap();
        all.push(NAMES.take());
        world.quiet(&revision).await;
    }
    all
}

#[tokio::test]
async fn the_steps_come_in_order() {
    let world = World::new();
    for renew in [RenewWhen::AfterRun, RenewWhen::BeforeRun] {
        let names = names(&world, renew).await;
        let cold = [
            "invocation",
            "receive",
            "loaded",
            "instantiate",
            "instantiate",
            "swap",
            "run",
            "respond",
        ];
        assert_eq!(names[0], cold, "first the image, then an environment");
        let warm = ["invocation", "receive", "loaded", "swap", "run", "respond"];
        assert_eq!(names[1], warm);
    }
}

#[tokio::test]
async fn the_hook_is_called_before_each_run_of_its_revision_only() {
    let world = World::new();
    let (hooked, other) = (
        world.revision("hello", |_| {}),
        world.revision("counter", |_| {}),
    );
    let hook = Arc::new(Hook::default());
    world.node.before_each_run(hooked.id, Some(hook.clone()));
    let mut served = Vec::new();
    for _ in 0..3 {
        let (_, proof) = world.call(&hooked).await.unwrap();
        served.push(proof.environment);
        world.call(&other).await.unwrap();
        world.quiet(&hooked).await;
    }
    assert_eq!(*hook.0.lock(), served);
    world.node.before_each_run(hooked.id, None);
    world.call(&hooked).await.unwrap();
    assert_eq!(hook.0.lock().len(), 3);
}

/// Keeps what it is given.
#[derive(Default)]
struct Kept {
    requests: Mutex<Vec<RequestTrace>>,
    renewals: Mutex<Vec<RenewalTrace>>,
}

impl TraceSink for Kept {
    fn takes(&self, _: NonZeroU128, _: Option<bool>) -> bool {
        true
    }

    fn request(&self, trace: RequestTrace) {
        self.requests.lock().push(trace);
    }

    fn renewal(&self, trace: RenewalTrace) {
        self.renewals.lock().push(trace);
    }
}

#[tokio::test]
async fn steps_are_noted_where_the_trace_is_recorded_and_so_is_the_renewal_behind() {
    let (world, kept) = (World::new(), Arc::<Kept>::default());
    let revision = world.revision("hello", |_| {});
    let span = TraceParent::begin(RequestId(7), NonZeroU64::MIN, true).unwrap();
    for _ in 0..2 {
        let mut request = contract::get("http://f.test/");
        let about = About {
            request: RequestId(7),
            method: request.method().clone(),
            path: "/".to_owned(),
            secure: false,
            version: request.version(),
            state: None,
        };
        let now = std::time::Instant::now();
        let recording = Recording::begin(Arc::clone(&kept) as _, span, None, now, about);
        drop(recording.step(Step::Receive));
        request.extensions_mut().insert(recording.clone());
        let reply = world.reply(&revision, request).await.unwrap();
        drop(reply);
        recording.end(End::default());
        drop(recording);
        world.quiet(&revision).await;
    }
    let steps: Vec<Vec<Step>> = {
        let requests = kept.requests.lock();
        let steps = requests.iter().map(|trace| trace.steps.iter());
        steps
            .map(|steps| steps.map(|time| time.step).collect())
            .collect()
    };
    use Step::{Instantiate, Loaded, Receive, Respond, Run, Swap};
    let cold = vec![
        Receive,
        Loaded,
        Instantiate,
        Instantiate,
        Swap,
        Run,
        Respond,
    ];
    let warm = vec![Receive, Loaded, Swap, Run, Respond];
    assert_eq!(steps, [cold, warm]);
    assert_eq!(kept.renewals.lock().len(), 2);
    let as_asked = |renewal: &RenewalTrace| renewal.renewed && renewal.after == span;
    assert!(kept.renewals.lock().iter().all(as_asked));

    // The control: a request without a recording is told nowhere.
    world.call(&revision).await.unwrap();
    world.quiet(&revision).await;
    assert_eq!(kept.requests.lock().len(), 2);
    assert_eq!(kept.renewals.lock().len(), 2);
}
