//! Who may ask: keys that are taken and not, owners that do not see each other, scopes, quotas. All
//! routes of the table are walked over, those that come later too.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};
use usher_api::access::{KeyRequest, key_entry};
use usher_api::client::{Client, ClientError};
use usher_api::http::DeployRequest;
use usher_core::api_key::{KeyId, Scope, Secret};
use usher_core::function::Settings;
use usher_core::id::{Digest, FunctionKey, Name};
use usher_core::owner::Quotas;

use super::rig::Rig;
use super::wire::{ask, asked, error};
use crate::api::{Of, table};

const ALL: [Scope; 4] = [Scope::Read, Scope::Deploy, Scope::Invoke, Scope::Admin];

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Makes a key by this client.
pub(super) async fn key(client: &Client, owner: Option<&str>, scopes: &[Scope]) -> Secret {
    let request = KeyRequest {
        owner: owner.map(name),
        scopes: scopes.iter().copied().collect(),
        ..KeyRequest::default()
    };
    let made = client.create_key(&request).await.unwrap();
    made.secret.parse().unwrap()
}

/// A platform with an administrator, and a function of ann's.
pub(super) struct Closed {
    pub(super) rig: Rig,
    pub(super) admin: Client,
    pub(super) ann: Secret,
    pub(super) eve: Secret,
}

impl Closed {
    pub(super) async fn new() -> Self {
        Self::over(Rig::new().await).await
    }

    pub(super) async fn over(rig: Rig) -> Self {
        let admin = rig
            .client
            .clone()
            .with_key(&key(&rig.client, None, &ALL).await);
        let ann = key(&admin, Some("ann"), &ALL).await;
        let eve = key(&admin, Some("eve"), &ALL).await;
        let closed = Self {
            rig,
            admin,
            ann,
            eve,
        };
        let client = closed.client(&closed.ann);
        deploy(&client, None, "hello", "ann's bytes").await.unwrap();
        closed
    }

    pub(super) fn client(&self, key: &Secret) -> Client {
        self.rig.client.clone().with_key(key)
    }

    /// Asks with these lines of head: the status, and the body.
    async fn ask(&self, method: &str, path: &str, lines: &str, body: &str) -> (u16, String) {
        let lines = format!("{lines}content-length: {}\r\n", body.len());
        ask(&self.rig, &(asked(method, path, &lines) + body)).await
    }
}

fn shown(key: &Secret) -> String {
    format!("authorization: Bearer {}\r\n", key.text())
}

async fn deploy(
    client: &Client,
    owner: Option<&str>,
    function: &str,
    content: &str,
) -> Result<(), ClientError> {
    let bytes = Bytes::from(content.to_owned());
    let stored = client.put_artifact(bytes).await?;
    let request = DeployRequest {
        owner: owner.map(name),
        name: name(function),
        artifact: stored.digest,
        settings: Settings::default(),
    };
    client.deploy(&request, |_| {}).await.map(drop)
}

pub(super) fn label(error: ClientError) -> String {
    match error {
        ClientError::Refused { error, .. } => error.label,
        other => panic!("not refused: {other:?}"),
    }
}

/// A path of the table with something in the place of its parameters.
fn filled(path: &str, owner: &str, function: &str) -> String {
    let path = path.replace("{name}", function).replace("{owner}", owner);
    let parts = path.split('/').map(|part| match part.starts_with('{') {
        true => "1234567890ab",
        false => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn a_key_that_is_not_taken_opens_no_route() {
    let closed = Closed::new().await;
    let revoked = key(&closed.admin, None, &ALL).await;
    closed.admin.revoke_key(revoked.id()).await.unwrap();
    let expired = key(&closed.admin, None, &ALL).await;
    let entry = key_entry(expired.id());
    let kept = closed.rig.backbone.get(&entry).await.unwrap().unwrap();
    let mut record: Value = serde_json::from_slice(&kept.value).unwrap();
    record["expires_us"] = json!(1);
    let record = Bytes::from(record.to_string());
    closed.rig.backbone.put(&entry, record).await.unwrap();
    // The right id with another secret, and one that nobody ever had.
    let forged = Secret::new(closed.ann.id(), [7; 32]);
    let unknown = Secret::new(KeyId::new(7), [7; 32]);
    let good = closed.ann.text();
    let cases = [
        (String::new(), "no-key"),
        (shown(&revoked), "key-refused"),
        (shown(&expired), "key-refused"),
        (shown(&forged), "key-refused"),
        (shown(&unknown), "key-refused"),
        ("authorization: Bearer\r\n".to_owned(), "bad-key"),
        ("authorization: Bearer secret\r\n".to_owned(), "bad-key"),
        (format!("authorization: Basic {good}\r\n"), "bad-key"),
        (format!("authorization: {good}\r\n"), "bad-key"),
        (
            format!("authorization: Bearer {}\r\n", &good[..80]),
            "bad-key",
        ),
        (format!("{0}{0}", shown(&closed.ann)), "bad-key"),
    ];
    for (method, path, of) in table() {
        let path = filled(path, "ann", "hello");
        for (lines, said) in &cases {
            let (status, body) = closed.ask(&method.to_uppercase(), &path, lines, "{}").await;
            if of == Of::Nobody {
                assert_eq!(status, 200, "{method} {path}");
                continue;
            }
            assert_eq!(status, 401, "{method} {path} {said}: {body}");
            assert_eq!(error(&body)["label"], *said, "{method} {path}");
            assert!(!body.contains(&good[..40]), "{body}");
        }
    }
}

#[tokio::test]
async fn a_stranger_reads_and_changes_nothing_on_any_route() {
    let closed = Closed::new().await;
    let before = closed.rig.backbone.list("").await.unwrap().revision;
    let eve = shown(&closed.eve);
    let body = json!({
        "owner": "ann", "name": "hello", "artifact": "12", "scopes": ["read"], "functions_max": 1,
    });
    let mut seen = BTreeSet::new();
    for (method, row, of) in table() {
        let said = |function: &'static str| {
            let (path, eve, body) = (filled(row, "ann", function), &eve, body.to_string());
            let method = method.to_uppercase();
            let closed = &closed;
            async move {
                let path = match of {
                    Of::Query => format!("{path}?owner=ann"),
                    _ => path,
                };
                closed.ask(&method, &path, eve, &body).await
            }
        };
        let (status, body) = said("hello").await;
        let (expected, what) = match of {
            Of::Nobody | Of::AnyKey => (200, "anybody's"),
            Of::Platform | Of::Derived => (403, "the platform's"),
            Of::Body | Of::Path | Of::Query => (404, "ann's"),
        };
        assert_eq!(status, expected, "{method} {row}: {body}");
        seen.insert(what);
        if expected == 404 {
            // The very same answer where there is no such function.
            let (_, other) = said("absent").await;
            assert_eq!(body, other.replace("absent", "hello"), "{method} {row}");
        }
    }
    assert_eq!(seen.len(), 3, "the walk has met all kinds: {seen:?}");
    // Nor where no owner is named: then it is eve's own, of which there is nothing.
    let client = closed.client(&closed.eve);
    assert!(
        client
            .list(None, None, None)
            .await
            .unwrap()
            .functions
            .is_empty()
    );
    let keys = client.keys(None).await.unwrap().keys;
    assert_eq!(
        keys.iter().map(|key| key.id).collect::<Vec<_>>(),
        [closed.eve.id()]
    );
    for owner in ["eve", "default"] {
        let path = format!("/v1/functions/hello?owner={owner}");
        assert_eq!(closed.ask("GET", &path, &eve, "").await.0, 404);
    }
    let revoked = client.revoke_key(closed.ann.id()).await.unwrap_err();
    assert_eq!(label(revoked), "no-such-key");
    // However it is written, and beside her own.
    for query in ["owner=eve&owner=ann", "owner=ann&owner=eve", "%6fwner=ann"] {
        let path = format!("/v1/functions/hello?{query}");
        assert_eq!(closed.ask("GET", &path, &eve, "").await.0, 404, "{query}");
    }
    let twice = r#"{"owner":"eve","owner":"ann","name":"hello","artifact":"12"}"#;
    assert_eq!(
        closed.ask("POST", "/v1/functions", &eve, twice).await.0,
        404
    );
    let after = closed.rig.backbone.list("").await.unwrap().revision;
    assert_eq!(before, after, "something was written");
}

/// The control of the walk above: the same with ann's own key is let in everywhere but where the
/// platform itself is meant.
#[tokio::test]
async fn ones_own_key_is_let_in() {
    let closed = Closed::new().await;
    let ann = shown(&closed.ann);
    for (method, row, of) in table() {
        // What ends everything comes at the end.
        if method == "delete" {
            continue;
        }
        let path = filled(row, "ann", "hello");
        let (status, body) = closed.ask(&method.to_uppercase(), &path, &ann, "{}").await;
        match of {
            Of::Platform | Of::Derived => assert_eq!(status, 403, "{method} {row}"),
            _ if method == "get" && !row.contains("{x") => {
                assert!(!matches!(status, 401 | 403), "{method} {row}: {body}");
            }
            _ => assert!(
                !matches!(status, 401) && !body.contains("no-such-owner"),
                "{method} {row}: {body}"
            ),
        }
    }
    let client = closed.client(&closed.ann);
    let listed = client.list(None, None, None).await.unwrap();
    assert_eq!(listed.functions.len(), 1);
    let hello = FunctionKey {
        owner: name("ann"),
        name: name("hello"),
    };
    assert_eq!(client.show(&hello).await.unwrap().owner, name("ann"));
    assert_eq!(client.owner(&name("ann")).await.unwrap().functions, 1);
    client.delete(&hello).await.unwrap();
    assert!(client.show(&hello).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn another_owners_artifact_is_neither_told_nor_used() {
    let closed = Closed::new().await;
    let eve = closed.client(&closed.eve);
    let shown = closed.admin.list(None, None, None).await.unwrap();
    let anns = shown.functions[0].revision.artifact;
    let deploys = async |artifact| {
        let request = DeployRequest {
            owner: None,
            name: name("mine"),
            artifact,
            settings: Settings::default(),
        };
        match eve.deploy(&request, |_| {}).await {
            Ok(_) => "deployed".to_owned(),
            Err(error) => error.to_string().replace(&artifact.to_string(), "DIGEST"),
        }
    };
    let of_nobody = deploys(Digest([9; 32])).await;
    assert!(of_nobody.contains("there is no artifact"), "{of_nobody}");
    assert_eq!(deploys(anns).await, of_nobody);
    // Whoever has the bytes may store them, and does not learn that others have.
    let bytes = Bytes::from("ann's bytes");
    let stored = eve.put_artifact(bytes.clone()).await.unwrap();
    assert_eq!((stored.digest, stored.existed), (anns, false));
    assert!(eve.put_artifact(bytes).await.unwrap().existed);
    assert_eq!(deploys(anns).await, "deployed");
}

#[tokio::test]
async fn the_first_key_that_administers_closes_the_api_for_ever() {
    let rig = Rig::new().await;
    let open = rig.client.clone();
    assert!(open.list(None, None, None).await.is_ok());
    // An owner's key does not close it, whatever it may do.
    key(&open, Some("ann"), &ALL).await;
    assert!(open.list(None, None, None).await.is_ok());
    let first = key(&open, None, &[Scope::Admin]).await;
    let refused = open.list(None, None, None).await.unwrap_err();
    assert_eq!(label(refused), "no-key");
    let admin = open.clone().with_key(&first);
    let last = admin.revoke_key(first.id()).await.unwrap_err();
    assert_eq!(label(last), "last-key");
    let second = key(&admin, None, &[Scope::Admin]).await;
    admin.revoke_key(first.id()).await.unwrap();
    let refused = admin.keys(None).await.unwrap_err();
    assert_eq!(label(refused), "key-refused");
    assert!(open.with_key(&second).keys(None).await.is_ok());
    // What is kept of a key does not make one.
    let all = rig.backbone.list("").await.unwrap().entries;
    let texts = all
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.value));
    assert!(!texts.collect::<String>().contains("ushk_"));
}

#[tokio::test]
async fn a_scope_allows_what_it_says_and_no_more() {
    let closed = Closed::new().await;
    let with = |scope| {
        let admin = closed.admin.clone();
        async move {
            admin
                .clone()
                .with_key(&key(&admin, Some("ann"), &[scope]).await)
        }
    };
    let (read, write) = (with(Scope::Read).await, with(Scope::Deploy).await);
    let invoke = with(Scope::Invoke).await;
    assert!(read.list(None, None, None).await.is_ok());
    assert!(deploy(&write, None, "other", "bytes").await.is_ok());
    for refused in [
        deploy(&read, None, "other", "bytes").await.unwrap_err(),
        write.list(None, None, None).await.unwrap_err(),
        invoke.list(None, None, None).await.unwrap_err(),
        write.keys(None).await.unwrap_err(),
        read.keys(None).await.unwrap_err(),
    ] {
        assert_eq!(label(refused), "scope-missing");
    }
    for (request, said) in [
        (KeyRequest::default(), "a scope"),
        (
            KeyRequest {
                scopes: [Scope::Read].into(),
                expires_us: Some(1),
                ..KeyRequest::default()
            },
            "expired already",
        ),
        (
            KeyRequest {
                scopes: [Scope::Read].into(),
                label: "a\nb".to_owned(),
                ..KeyRequest::default()
            },
            "label",
        ),
    ] {
        let error = closed.admin.create_key(&request).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    // An owner's administrator makes keys for that owner only.
    let ann = closed.client(&closed.ann);
    let made = key(&ann, None, &[Scope::Read]).await;
    let keys = closed.admin.keys(None).await.unwrap().keys;
    let made = keys.iter().find(|key| key.id == made.id()).unwrap();
    assert_eq!(made.owner, Some(name("ann")));
}

#[tokio::test]
async fn an_owner_has_so_many_functions_and_no_more() {
    let closed = Closed::new().await;
    let ann = closed.client(&closed.ann);
    let bounded = Quotas {
        functions_max: Some(2),
        ..Quotas::NONE
    };
    closed
        .admin
        .set_owner(&name("ann"), &bounded)
        .await
        .unwrap();
    deploy(&ann, None, "second", "two").await.unwrap();
    let refused = deploy(&ann, None, "third", "three").await.unwrap_err();
    assert!(
        refused.to_string().contains("functions_max is 2"),
        "{refused}"
    );
    assert_eq!(label(refused), "owner-full");
    // What is there may change, others are not bounded by it, and it is told.
    deploy(&ann, None, "second", "two, changed").await.unwrap();
    deploy(&closed.client(&closed.eve), None, "third", "three")
        .await
        .unwrap();
    let owners = closed.admin.owners().await.unwrap().owners;
    let owners = owners
        .iter()
        .map(|it| (it.owner.as_str(), it.functions, it.quotas));
    let expected = [("ann", 2, bounded), ("eve", 1, Quotas::NONE)];
    assert_eq!(owners.collect::<Vec<_>>(), expected);
    // An owner sees his quotas and does not set them.
    assert_eq!(ann.owner(&name("ann")).await.unwrap().quotas, bounded);
    let refused = ann
        .set_owner(&name("ann"), &Quotas::NONE)
        .await
        .unwrap_err();
    assert_eq!(label(refused), "platform-only");
    closed
        .admin
        .set_owner(&name("ann"), &Quotas::NONE)
        .await
        .unwrap();
    deploy(&ann, None, "third", "three").await.unwrap();
}

#[tokio::test]
async fn two_new_functions_at_once_do_not_both_take_the_last_place() {
    let closed = Closed::new().await;
    let bounded = Quotas {
        functions_max: Some(2),
        ..Quotas::NONE
    };
    closed
        .admin
        .set_owner(&name("ann"), &bounded)
        .await
        .unwrap();
    let ann = closed.client(&closed.ann);
    let both = tokio::join!(
        deploy(&ann, None, "left", "left"),
        deploy(&ann, None, "right", "right")
    );
    let both = [both.0.is_ok(), both.1.is_ok()];
    assert_eq!(
        both.iter().filter(|deployed| **deployed).count(),
        1,
        "{both:?}"
    );
}
