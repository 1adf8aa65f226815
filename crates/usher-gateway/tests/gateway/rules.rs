//! Owners held to their quotas and callers to keys, as the backbone says at each moment.

use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc};
use usher_api::access::{KEYS_PREFIX, OWNERS_PREFIX, key_entry, owner_entry};
use usher_api::invoke::Invocation;
use usher_backbone::{Embedded, KeyValue, Limits as Bounded, Watched};
use usher_core::api_key::{KeyId, KeyRecord, Scope, Secret};
use usher_core::function::{InvokeBy, Limits, Settings};
use usher_core::id::{Digest, Name};
use usher_core::owner::{OwnerRecord, Quotas};
use usher_gateway::{Bounds, RouteTable, Rules};

use crate::rig::{Fake, Rig, event, figures, outcome, revision, text};

/// What a gateway watches.
struct Store {
    store: Arc<Embedded>,
    keys: Arc<Watched<KeyRecord>>,
    owners: Arc<Watched<OwnerRecord>>,
    _folder: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(folder.path(), Bounded::default()).unwrap());
        let keys = Arc::new(Watched::new(KEYS_PREFIX));
        let owners = Arc::new(Watched::new(OWNERS_PREFIX));
        let (table, watched) = (Arc::clone(&keys), Arc::clone(&store));
        tokio::spawn(async move { table.follow(&*watched).await });
        let (table, watched) = (Arc::clone(&owners), Arc::clone(&store));
        tokio::spawn(async move { table.follow(&*watched).await });
        Self {
            store,
            keys,
            owners,
            _folder: folder,
        }
    }

    fn table(&self) -> Arc<RouteTable> {
        let rules = Rules::new(Arc::clone(&self.keys), Arc::clone(&self.owners));
        Arc::new(RouteTable::with(rules))
    }

    async fn set(&self, owner: &str, quotas: Quotas) {
        let owner: Name = owner.parse().unwrap();
        let record = OwnerRecord {
            quotas,
            updated_us: 0,
            owner: owner.clone(),
        };
        let record = Bytes::from(serde_json::to_vec(&record).unwrap());
        let revision = self.store.put(&owner_entry(&owner), record).await.unwrap();
        let mut applied = self.owners.applied();
        applied.wait_for(|it| *it >= revision).await.unwrap();
    }

    async fn key(&self, owner: Option<&str>, scope: Scope, expires_us: Option<u64>) -> Secret {
        let number = self.store.list("").await.unwrap().revision;
        let secret = Secret::new(KeyId::new(number), [3; 32]);
        let record = KeyRecord {
            id: secret.id(),
            owner: owner.map(|owner| owner.parse().unwrap()),
            scopes: [scope].into(),
            created_us: 0,
            expires_us,
            label: String::new(),
            digest: Digest(Sha256::digest(secret.text()).into()),
        };
        let record = Bytes::from(serde_json::to_vec(&record).unwrap());
        let entry = key_entry(secret.id());
        let revision = self.store.put(&entry, record).await.unwrap();
        self.seen(revision).await;
        secret
    }

    async fn revoke(&self, key: &Secret) {
        let revision = self.store.delete(&key_entry(key.id()), None).await.unwrap();
        self.seen(revision).await;
    }

    async fn seen(&self, revision: u64) {
        let mut applied = self.keys.applied();
        applied.wait_for(|it| *it >= revision).await.unwrap();
    }
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{lines}\r\n")
}

fn bearer(key: &Secret) -> String {
    format!("authorization: Bearer {}\r\n", key.text())
}

/// Answers with the header that it was given.
fn given(invocation: Invocation) -> String {
    let shown = invocation.request.headers().get_all(AUTHORIZATION).iter();
    let shown = shown.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    format!("{:?}", shown.collect::<Vec<_>>())
}

#[tokio::test]
async fn a_function_that_asks_for_a_key_is_called_with_one_of_its_owner_only() {
    let store = Store::new();
    let table = store.table();
    let by_key = Settings {
        invoke: InvokeBy::Key,
        ..Settings::default()
    };
    table.put(revision("ann", "closed", by_key));
    let invoker = Fake(|invocation| async { text(given(invocation)) });
    let rig = Rig::start(Bounds::default(), table, invoker).await;
    let good = store.key(Some("ann"), Scope::Invoke, None).await;
    let platform = store.key(None, Scope::Admin, None).await;
    let ask = async |lines: &str| rig.once(&get("/fn/closed.ann/", lines)).await;
    for key in [&good, &platform] {
        let answer = ask(&bearer(key)).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "[]"),
            "it was passed on"
        );
    }
    assert_eq!(
        ask(&bearer(&good).replace("Bearer", "bEARER")).await.status,
        200
    );
    let stranger = store.key(Some("eve"), Scope::Invoke, None).await;
    let reader = store.key(Some("ann"), Scope::Read, None).await;
    let expired = store.key(Some("ann"), Scope::Invoke, Some(1)).await;
    let forged = Secret::new(good.id(), [4; 32]);
    let unknown = Secret::new(KeyId::new(0xffff), [3; 32]);
    let twice = format!("{0}{0}", bearer(&good));
    for lines in [
        "",
        "authorization: Basic YTpi\r\n",
        &format!("authorization: {}\r\n", good.text()),
        &twice,
        &bearer(&stranger),
        &bearer(&reader),
        &bearer(&expired),
        &bearer(&forged),
        &bearer(&unknown),
    ] {
        let answer = ask(lines).await;
        assert_eq!(answer.status, 401, "{lines}");
        assert_eq!(answer.error()["label"], "key-needed");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"usher\"")
        );
    }
    store.revoke(&good).await;
    assert_eq!(ask(&bearer(&good)).await.status, 401);
}

/// A function that does not ask for one is given what is its own, and never a key of ours.
#[tokio::test]
async fn a_key_of_the_platform_is_never_passed_on() {
    let store = Store::new();
    let table = store.table();
    table.put(revision("ann", "open", Settings::default()));
    let invoker = Fake(|invocation| async { text(given(invocation)) });
    let rig = Rig::start(Bounds::default(), table, invoker).await;
    let platform = store.key(None, Scope::Admin, None).await;
    for (lines, passed) in [
        (String::new(), "[]"),
        (
            "authorization: Basic YTpi\r\n".to_owned(),
            "[\"Basic YTpi\"]",
        ),
        (
            "authorization: Bearer theirs\r\n".to_owned(),
            "[\"Bearer theirs\"]",
        ),
        (bearer(&platform), "[]"),
        (bearer(&platform).replace("Bearer ", "Token  "), "[]"),
    ] {
        let answer = rig.once(&get("/fn/open.ann/", &lines)).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, passed),
            "{lines}"
        );
    }
}

#[tokio::test]
async fn an_owner_is_held_to_its_rate_over_all_functions() {
    let store = Store::new();
    let table = store.table();
    for (owner, name) in [("ann", "one"), ("ann", "two"), ("bob", "one")] {
        table.put(revision(owner, name, Settings::default()));
    }
    let invoker = Fake(|invocation| async { text(given(invocation)) });
    let rig = Rig::start(Bounds::default(), table, invoker).await;
    let ask = async |path: &str| rig.once(&get(path, "")).await;
    // Nothing comes in a second, so only the burst may begin, however slow this test is.
    let quotas = Quotas {
        requests_per_s: Some(0),
        burst: Some(2),
        ..Quotas::NONE
    };
    store.set("ann", quotas).await;
    assert_eq!(ask("/fn/one.ann/").await.status, 200);
    assert_eq!(ask("/fn/two.ann/").await.status, 200);
    let answer = ask("/fn/one.ann/").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.error()["label"], "owner-busy");
    assert!(
        answer.error()["message"]
            .as_str()
            .unwrap()
            .contains("requests_per_s")
    );
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(outcome(&rig.gauge, "owner-busy"), 1);
    // The controls: another owner, and the same one without a bound.
    for _ in 0..5 {
        assert_eq!(ask("/fn/one.bob/").await.status, 200);
    }
    store.set("ann", Quotas::NONE).await;
    for _ in 0..5 {
        assert_eq!(ask("/fn/one.ann/").await.status, 200);
    }
}

#[tokio::test]
async fn an_owner_at_its_bound_waits_and_others_run() {
    let store = Store::new();
    let table = store.table();
    let settings = Settings {
        limits: Limits {
            queue_max: 1,
            queue_wait_max_ms: 60_000,
            ..Limits::default()
        },
        ..Settings::default()
    };
    for (owner, name) in [("ann", "one"), ("ann", "two"), ("bob", "one")] {
        table.put(revision(owner, name, settings.clone()));
    }
    let (begin, mut begun) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let invoker = Fake(move |invocation: Invocation| {
        let (begin, gate) = (begin.clone(), Arc::clone(&held));
        async move {
            begin
                .send(invocation.revision.function.to_string())
                .unwrap();
            gate.acquire().await.unwrap().forget();
            text("done")
        }
    });
    let rig = Rig::start(Bounds::default(), table, invoker).await;
    let quotas = Quotas {
        concurrency_max: Some(1),
        ..Quotas::NONE
    };
    store.set("ann", quotas).await;
    let mut callers = Vec::new();
    for path in ["/fn/one.ann/", "/fn/two.ann/", "/fn/one.bob/"] {
        let mut raw = rig.connect().await;
        raw.send(&get(path, "")).await;
        callers.push(raw);
        let inside = callers.len();
        figures(&rig.gauge, |now| now.running + now.waiting == inside).await;
    }
    let now = rig.gauge.snapshot();
    assert_eq!((now.running, now.waiting), (2, 1));
    assert_eq!(event(begun.recv()).await.unwrap(), "ann/one");
    assert_eq!(event(begun.recv()).await.unwrap(), "bob/one");
    // The place in the second function's line is taken, and it is the owner's bound that is told.
    let answer = rig.once(&get("/fn/two.ann/", "")).await;
    assert_eq!(answer.status, 429);
    assert!(
        answer.error()["message"]
            .as_str()
            .unwrap()
            .contains("concurrency_max")
    );
    gate.add_permits(2);
    assert_eq!(event(begun.recv()).await.unwrap(), "ann/two");
    gate.add_permits(1);
    for caller in &mut callers {
        assert_eq!(caller.answer().await.status, 200);
    }
}
