//! Cases: what one request leaves never reaches the next, unless it is asked for.

use usher_core::function::Isolation;
use usher_core::id::FunctionKey;
use usher_core::proof::Renewal;

use super::{ContractHarness, finish, get, load, load_for, ready, renew, start};
use crate::environment::{Environment, RenewError, Used};

/// Runs in one case: enough for both areas to have been used several times.
const RUNS: u64 = 8;

fn number(text: &str) -> u64 {
    let digits = text.chars().filter(char::is_ascii_digit);
    let digits = digits.collect::<String>();
    digits.parse().expect("counter answers with a number")
}

/// A global that a request changed is as it was for the next one.
pub async fn counter_is_one_each_time<H: ContractHarness>(harness: &H) {
    let mut environment = ready(harness, "counter").await;
    for _ in 0..RUNS {
        let run = finish(environment, get("http://counter.test/")).await;
        assert_eq!(number(&run.text), 1);
        environment = renew(run.left).await;
    }
}

/// The negative control of the case above: without renewal the same guest counts on.
pub async fn counter_grows_when_state_is_kept<H: ContractHarness>(harness: &H) {
    let image = load(harness, "counter", |settings| {
        settings.isolation = Isolation::None;
    });
    let mut environment = start(harness, &image.await).await;
    let id = environment.id();
    for count in 1..=RUNS {
        let run = finish(environment, get("http://counter.test/")).await;
        assert_eq!(number(&run.text), count);
        assert_eq!(run.facts.environment, id);
        if count > 1 {
            assert_eq!(run.facts.renewal, Renewal::Kept);
        }
        let used = run.left.expect("the environment survives its run");
        environment = used.keep().expect("state may be kept");
    }
}

/// The environment stays, its area is another one each time, and each area's generation rises. A
/// fresh instance is another environment as well.
pub async fn the_area_differs_on_consecutive_runs<H: ContractHarness>(harness: &H) {
    let mut environment = ready(harness, "counter").await;
    let id = environment.id();
    let mut seen = Vec::new();
    for at in 0..RUNS {
        assert!(at == 0 || harness.renewal() != Renewal::Swap || environment.id() == id);
        let run = finish(environment, get("http://counter.test/")).await;
        if at > 0 {
            assert_eq!(run.facts.renewal, harness.renewal());
        }
        seen.push(run.facts);
        environment = renew(run.left).await;
    }
    for (at, facts) in seen.iter().enumerate() {
        let before = &seen[..at];
        if let (Some(previous), true) = (before.last(), harness.renewal() != Renewal::InPlace) {
            assert_ne!(
                previous.area, facts.area,
                "run {at} had the previous run's area"
            );
        }
        let last_use = before.iter().rev().find(|other| other.area == facts.area);
        assert!(last_use.is_none_or(|last| last.generation < facts.generation));
        let stays = matches!(harness.renewal(), Renewal::Swap | Renewal::InPlace);
        assert!(if stays {
            facts.environment == id
        } else {
            before
                .iter()
                .all(|other| other.environment != facts.environment)
        });
    }
}

/// Two owners with one artifact have nothing in common but compiled code.
pub async fn owners_share_nothing<H: ContractHarness>(harness: &H) {
    let of = |owner: &str| FunctionKey {
        owner: owner.parse().expect("a test's owner has a legal name"),
        name: "counter"
            .parse()
            .expect("a test's function has a legal name"),
    };
    let one = load_for(harness, of("ann"), "counter", |_| {}).await;
    let other = load_for(harness, of("bob"), "counter", |_| {}).await;
    assert!(!std::sync::Arc::ptr_eq(&one, &other));
    let (one, other) = (start(harness, &one).await, start(harness, &other).await);
    assert_ne!(one.id(), other.id());
    let one = finish(one, get("http://counter.test/")).await;
    let other = finish(other, get("http://counter.test/")).await;
    assert_eq!(number(&other.text), 1);
    assert_ne!(one.facts.environment, other.facts.environment);
    assert_ne!(one.facts.area, other.facts.area);
}

/// An environment of a revision with isolation does not keep state, whoever asks.
pub async fn state_is_kept_only_on_request<H: ContractHarness>(harness: &H) {
    let environment = ready(harness, "counter").await;
    let run = finish(environment, get("http://counter.test/")).await;
    let used = run.left.expect("the environment survives its run");
    assert!(matches!(used.keep(), Err(RenewError::Failed(_))));
}

/// Nobody has to scrub in time: a renewal that finds the other area not scrubbed yet still gives a
/// clean one.
pub async fn the_other_area_is_clean_without_the_scrub<H: ContractHarness>(harness: &H) {
    let mut environment = ready(harness, "counter").await;
    let mut held = Vec::new();
    for _ in 0..RUNS {
        let run = finish(environment, get("http://counter.test/")).await;
        assert_eq!(number(&run.text), 1);
        let used = run.left.expect("the environment survives its run");
        let renewed = used.renew(true).await.expect("the environment is renewed");
        held.extend(renewed.behind);
        environment = renewed.clean;
    }
    drop(held);
    let run = finish(environment, get("http://counter.test/")).await;
    assert_eq!(number(&run.text), 1, "a late scrub touched an area in use");
}
