//! Components that differ in one word of their answer: cheap to compile, and as many as wanted.

use bytes::Bytes;
use usher_api::http::DeployRequest;
use usher_core::function::Settings;

use crate::caller::Caller;
use crate::example;
use crate::server::Server;

/// A word in the answer of the example, of which each variant has another one.
const WORD: &[u8] = b"planted";
/// What makes it answer with that word.
const QUERY: &str = "?seek=00000000000000000000000000000000";

/// The word of a variant, of the same length.
fn word(nth: usize) -> String {
    format!("w{nth:06}")
}

/// The bytes of a variant.
pub(crate) fn component(nth: usize) -> Bytes {
    let mut bytes = std::fs::read(example("wat-globals")).unwrap();
    let at = bytes.windows(WORD.len()).position(|part| part == WORD);
    bytes[at.unwrap()..][..WORD.len()].copy_from_slice(word(nth).as_bytes());
    bytes.into()
}

/// Deploys a variant as a function; on return it is acknowledged.
pub(crate) async fn deploy(server: &Server, name: &str, nth: usize) {
    let client = server.client();
    let stored = client.put_artifact(component(nth)).await.unwrap();
    let request = DeployRequest {
        owner: None,
        name: name.parse().unwrap(),
        artifact: stored.digest,
        settings: Settings::default(),
    };
    client.deploy(&request, |_| {}).await.unwrap();
}

/// Which variant answers at a function's path.
pub(crate) async fn answering(caller: &Caller, name: &str) -> usize {
    let answer = caller.get(&format!("/fn/{name}/{QUERY}")).await;
    let text = answer.text();
    let digits = text.find('w').and_then(|at| text.get(at + 1..at + 7));
    let nth = digits.and_then(|digits| digits.parse().ok());
    nth.unwrap_or_else(|| panic!("{name}: {answer:?}"))
}
