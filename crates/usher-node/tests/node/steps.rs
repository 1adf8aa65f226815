//! The pipeline's steps are spans in their order, and the hook comes before each run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use parking_lot::Mutex;
use tracing::span;
use usher_core::function::{RenewWhen, Settings};
use usher_core::id::EnvironmentId;
use usher_node::steps::{BeforeRun, TARGET, Upcoming};

use crate::World;

/// Notes the names of spans as they are made.
#[derive(Clone, Default)]
struct Notes {
    names: Arc<Mutex<Vec<&'static str>>>,
    next: Arc<AtomicU64>,
}

impl tracing::Subscriber for Notes {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.names.lock().push(attributes.metadata().name());
        span::Id::from_u64(self.next.fetch_add(1, SeqCst) + 1)
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
        let notes = Notes::default();
        let guard = tracing::subscriber::set_default(notes.clone());
        world.call(&revision).await.unwrap();
        drop(guard);
        world.quiet(&revision).await;
        all.push(notes.names.lock().clone());
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
