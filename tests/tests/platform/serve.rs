//! `usher serve`: a component of each tool chain in the foreground, at `/` of any host.

use usher_api::body::Body;

use crate::caller::Caller;
use crate::example;
use crate::server::{Server, run};

async fn serves(component: &str) {
    let mut server = Server::serve(&example(component)).await;
    let caller = Caller::new(server.gateway);
    let mut before = None;
    for nth in 0..10 {
        let request = caller.request("/any/path?and=query").header("host", "any");
        let answer = caller.whole(request.body(Body::Empty).unwrap()).await;
        assert!(answer.text().contains("Hello"), "{answer:?}");
        let now = answer.run();
        if let Some((environment, area)) = before.replace((now.environment, now.area)) {
            assert_eq!(now.environment, environment, "{nth}");
            assert_ne!(now.area, area, "{nth}");
            assert_eq!(now.renewal, "swap", "{nth}");
        }
    }
    server.terminate();
    let status = server.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

macro_rules! serves {
    ($($test:ident $component:literal)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            serves($component).await;
        }
    )* };
}

serves! {
    a_component_in_rust_is_served_and_renewed_live "rust-hello"
    a_component_in_c_is_served_and_renewed_live "c-hello"
    a_component_in_javascript_is_served_and_renewed_live "js-hello"
    a_component_with_a_fetch_event_is_served_and_renewed_live "js-hello-fetch"
    a_component_in_python_is_served_and_renewed_live "py-hello"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_served() {
    let error = run(None, &["serve", "nowhere.wasm", "--listen", "127.0.0.1:0"]).await;
    let told = error.error()["message"].to_string();
    assert!(told.contains("is the path right?"), "{told}");
}
