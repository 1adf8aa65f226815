//! Cases: what goes wrong ends one environment and one request, and is noticed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http_body_util::BodyExt;
use usher_api::body::Body;
use usher_api::node::Mode;
use usher_core::fault::{Fault, TimeLimit};
use usher_core::id::RequestId;
use usher_core::proof::Renewal;

use super::running::Endless;
use super::{ContractHarness, Recorder, call, finish, get, load, ready, renew, start};
use crate::environment::{Ended, Engine, Environment, Over, RenewError, Run, Used};

/// Short, so that a case ends soon; long enough for a guest to begin.
const FIRST_BYTE_MAX_MS: u64 = 200;

/// Memory that `hog` soon has filled.
const MEMORY_MAX_MIB: u32 = 16;

/// A trap, a time-out (of code that waits and of code that runs) and a lack of memory are told
/// apart; each destroys its own environment, and another environment of the same engine answers as
/// before.
pub async fn a_failed_run_ends_only_its_environment<H: ContractHarness>(harness: &H) {
    let time_out = Fault::TimeOut {
        limit: TimeLimit::FirstByte,
        limit_ms: FIRST_BYTE_MAX_MS,
    };
    let out_of_memory = Fault::OutOfMemory {
        memory_max_bytes: u64::from(MEMORY_MAX_MIB) << 20,
    };
    let mut bystander = ready(harness, "counter").await;
    for (guest, expected) in [
        ("trap", Fault::Trap),
        ("spin", time_out.clone()),
        ("slow", time_out),
        ("hog", out_of_memory),
    ] {
        let image = load(harness, guest, |settings| {
            // A guest that has all the time it needs must not fail for its machine being slow.
            if matches!(guest, "spin" | "slow") {
                settings.limits.first_byte_max_ms = FIRST_BYTE_MAX_MS;
            }
            settings.limits.memory_max_mib = MEMORY_MAX_MIB;
        })
        .await;
        let environment = start(harness, &image).await;
        let alive = harness.alive();
        let run = environment
            .run(call(get("http://fails.test/"), &Recorder::new()))
            .await;
        let (fault, cause) = run.reply.expect_err("the guest fails");
        assert_eq!(fault, expected, "{guest}: {cause}");
        let Over::Now(Err(Ended::Destroyed { fault, .. })) = run.over else {
            panic!("{guest} left an environment behind");
        };
        assert_eq!(fault, expected);
        assert_eq!(harness.alive(), alive - 1, "{guest}");
        let after = finish(bystander, get("http://counter.test/")).await;
        assert_eq!(after.text.trim(), "1");
        bystander = renew(after.left).await;
    }
}

/// Whoever drops a run in its middle destroys the environment.
pub async fn a_dropped_run_destroys_its_environment<H: ContractHarness>(harness: &H) {
    let environment = ready(harness, "slow").await;
    let alive = harness.alive();
    let output = Recorder::new();
    tokio::select! {
        _ = environment.run(call(get("http://slow.test/"), &output)) => panic!("slow has answered"),
        () = output.wait_for(RequestId(7), "begun\n") => {}
    }
    assert_eq!(harness.alive(), alive - 1);
}

/// The same after the head: dropping what is left of the run destroys the environment, and the body
/// ends.
pub async fn a_dropped_rest_destroys_its_environment<H: ContractHarness>(harness: &H) {
    let environment = ready(harness, "echo").await;
    let alive = harness.alive();
    let mut request = get("http://echo.test/");
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = Body::stream(Endless(Arc::new(AtomicU64::new(0))));
    let Run { reply, over, .. } = environment.run(call(request, &Recorder::new())).await;
    let mut body = reply.expect("echo answers").into_body();
    let Over::Later(mut rest) = over else {
        panic!("an endless echo cannot be over");
    };
    tokio::select! {
        _ = &mut rest => panic!("an endless echo has ended"),
        piece = body.frame() => assert!(piece.is_some_and(|piece| piece.is_ok())),
    }
    drop(rest);
    assert_eq!(harness.alive(), alive - 1);
    while let Some(Ok(_)) = body.frame().await {}
}

/// The determination reads the pointer itself: ids that advance without it do not deceive it. The
/// request is not served, and the environment is quarantined.
pub async fn a_pointer_that_did_not_move_is_refused<H: ContractHarness>(harness: &H) {
    let environment = ready(harness, "counter").await;
    let first = finish(environment, get("http://counter.test/")).await;
    if !harness.skip_swap(true) {
        assert_ne!(harness.renewal(), Renewal::Swap);
        return;
    }
    let used = first.left.expect("the environment survives its run");
    let renewed = used.renew(false).await;
    harness.skip_swap(false);
    let environment = renewed.expect("nothing is noticed yet").clean;
    let alive = harness.alive();
    let run = environment
        .run(call(get("http://counter.test/"), &Recorder::new()))
        .await;
    let (fault, _) = run.reply.expect_err("the run is refused");
    assert_eq!(fault, Fault::Unavailable);
    assert!(matches!(
        run.over,
        Over::Now(Err(Ended::Quarantined { .. }))
    ));
    assert_eq!(harness.alive(), alive - 1);
}

/// Renewals after which a wrong byte has come to be in the current area, however many there are.
const RENEWALS: usize = 2;

/// An audit compares all bytes; without it the same wrong byte goes unnoticed.
pub async fn an_audit_finds_a_wrong_byte<H: ContractHarness>(harness: &H) {
    if !harness.spoil_renewal(true) {
        assert_ne!(harness.renewal(), Renewal::Swap);
        return;
    }
    for audit in [false, true] {
        let mut clean = Some(ready(harness, "counter").await);
        let alive = harness.alive();
        for _ in 0..RENEWALS {
            let Some(environment) = clean.take() else {
                break;
            };
            let run = finish(environment, get("http://counter.test/")).await;
            let used = run.left.expect("the environment survives its run");
            clean = match used.renew(audit).await {
                Ok(renewed) => {
                    drop(renewed.behind);
                    Some(renewed.clean)
                }
                Err(RenewError::AuditFailed(_)) => None,
                Err(error) => panic!("not what an audit finds: {error}"),
            };
        }
        assert_eq!(clean.is_none(), audit, "a wrong byte, audit: {audit}");
        assert_eq!(harness.alive(), alive - u64::from(audit));
    }
    harness.spoil_renewal(false);
}

/// After `distrust` every renewal gives a fresh environment, those that existed before included.
pub async fn a_distrusted_image_is_served_fresh<H: ContractHarness>(harness: &H) {
    let image = load(harness, "counter", |_| {}).await;
    let before = start(harness, &image).await;
    let was_live = harness.engine().report(&image).mode == Mode::Live;
    harness.engine().distrust(&image);
    let after = start(harness, &image).await;
    let report = harness.engine().report(&image);
    assert_ne!(report.mode, Mode::Live);
    assert!(
        !was_live || !report.reasons.is_empty(),
        "nobody is told why"
    );
    for mut environment in [before, after] {
        for at in 0..3 {
            let id = environment.id();
            let run = finish(environment, get("http://counter.test/")).await;
            assert_eq!(run.text.trim(), "1");
            if at > 0 {
                assert!(matches!(
                    run.facts.renewal,
                    Renewal::Fresh | Renewal::Replaced
                ));
            }
            environment = renew(run.left).await;
            assert_ne!(environment.id(), id);
        }
    }
}
