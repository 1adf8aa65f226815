//! SnapStart's part of the Runtime API: a program waits to be restored, once at its start and once
//! for each time that it was put back, and runs its hooks before it gets an event.
//!
//! Deliberately absent: programs (`snap_start`).

use usher_process::contract::lambda::{InitError, LambdaApi, NotRemembered, RestoreError};

use super::rig::{Fake, about, direct, ended, serve};

const RESTORE: &str = "GET /2018-06-01/runtime/restore/next HTTP/1.1\r\nhost: a\r\n\r\n";
const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n";
const FAILED: &str = "/2018-06-01/runtime/restore/error";
const TIMES: u32 = 100;

async fn served() -> (LambdaApi, std::net::SocketAddr) {
    let mut about = about("h");
    about.snap_start = true;
    serve(about).await
}

/// A program that waits to be restored.
async fn waiting() -> (LambdaApi, std::net::SocketAddr, Fake) {
    let (api, address) = served().await;
    let mut kept = Fake::connect(address).await;
    kept.send(RESTORE).await;
    api.ready().await.unwrap();
    assert!(api.waits_for_restore());
    (api, address, kept)
}

#[tokio::test]
async fn a_program_is_restored_before_each_run_and_gets_each_event_once() {
    let (mut api, address, mut kept) = waiting().await;
    api.remember().await.unwrap();
    api.still().unwrap();
    for number in 0..TIMES {
        assert!(api.waits_for_restore());
        let event = number.to_string();
        // A client that has another connection for events, as the one for Python, or the same.
        let mut other = match number % 2 {
            0 => Some(Fake::connect(address).await),
            _ => None,
        };
        let (restored, ()) = tokio::join!(api.restore(), async {
            let said = kept.said().await.unwrap();
            assert_eq!((said.status, said.body.len()), (200, 0));
            other.as_mut().unwrap_or(&mut kept).send(NEXT).await;
        });
        restored.unwrap();
        assert!(!api.waits_for_restore());
        let program = async {
            let on = other.as_mut().unwrap_or(&mut kept);
            let said = on.said().await.unwrap();
            let body = std::str::from_utf8(&said.body).unwrap();
            let status = on.post(&said.id(), "response", "", body).await.status;
            assert_eq!(status, 202);
            on.send(NEXT).await;
        };
        let (answered, ()) = tokio::join!(api.invoke(direct(&event)), program);
        let (whole, rest) = ended(answered.unwrap()).await;
        assert_eq!(whole.text, event);
        assert!(matches!(rest, Some(Ok(()))), "{rest:?}");
        api.pause();
        api.rewind().await.unwrap();
        if let Some(other) = &mut other {
            assert!(other.said().await.is_none());
        }
    }
}

#[tokio::test]
async fn a_hook_that_fails_is_told_of() {
    let (api, address, mut kept) = waiting().await;
    let hooks = async {
        kept.said().await.unwrap();
        let mut other = Fake::connect(address).await;
        let header = "lambda-runtime-function-error-type: Runtime.AfterRestoreError\r\n";
        let body = r#"{"errorMessage":"no","errorType":"ValueError"}"#;
        let said = other.call("POST", FAILED, header, body).await;
        assert_eq!(said.status, 202);
        // It is over: nothing else is taken.
        let said = other.next().await;
        assert_eq!(said.status, 403);
        let said = other.call("POST", FAILED, header, body).await;
        assert_eq!(said.status, 403);
    };
    let (restored, ()) = tokio::join!(api.restore(), hooks);
    let Err(RestoreError::Reported(error)) = restored else {
        panic!("{restored:?}");
    };
    assert_eq!(error.error_type, "Runtime.AfterRestoreError");
    assert!(error.body.starts_with(b"{\"errorMessage\":\"no\""));
}

#[tokio::test(start_paused = true)]
async fn hooks_have_ten_seconds() {
    let (api, _, mut kept) = waiting().await;
    let (restored, said) = tokio::join!(api.restore(), kept.said());
    assert_eq!(said.unwrap().status, 200);
    assert_eq!(restored, Err(RestoreError::Late(10_000)));
}

#[tokio::test]
async fn a_program_that_asks_for_an_event_first_is_not_restored() {
    let (api, address) = served().await;
    let mut fake = Fake::connect(address).await;
    fake.send(NEXT).await;
    api.ready().await.unwrap();
    assert!(!api.waits_for_restore());
    api.restore().await.unwrap();
    // And its turn for it is over.
    let mut other = Fake::connect(address).await;
    other.send(RESTORE).await;
    let said = other.said().await.unwrap();
    assert_eq!(said.status, 403);
    let told = said.json()["errorMessage"].to_string();
    assert!(told.contains("from Ready to RestoreReady"), "{told}");
}

#[tokio::test]
async fn what_comes_out_of_turn_is_refused() {
    let (api, address, mut kept) = waiting().await;
    let mut other = Fake::connect(address).await;
    for (method, path) in [
        ("GET", "/2018-06-01/runtime/restore/next"),
        ("GET", "/2018-06-01/runtime/invocation/next"),
        ("POST", FAILED),
    ] {
        let said = other.call(method, path, "", "").await;
        assert_eq!(said.status, 403, "{path}");
        assert_eq!(said.json()["errorType"], "InvalidStateTransition");
    }
    let (restored, ()) = tokio::join!(api.restore(), async {
        assert_eq!(kept.said().await.unwrap().status, 200);
        kept.send(NEXT).await;
    });
    restored.unwrap();
}

#[tokio::test]
async fn a_hook_that_fails_before_the_state_is_taken_fails_the_initialisation() {
    for waits in [false, true] {
        let (api, address) = served().await;
        let mut kept = Fake::connect(address).await;
        if waits {
            kept.send(RESTORE).await;
            api.ready().await.unwrap();
        }
        let mut other = Fake::connect(address).await;
        let header = "lambda-runtime-function-error-type: Runtime.BeforeSnapshotError\r\n";
        let path = "/2018-06-01/runtime/init/error";
        assert_eq!(other.call("POST", path, header, "{}").await.status, 202);
        let failed = api.ready().await;
        let Err(InitError::Reported(error)) = failed else {
            panic!("{failed:?}");
        };
        assert_eq!(error.error_type, "Runtime.BeforeSnapshotError");
        assert_eq!(api.restore().await, Err(RestoreError::Closed));
    }
}

/// The control: to whom it was not told, it does not exist.
#[tokio::test]
async fn without_the_setting_there_is_nothing_at_these_paths() {
    let (_api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    for (method, path) in [
        ("GET", "/2018-06-01/runtime/restore/next"),
        ("POST", FAILED),
    ] {
        let said = fake.call(method, path, "", "").await;
        assert_eq!(said.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_program_that_waits_for_both_at_once_is_not_remembered() {
    let (mut api, address, _kept) = waiting().await;
    // Refused at once, so that it does not wait; but half a call is there.
    let mut other = Fake::connect(address).await;
    other
        .send("GET /2018-06-01/runtime/invocation/next HTT")
        .await;
    let mut ping = Fake::connect(address).await;
    ping.call("GET", "/2018-06-01/ping", "", "").await;
    let not = api.remember().await;
    assert!(matches!(not, Err(NotRemembered::Partial)), "{not:?}");
}
