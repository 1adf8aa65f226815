//! Many functions: each one answers, also after a restart, though only some are in memory.
//!
//! `USHER_FUNCTIONS` is their number, 200 without it, of which each ten share a component. The
//! components are one example with another word in it each, so that each answers its own.
//! What they cost is measured by `cargo xtask bench wasm --rows W11`.

use std::collections::BTreeSet;

use bytes::Bytes;
use usher_api::http::DeployRequest;
use usher_core::function::Settings;

use crate::caller::Caller;
use crate::example;
use crate::folder::Folder;
use crate::server::Server;

/// Functions that have one component.
const SHARED_BY: usize = 10;
/// A word in the answer of the example, of which each component has another one.
const WORD: &[u8] = b"planted";
/// What makes it answer with that word.
const TARGET: &str = "?seek=00000000000000000000000000000000";

fn functions() -> usize {
    let told = std::env::var("USHER_FUNCTIONS").ok();
    told.map_or(200, |count| count.parse().unwrap())
}

fn word(component: usize) -> String {
    format!("w{component:06}")
}

/// The example with another word of the same length.
fn component(example: &[u8], nth: usize) -> Bytes {
    let mut bytes = example.to_vec();
    let at = bytes.windows(WORD.len()).position(|part| part == WORD);
    bytes[at.unwrap()..][..WORD.len()].copy_from_slice(word(nth).as_bytes());
    bytes.into()
}

async fn answers(caller: &Caller, nth: usize) {
    let answer = caller.get(&format!("/fn/f{nth}/{TARGET}")).await;
    let wanted = word(nth / SHARED_BY);
    assert!(answer.text().contains(&wanted), "f{nth}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_function_of_many_answers_also_after_a_restart() {
    let data = Folder::new();
    let mut server = Server::up(data.path()).await;
    let client = server.client();
    let example = std::fs::read(example("wat-globals")).unwrap();
    let mut settings = Settings::default();
    settings.keep.idle_max_s = 1;
    for first in (0..functions()).step_by(SHARED_BY) {
        let stored = client.put_artifact(component(&example, first / SHARED_BY));
        let artifact = stored.await.unwrap().digest;
        for nth in (first..functions()).take(SHARED_BY) {
            let request = DeployRequest {
                owner: None,
                name: format!("f{nth}").parse().unwrap(),
                artifact,
                settings: settings.clone(),
            };
            client.deploy(&request, |_| {}).await.unwrap();
        }
    }
    let caller = Caller::new(server.gateway);
    for nth in 0..functions() {
        answers(&caller, nth).await;
    }
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));

    let server = Server::up(data.path()).await;
    let listed = server.run(&["list"]).await.done();
    let names: BTreeSet<_> = listed.iter().map(|one| one["name"].to_string()).collect();
    assert_eq!(names.len(), functions());
    let caller = Caller::new(server.gateway);
    // Backwards, so that those used last before are not the first.
    for nth in (0..functions()).rev() {
        answers(&caller, nth).await;
    }
    let metrics = server.client().metrics().await.unwrap();
    let total = |name: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    assert!(total("usher_images_loaded_total") >= functions() as u64);
    assert_eq!(
        total("usher_artifacts_compiled_total"),
        0,
        "the code was there"
    );
}
