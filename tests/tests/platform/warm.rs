//! Warm-up and the freshness lint of components, as users see them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;

const WARM: &str = "[[warm_up]]\n";

fn texts(of: &Value) -> String {
    let texts = of.as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    texts.collect::<Vec<_>>().join(" ")
}

/// Answers of a function that is called several times, some at once.
async fn answers(caller: &Caller) -> Vec<String> {
    let calls = (0..8).map(|_| caller.get("/fn/it/"));
    let answers = futures_util::future::join_all(calls).await;
    answers
        .iter()
        .map(|answer| answer.text().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warmed_component_begins_behind_its_warm_up_also_after_a_restart() {
    let data = Folder::new();
    let mut server = Server::up(data.path()).await;
    let folder = Folder::function("it", "js-counter", WARM);
    let deployed = server.run(&["deploy", folder.text()]).await.done();
    let image = &deployed[0]["function"]["image"];
    assert_eq!(image["mode"], "live", "{image}");
    assert!(
        texts(&image["notes"]).contains("warm-up: GET / was answered 200"),
        "{image}"
    );
    let shown = server.run(&["show", "it"]).await.done();
    assert_eq!(shown[0]["status"]["served"], 0, "{shown:?}");
    assert!(
        answers(&Caller::new(server.gateway))
            .await
            .iter()
            .all(|it| it == "2")
    );
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));
    let server = Server::up(data.path()).await;
    assert!(
        answers(&Caller::new(server.gateway))
            .await
            .iter()
            .all(|it| it == "2")
    );
}

/// An identity that the warm-up has drawn, and random values of a generator that it has seeded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_image_that_repeats_is_named_at_deployment_and_not_served() {
    for (component, place) in [("js-identity", "at byte 0"), ("py-random", "at /random")] {
        let data = Folder::new();
        let server = Server::up(data.path()).await;
        let caller = Caller::new(server.gateway);
        let of = |answers: &[String]| -> BTreeSet<String> {
            let values = answers
                .iter()
                .map(|answer| match place.strip_prefix("at /") {
                    Some(name) => serde_json::from_str::<Value>(answer).unwrap()[name].to_string(),
                    None => answer.clone(),
                });
            values.collect()
        };
        let folder = Folder::function("it", component, WARM);
        let deployed = server.run(&["deploy", folder.text()]).await.done();
        let shown = server.run(&["show", "it"]).await.done();
        for function in [&deployed[0]["function"], &shown[0]] {
            let image = &function["image"];
            assert_eq!(image["mode"], "live", "{image}");
            let told = texts(&image["notes"]);
            let named = format!("{place} again after each renewal");
            assert!(
                told.contains("the freshness lint found that GET / answers"),
                "{told}"
            );
            assert!(told.contains(&named), "{told}");
        }
        let log = server.run(&["logs", "it"]).await.done();
        let log = log.iter().map(Value::to_string).collect::<String>();
        assert!(
            log.contains("the freshness lint found that GET / answers"),
            "{log}"
        );
        assert_eq!(of(&answers(&caller).await).len(), 8);

        // The control: what it found does repeat where it is told not to look.
        let off = format!("{WARM}[lint]\nfreshness = \"off\"\n");
        let off = Folder::function("it", component, &off);
        server.run(&["deploy", off.text()]).await.done();
        assert_eq!(of(&answers(&caller).await).len(), 1);

        // And without a warm-up there is nothing to find.
        let cold = Folder::function("it", component, "");
        let deployed = server.run(&["deploy", cold.text()]).await.done();
        let image = &deployed[0]["function"]["image"];
        assert_eq!(image["mode"], "live", "{image}");
        assert_eq!(texts(&image["notes"]), "", "{image}");
        assert_eq!(of(&answers(&caller).await).len(), 8);
    }
}
