//! How a component is served follows from what was proven of it and from what its owner chose.

use usher_api::node::Mode;
use usher_core::fault::Blame;
use usher_core::function::{RenewalChoice, Settings};
use usher_core::proof::Renewal;
use usher_engine::Engine;

use crate::guests::Bench;
use crate::{by_hand, renewed, serves};

fn chosen(renewal: RenewalChoice) -> Settings {
    Settings {
        renewal,
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_is_refused_with_the_reasons_where_it_cannot_be() {
    let bench = Bench::new();
    let settings = chosen(RenewalChoice::Live);
    let refused = bench.try_load(by_hand::sets_a_table(), settings).await;
    let refused = refused.map(|_| ()).unwrap_err();
    assert_eq!(refused.blame, Blame::Function);
    for part in ["renewal = \"live\"", "table.set", "renewal = \"auto\""] {
        assert!(refused.message.contains(part), "{}", refused.message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_serves_such_a_component_fresh_and_tells_the_reasons() {
    let bench = Bench::new();
    let settings = chosen(RenewalChoice::Auto);
    let image = bench.try_load(by_hand::sets_a_table(), settings).await;
    let image = image.unwrap();
    let report = bench.engine.report(&image);
    assert_eq!(report.mode, Mode::Fresh);
    assert!(
        report
            .reasons
            .iter()
            .any(|reason| reason.contains("table.set"))
    );
    let mut environment = bench.start(&image).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (facts, used) = serves(&bench, environment).await;
        assert_eq!(facts.renewal, Renewal::Fresh);
        assert!(!seen.contains(&facts.environment));
        seen.push(facts.environment);
        environment = renewed(used).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_live_is_live_unless_fresh_is_chosen() {
    let bench = Bench::new();
    for (choice, mode) in [
        (RenewalChoice::Auto, Mode::Live),
        (RenewalChoice::Live, Mode::Live),
        (RenewalChoice::Fresh, Mode::Fresh),
    ] {
        let image = bench.load("rust-hello", chosen(choice)).await;
        let report = bench.engine.report(&image);
        assert_eq!(report.mode, mode, "{choice:?}: {:?}", report.reasons);
    }
}
