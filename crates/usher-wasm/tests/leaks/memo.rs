//! What a guest makes in one request, to have it in the next, is gone by then.

use usher_core::function::{Isolation, Settings};

use crate::count;
use crate::guests::Bench;

/// Requests of those that `USHER_COUNT` says for each one here.
const REQUESTS_PER_MEMO: usize = 10;

async fn is_gone(name: &str) {
    let bench = Bench::new();
    let image = bench.load(name, Settings::default()).await;
    let mut environment = bench.start(&image).await;
    for run in 0..count().div_ceil(REQUESTS_PER_MEMO) {
        let target = format!("/?value=v{run}");
        let (reply, _, clean) = bench.visit(environment, &target).await;
        assert_eq!(reply.trim(), format!("v{run}"), "{name}");
        environment = clean;
    }
    let settings = Settings {
        isolation: Isolation::None,
        ..Settings::default()
    };
    let image = bench.load(name, settings).await;
    let environment = bench.start(&image).await;
    let (_, _, environment) = bench.visit_and_keep(environment, "/?value=first").await;
    let (reply, _, _) = bench.visit_and_keep(environment, "/?value=second").await;
    assert_eq!(reply.trim(), "first", "{name} keeps nothing at all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memo_is_gone_in_the_next_request() {
    for name in ["rust-memo", "js-memo", "py-memo"] {
        is_gone(name).await;
    }
}
