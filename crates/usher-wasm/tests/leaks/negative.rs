//! What finds nothing behind a renewal does find it where there was none; and a renewal whose
//! pointer did not move is never served.

use usher_core::fault::Fault;
use usher_core::function::{Isolation, Settings};
use usher_engine::{Ended, Environment, Over, Used};

use crate::guests::Bench;
use crate::probe::{Found, Marker, SCANNED, SEEKERS, Survived, ask, renewed};

fn kept() -> Settings {
    Settings {
        isolation: Isolation::None,
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_isolation_the_probes_find_what_was_planted() {
    let bench = Bench::new();
    for name in SEEKERS {
        let image = bench.load(name, kept()).await;
        let environment = bench.start(&image).await;
        let marker = Marker::random();
        let (plant, _, environment) = bench.visit_and_keep(environment, &marker.plant()).await;
        let (seek, _, _) = bench.visit_and_keep(environment, &marker.seek()).await;
        let (plant, seek) = (Found::read(&plant), Found::read(&seek));
        assert!(seek.hits > 0, "{name}: {seek:?}");
        assert_ne!(seek.beginning(), plant.beginning(), "{name}");
        assert_ne!(
            seek.first_handle, plant.first_handle,
            "{name}: a leak shows"
        );
        assert_eq!(seek.counter, 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_isolation_interpreters_find_what_was_planted() {
    let bench = Bench::new();
    for name in SCANNED {
        let image = bench.load(name, kept()).await;
        let environment = bench.start(&image).await;
        let marker = Marker::random();
        let (_, _, environment) = bench.visit_and_keep(environment, &marker.plant()).await;
        let (current, _) = environment.count_marker(&marker.planted()).unwrap();
        assert!(current > 0, "{name}");
        let (seek, _, _) = bench.visit_and_keep(environment, &marker.seek()).await;
        let seek: Survived = serde_json::from_str(&seek).unwrap();
        assert!(seek.survived.len() > 5, "{name}: {seek:?}");
        assert_eq!(seek.counter, 2, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_whose_pointer_stayed_is_never_served() {
    let bench = Bench::new();
    for name in SEEKERS {
        let image = bench.load(name, Settings::default()).await;
        let environment = bench.start(&image).await;
        let (_, _, used) = ask(&bench, environment, &Marker::random().seek()).await;
        let environment = renewed(used).await;
        let marker = Marker::random();
        let (_, _, used) = ask(&bench, environment, &marker.plant()).await;
        bench.engine.inject_skipped_swaps(true);
        let environment = used.renew(false).await.unwrap().clean;
        bench.engine.inject_skipped_swaps(false);
        let run = environment.run(bench.call(&marker.seek())).await;
        let (fault, cause) = run.reply.unwrap_err();
        assert_eq!(fault, Fault::Unavailable, "{name}: {cause}");
        assert!(
            matches!(run.over, Over::Now(Err(Ended::Quarantined { .. }))),
            "{name}"
        );
    }
}
