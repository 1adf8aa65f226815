//! The Runtime API goes back with a program that is put back: the call that was not answered at the
//! snapshot is answered, whatever the runs since have done.
//!
//! The client plays a program that was put back: what it knows of the runs since, it forgets.
//! Deliberately absent: programs (`lambda_renewed`).

use usher_process::contract::lambda::{InvokeError, LambdaApi, NotRemembered, NotRewound};

use super::rig::{Fake, about, direct, ended, serve, uuid};

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n";
const TIMES: u32 = 100;

/// A program that waits for its first event, and is remembered so.
async fn remembered() -> (LambdaApi, std::net::SocketAddr, Fake) {
    let (mut api, address) = serve(about("h")).await;
    let mut kept = Fake::connect(address).await;
    kept.send(NEXT).await;
    api.ready().await.unwrap();
    api.remember().await.unwrap();
    api.still().unwrap();
    (api, address, kept)
}

/// Calls the function while the program does its part, up to the moment at which it is put back.
async fn run(api: &mut LambdaApi, event: &str, program: impl Future<Output = ()>) -> String {
    let (answered, ()) = tokio::join!(api.invoke(direct(event)), program);
    let (whole, rest) = ended(answered.unwrap()).await;
    assert!(matches!(rest, Some(Ok(()))), "{rest:?}");
    whole.text
}

async fn back(api: &mut LambdaApi) -> Result<(), NotRewound> {
    api.pause();
    api.rewind().await
}

#[tokio::test]
async fn a_client_with_one_connection_gets_each_event_once() {
    let (mut api, _, mut kept) = remembered().await;
    for number in 0..TIMES {
        let event = number.to_string();
        let program = async {
            let said = kept.said().await.unwrap();
            let body = std::str::from_utf8(&said.body).unwrap();
            assert_eq!(body, event);
            assert_eq!(
                kept.post(&said.id(), "response", "", body).await.status,
                202
            );
            kept.send(NEXT).await;
        };
        assert_eq!(run(&mut api, &event, program).await, event);
        back(&mut api).await.unwrap();
        api.still().unwrap();
    }
}

#[tokio::test]
async fn a_client_with_a_connection_for_each_call_gets_each_event_once() {
    let (mut api, address, mut kept) = remembered().await;
    for number in 0..TIMES {
        let event = number.to_string();
        let mut others = Vec::new();
        let program = async {
            let said = kept.said().await.unwrap();
            let body = std::str::from_utf8(&said.body).unwrap();
            assert_eq!(body, event);
            let mut other = Fake::connect(address).await;
            assert_eq!(
                other.post(&said.id(), "response", "", body).await.status,
                202
            );
            others.push(other);
            let mut other = Fake::connect(address).await;
            other.send(NEXT).await;
            others.push(other);
        };
        assert_eq!(run(&mut api, &event, program).await, event);
        api.pause();
        // Whichever side is the first to close them.
        if number % 2 == 0 {
            others.clear();
        }
        api.rewind().await.unwrap();
        for other in &mut others {
            assert!(other.said().await.is_none());
        }
    }
}

/// The control: this is what a program would wait for in vain.
#[tokio::test]
async fn without_going_back_the_event_goes_to_the_run_before() {
    let (mut api, address, mut kept) = remembered().await;
    let mut other = Fake::connect(address).await;
    let program = async {
        let id = kept.said().await.unwrap().id();
        assert_eq!(kept.post(&id, "response", "", "1").await.status, 202);
        other.send(NEXT).await;
    };
    run(&mut api, "1", program).await;
    let program = async {
        let id = other.said().await.unwrap().id();
        assert_eq!(other.post(&id, "response", "", "2").await.status, 202);
        other.send(NEXT).await;
    };
    assert_eq!(run(&mut api, "2", program).await, "2");
}

#[tokio::test]
async fn what_an_old_run_leaves_reaches_no_other_caller() {
    let (mut api, address, mut kept) = remembered().await;
    // What its own side still holds back, a put-back finds there.
    kept.socket.set_nodelay(true).unwrap();
    let mut old: Option<String> = None;
    for number in 0..20 {
        let event = number.to_string();
        let mut others = Vec::new();
        let program = async {
            let id = kept.said().await.unwrap().id();
            if let Some(old) = &old {
                // It has come to know an id of the run before.
                let mut late = Fake::connect(address).await;
                let said = late.post(old, "response", "", "\"stale\"").await;
                assert_eq!(said.status, 400, "{said:?}");
            }
            let path = format!("/2018-06-01/runtime/invocation/{id}/response");
            let post = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\n");
            let said = kept.post(&id, "response", "", &event).await;
            assert_eq!(said.status, 202, "{event}: {said:?}");
            // A call more than it waits for, and half a reply, here and on connections that are
            // accepted, and that are not.
            kept.send(format!("{NEXT}{NEXT}{post}\"st")).await;
            for _ in 0..12 {
                let mut other = Fake::connect(address).await;
                other.send(format!("{post}\"sta")).await;
                others.push(other);
            }
            old = Some(id);
        };
        assert_eq!(run(&mut api, &event, program).await, event);
        api.pause();
        for other in &mut others {
            // What was half a reply is whole now, and late.
            other.send("le\"").await;
            other.send(NEXT).await;
        }
        kept.send("ale\"").await;
        api.rewind().await.unwrap();
        api.still().unwrap();
    }
}

#[tokio::test]
async fn a_reply_under_way_is_dead_after_going_back() {
    let (mut api, address, mut kept) = remembered().await;
    let mut other = Fake::connect(address).await;
    // A caller that goes away while the reply is being read.
    let invoke = direct("1");
    let id = uuid(invoke.request_id);
    let path = format!("/2018-06-01/runtime/invocation/{id}/response");
    {
        let mut invoking = std::pin::pin!(api.invoke(invoke));
        let program = async {
            assert_eq!(kept.said().await.unwrap().id(), id);
            let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n");
            let head = format!("{head}lambda-runtime-function-response-mode: streaming\r\n\r\n");
            other.send(format!("{head}\"st")).await;
        };
        let (answered, ()) = tokio::join!(&mut invoking, program);
        drop(answered.unwrap());
    }
    back(&mut api).await.unwrap();
    let program = async {
        let said = kept.said().await.unwrap();
        assert_ne!(said.id(), id);
        assert!(other.said().await.is_none());
        assert_eq!(kept.post(&said.id(), "response", "", "2").await.status, 202);
        kept.send(NEXT).await;
    };
    assert_eq!(run(&mut api, "2", program).await, "2");
}

#[tokio::test]
async fn a_rest_of_an_old_run_ends() {
    let (mut api, _, mut kept) = remembered().await;
    let program = async {
        let id = kept.said().await.unwrap().id();
        assert_eq!(kept.post(&id, "response", "", "1").await.status, 202);
    };
    let (answered, ()) = tokio::join!(api.invoke(direct("1")), program);
    back(&mut api).await.unwrap();
    let (_, rest) = ended(answered.unwrap()).await;
    assert!(matches!(rest, Some(Err(InvokeError::Closed))), "{rest:?}");
}

#[tokio::test]
async fn a_connection_of_the_snapshot_must_be_there() {
    // Closed by the program.
    let (mut api, _, kept) = remembered().await;
    drop(kept);
    let error = back(&mut api).await.unwrap_err();
    assert!(matches!(error, NotRewound::Ended), "{error}");

    // Closed by the platform.
    let (mut api, address, mut kept) = remembered().await;
    let mut other = Fake::connect(address).await;
    let program = async {
        let id = kept.said().await.unwrap().id();
        kept.send("what?\r\n\r\n").await;
        while kept.said().await.is_some() {}
        assert_eq!(other.post(&id, "response", "", "1").await.status, 202);
        other.send(NEXT).await;
    };
    run(&mut api, "1", program).await;
    let error = back(&mut api).await.unwrap_err();
    assert!(matches!(error, NotRewound::Ended), "{error}");
}

#[tokio::test]
async fn an_answer_that_was_not_taken_is_an_error() {
    let (mut api, address, kept) = remembered().await;
    let invoke = direct(&format!("\"{}\"", "x".repeat(5 << 20)));
    let id = uuid(invoke.request_id);
    let mut other = Fake::connect(address).await;
    let program = async {
        // It is there in part, and the event so long that its rest finds no room.
        kept.socket.readable().await.unwrap();
        assert_eq!(other.post(&id, "response", "", "1").await.status, 202);
        other.send(NEXT).await;
    };
    let (answered, ()) = tokio::join!(api.invoke(invoke), program);
    ended(answered.unwrap()).await;
    let error = back(&mut api).await.unwrap_err();
    assert!(matches!(error, NotRewound::Unsent), "{error}");
}

#[tokio::test]
async fn only_a_program_that_waits_for_one_event_is_remembered() {
    let (mut api, address) = serve(about("h")).await;
    let error = api.remember().await.unwrap_err();
    assert!(matches!(error, NotRemembered::NotWaiting), "{error}");

    // It is remembered whatever it has said before, and whatever else it has open.
    let mut one = Fake::connect(address).await;
    let mut two = Fake::connect(address).await;
    for fake in [&mut one, &mut two] {
        assert_eq!(
            fake.call("GET", "/2018-06-01/ping", "", "").await.status,
            200
        );
    }
    one.send(NEXT).await;
    api.ready().await.unwrap();
    api.remember().await.unwrap();
    back(&mut api).await.unwrap();

    // What it sends beside the snapshot is found.
    two.send("GET /2018-06-01/ping HT").await;
    let error = api.still().unwrap_err();
    assert!(matches!(error, NotRemembered::Restless), "{error}");
    let error = api.remember().await.unwrap_err();
    assert!(matches!(error, NotRemembered::Partial), "{error}");

    let (mut api, address) = serve(about("h")).await;
    let mut fakes = Vec::new();
    for _ in 0..2 {
        let mut fake = Fake::connect(address).await;
        assert_eq!(
            fake.call("GET", "/2018-06-01/ping", "", "").await.status,
            200
        );
        fake.send(NEXT).await;
        fakes.push(fake);
    }
    api.ready().await.unwrap();
    // Both are read when a third one's call, which came after them, is answered.
    let mut third = Fake::connect(address).await;
    assert_eq!(
        third.call("GET", "/2018-06-01/ping", "", "").await.status,
        200
    );
    let error = api.remember().await.unwrap_err();
    assert!(
        matches!(error, NotRemembered::Calls(2) | NotRemembered::Partial),
        "{error}"
    );
}

#[tokio::test]
async fn going_back_to_nothing_is_an_error() {
    let (mut api, _) = serve(about("h")).await;
    let error = api.rewind().await.unwrap_err();
    assert!(matches!(error, NotRewound::Nothing), "{error}");
}
