//! The suite that every engine must pass.
//!
//! An engine's own tests implement [`ContractHarness`] and write
//! `usher_engine::contract_suite!(Harness::new())`. Each case makes its own images, so that the
//! order of cases decides nothing.
//!
//! The guests that a harness supplies, by name:
//!
//! | name | what it does |
//! | --- | --- |
//! | `hello` | answers 200 with a text in which "hello" stands, in any case |
//! | `counter` | adds one to a global and answers with the number in decimal digits |
//! | `echo` | answers with the request's body, piece by piece as it comes, head first |
//! | `slow` | writes the line `begun` to standard output, and then waits for a minute or more |
//! | `trap` | traps before it has answered |
//! | `spin` | loops for ever before it has answered |
//! | `hog` | asks for memory until it gets none, and traps then |
//!
//! Deliberately absent: what only one engine has, such as the ways in which code can leave its
//! area.

pub mod failing;
pub mod isolation;
pub mod lifecycle;
pub mod running;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, mpsc};
use usher_api::body::Body;
use usher_core::function::{Revision, Settings};
use usher_core::id::{Digest, FunctionKey, Name, RequestId, RevisionId};
use usher_core::proof::Renewal;

use crate::call::{Call, GuestOutput, GuestStream};
use crate::environment::{Ended, Engine, Environment, Over, Run, Used, UsedFacts};

/// What the suite needs to know of an engine under test.
pub trait ContractHarness: Send + Sync {
    /// The engine's type.
    type Engine: Engine;

    /// The engine: the same one for one harness.
    fn engine(&self) -> &Self::Engine;

    /// The artifact of a guest of the table above.
    fn artifact(&self, guest: &str) -> Bytes;

    /// How environments of these artifacts become clean: `Swap`, `InPlace`, `Fresh` or `Replaced`.
    fn renewal(&self) -> Renewal;

    /// Settings to start from: those that lead to `renewal`.
    fn settings(&self) -> Settings {
        Settings::default()
    }

    /// How many artifacts were compiled so far.
    fn compiled(&self) -> u64;

    /// How often compiled code was loaded so far.
    fn loaded(&self) -> u64;

    /// Environments that were given out and exist, the used ones included; not those in an engine's
    /// own stock.
    fn alive(&self) -> u64;

    /// Bytes that an echo may hold between a reader that stands still and its writer.
    fn buffered_max_bytes(&self) -> u64 {
        1 << 20
    }

    /// From now on renewals change the record but not the pointer. False: the engine has no such
    /// mechanism (then its `renewal` must not be `Swap`).
    fn skip_swap(&self, on: bool) -> bool;

    /// From now on renewals leave a wrong byte behind, as a broken scrub would. False as for
    /// `skip_swap`.
    fn spoil_renewal(&self, on: bool) -> bool;
}

/// Writes one test for each case: `contract_suite!(Harness::new())`.
#[macro_export]
macro_rules! contract_suite {
    ($harness:expr) => {
        $crate::contract_suite!(@cases $harness;
            running: answers, streams_both_ways, echo_holds_back_a_writer,
                     output_carries_the_request_id, an_answer_outlives_its_environment;
            isolation: counter_is_one_each_time, counter_grows_when_state_is_kept,
                       the_area_differs_on_consecutive_runs, owners_share_nothing,
                       state_is_kept_only_on_request, the_other_area_is_clean_without_the_scrub;
            failing: a_failed_run_ends_only_its_environment,
                     a_dropped_run_destroys_its_environment,
                     a_dropped_rest_destroys_its_environment,
                     a_pointer_that_did_not_move_is_refused,
                     an_audit_finds_a_wrong_byte, a_distrusted_image_is_served_fresh;
            lifecycle: compiled_and_loaded_once, a_damaged_artifact_is_refused,
                       dropping_ends_environments;
        );
    };
    (@cases $harness:expr; $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::contract::$module::$case(&$harness).await;
            }
        )+)+
    };
}

/// The image and environment of the engine under test.
type ImageOf<H> = Arc<<<H as ContractHarness>::Engine as Engine>::Image>;
type EnvironmentOf<H> = <<H as ContractHarness>::Engine as Engine>::Environment;

/// The revision that a deployment of these bytes with these settings would be.
pub fn revision(function: FunctionKey, artifact: &[u8], settings: Settings) -> Revision {
    let artifact = Digest(Sha256::digest(artifact).into());
    let identity = Revision::identity(&function, &artifact, &settings);
    Revision {
        id: RevisionId(Digest(Sha256::digest(identity).into())),
        function,
        number: 1,
        artifact,
        settings,
    }
}

/// The function `name` of the default owner.
///
/// # Panics
/// If it is not a name.
pub fn function(name: &str) -> FunctionKey {
    FunctionKey {
        owner: Name::default_owner(),
        name: name.parse().expect("a test's function has a legal name"),
    }
}

/// A request without a body.
pub fn get(uri: &str) -> http::Request<Body> {
    let mut request = http::Request::new(Body::Empty);
    *request.uri_mut() = uri.parse().expect("a test's URI is legal");
    request
}

async fn load<H: ContractHarness>(
    harness: &H,
    guest: &str,
    adapt: impl FnOnce(&mut Settings),
) -> ImageOf<H> {
    load_for(harness, function(guest), guest, adapt).await
}

async fn load_for<H: ContractHarness>(
    harness: &H,
    function: FunctionKey,
    guest: &str,
    adapt: impl FnOnce(&mut Settings),
) -> ImageOf<H> {
    let artifact = harness.artifact(guest);
    let mut settings = harness.settings();
    adapt(&mut settings);
    let revision = Arc::new(revision(function, &artifact, settings));
    let (progress, _) = mpsc::channel(1);
    let loaded = harness.engine().load(revision, artifact, progress).await;
    loaded.expect("the guests of the contract load")
}

async fn start<H: ContractHarness>(harness: &H, image: &ImageOf<H>) -> EnvironmentOf<H> {
    let started = harness.engine().start(image).await;
    started.expect("the guests of the contract start")
}

/// An environment of a guest with the harness's settings.
async fn ready<H: ContractHarness>(harness: &H, guest: &str) -> EnvironmentOf<H> {
    let image = load(harness, guest, |_| {}).await;
    start(harness, &image).await
}

fn call(request: http::Request<Body>, output: &Arc<Recorder>) -> Call {
    Call {
        request_id: RequestId(7),
        request,
        output: output.clone(),
    }
}

/// A run that was read to its end.
struct Finished<U> {
    text: String,
    facts: UsedFacts,
    left: Result<U, Ended>,
}

/// Runs a request that succeeds, and reads its reply while the guest goes on.
async fn finish<E: Environment>(environment: E, request: http::Request<Body>) -> Finished<E::Used> {
    let Run { reply, facts, over } = environment.run(call(request, &Recorder::new())).await;
    let response = reply.expect("the guest answers");
    assert_eq!(response.status(), http::StatusCode::OK);
    let (left, body) = tokio::join!(end(over), response.into_body().collect());
    let bytes = body.expect("the body is whole").to_bytes();
    Finished {
        text: String::from_utf8(bytes.to_vec()).expect("the guest answers in UTF-8"),
        facts,
        left,
    }
}

async fn end<U>(over: Over<U>) -> Result<U, Ended> {
    match over {
        Over::Now(left) => left,
        Over::Later(rest) => rest.await,
    }
}

/// Renews and scrubs at once.
async fn renew<U: Used>(left: Result<U, Ended>) -> U::Clean {
    let used = left.expect("the environment survives its run");
    let renewed = used.renew(true).await.expect("the environment is renewed");
    if let Some(behind) = renewed.behind {
        behind.scrub();
    }
    renewed.clean
}

/// Keeps what guests write.
#[derive(Default)]
struct Recorder {
    written: Mutex<Vec<(RequestId, GuestStream, Vec<u8>)>>,
    more: Notify,
}

impl Recorder {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    /// All that a request wrote to one stream, as one text.
    fn text(&self, request: RequestId, stream: GuestStream) -> String {
        let written = self.written.lock();
        let bytes = written
            .iter()
            .filter(|(id, on, _)| (*id, *on) == (request, stream))
            .flat_map(|(_, _, bytes)| bytes.iter().copied())
            .collect::<Vec<_>>();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until a text stands in a request's standard output.
    async fn wait_for(&self, request: RequestId, text: &str) {
        loop {
            let more = self.more.notified();
            if self.text(request, GuestStream::Stdout).contains(text) {
                return;
            }
            more.await;
        }
    }
}

impl GuestOutput for Recorder {
    fn write(&self, request: RequestId, stream: GuestStream, bytes: &[u8]) {
        let entry = (request, stream, bytes.to_vec());
        self.written.lock().push(entry);
        self.more.notify_one();
    }

    fn note(&self, _: RequestId, _: &str) {}
}
