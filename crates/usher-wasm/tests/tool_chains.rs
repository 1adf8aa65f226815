//! Components of every tool chain answer, begin anew in each request, and are renewed by a swap.
//!
//! The components are built by `cargo xtask examples`; one that is not there fails its test.

mod guests;

use guests::{Bench, counter_of};
use usher_core::function::{Isolation, Settings};
use usher_core::proof::Renewal;

/// Requests to each component.
const RUNS: usize = 40;

async fn begins_anew(component: &str) {
    let bench = Bench::new();
    let image = bench.load(component, Settings::default()).await;
    let mut environment = bench.start(&image).await;
    let mut seen = Vec::new();
    for run in 0..RUNS {
        let (reply, facts, clean) = bench.visit(environment, "/").await;
        assert_eq!(counter_of(&reply), 1, "{component}, run {run}: {reply}");
        seen.push(facts);
        environment = clean;
    }
    for (earlier, later) in seen.iter().zip(&seen[1..]) {
        assert_eq!(later.environment, earlier.environment, "{component}");
        assert_ne!(later.area, earlier.area, "{component}");
        assert_eq!(later.renewal, Renewal::Swap, "{component}");
    }
}

async fn grows_when_kept(component: &str) {
    let bench = Bench::new();
    let settings = Settings {
        isolation: Isolation::None,
        ..Settings::default()
    };
    let image = bench.load(component, settings).await;
    let mut environment = bench.start(&image).await;
    for run in 1..=10 {
        let (reply, _, kept) = bench.visit_and_keep(environment, "/").await;
        assert_eq!(counter_of(&reply), run, "{component}: {reply}");
        environment = kept;
    }
}

macro_rules! tool_chains {
    ($($name:ident: $component:literal $(, $kept:ident)?;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                begins_anew($component).await;
                $($kept($component).await;)?
            }
        )+
    };
}

tool_chains! {
    rust_begins_anew: "rust-counter", grows_when_kept;
    c_begins_anew: "c-counter", grows_when_kept;
    wat_begins_anew: "wat-globals", grows_when_kept;
    javascript_types_begin_anew: "js-counter", grows_when_kept;
    javascript_fetch_begins_anew: "js-counter-fetch";
    python_begins_anew: "py-counter", grows_when_kept;
}
