//! The audit log as the API writes and shows it.

use futures_util::StreamExt;
use usher_api::access::{AuditLine, AuditQuery, Who};
use usher_core::id::FunctionKey;

use super::access::{Closed, label, name};
use super::rig::Rig;
use super::wire::{ask, asked};

async fn lines(closed: &Closed, query: &AuditQuery) -> Vec<AuditLine> {
    let lines = closed.admin.audit(query).await.unwrap();
    lines.map(Result::unwrap).collect().await
}

#[tokio::test]
async fn each_call_has_a_line_and_no_line_has_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit");
    let closed = Closed::over(Rig::with(|setup| setup.api.audit.folder = Some(path.clone())).await);
    let closed = closed.await;
    let (ann, eve) = (closed.client(&closed.ann), closed.client(&closed.eve));
    let hello = FunctionKey {
        owner: name("ann"),
        name: name("hello"),
    };
    ann.show(&hello).await.unwrap();
    assert!(eve.delete(&hello).await.unwrap_err().is_not_found());
    let refused = closed.rig.client.list(None, None, None).await.unwrap_err();
    assert_eq!(label(refused), "no-key");
    ask(&closed.rig, &asked("GET", "/nowhere?token=hidden", "")).await;
    ask(&closed.rig, &asked("GET", "/healthz", "")).await;
    ann.delete(&hello).await.unwrap();
    let all = lines(&closed, &AuditQuery::default()).await;
    let told = |line: &AuditLine| {
        let owner = line.owner.as_ref().map_or("-", |owner| owner.as_str());
        let function = line.function.as_ref().map_or("-", |it| it.as_str());
        let label = line.label.as_deref().unwrap_or("-");
        let (method, path, status) = (&line.method, &line.path, line.status);
        format!(
            "{:?} {method} {path} {owner} {function} {status} {label}",
            line.who
        )
    };
    let told: Vec<_> = all.iter().map(told).collect();
    let expected = [
        "Anyone POST /v1/keys - - 201 -",
        "Key POST /v1/keys ann - 201 -",
        "Key POST /v1/keys eve - 201 -",
        "Key POST /v1/artifacts ann - 200 -",
        "Key POST /v1/functions ann hello 201 -",
        "Key GET /v1/functions/hello ann hello 200 -",
        "Key DELETE /v1/functions/hello ann hello 404 no-such-function",
        "Nobody GET /v1/functions - - 401 no-key",
        "Nobody GET /nowhere - - 404 no-such-route",
        "Key DELETE /v1/functions/hello ann hello 200 -",
    ];
    let mut sorted = (told.clone(), expected.map(ToOwned::to_owned).to_vec());
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1, "{told:#?}");
    assert_eq!(all[4].key, Some(closed.ann.id()));
    assert_eq!(all[4].key_owner, Some(name("ann")));
    assert!(all.iter().all(|line| line.client.starts_with("127.0.0.1:")));
    // An owner's administrator sees what is about that owner, whoever did it.
    let mut of_ann = ann.audit(&AuditQuery::default()).await.unwrap();
    let mut strangers = 0;
    while let Some(line) = of_ann.next().await {
        let line = line.unwrap();
        assert_eq!(line.owner, Some(name("ann")), "{line:?}");
        strangers += usize::from(line.key == Some(closed.eve.id()));
    }
    assert_eq!(strangers, 1);
    let mut written = String::new();
    for file in std::fs::read_dir(&path).unwrap() {
        written.push_str(&std::fs::read_to_string(file.unwrap().path()).unwrap());
    }
    assert!(written.contains("/v1/functions/hello"));
    for secret in ["ushk_", "hidden", "ann's bytes"] {
        assert!(!written.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn who_follows_sees_each_new_line_once() {
    let closed = Closed::over(Rig::new().await).await;
    let query = AuditQuery {
        follow: true,
        owner: Some(name("ann")),
        ..AuditQuery::default()
    };
    let mut following = closed.admin.audit(&query).await.unwrap();
    let ann = closed.client(&closed.ann);
    for function in ["one", "two"] {
        let function = FunctionKey {
            owner: name("ann"),
            name: name(function),
        };
        assert!(ann.show(&function).await.unwrap_err().is_not_found());
        let mut line = following.next().await.unwrap().unwrap();
        if line.path == "/v1/audit" {
            // The call that follows is one about ann's things too.
            line = following.next().await.unwrap().unwrap();
        }
        assert_eq!(line.function, Some(function.name));
        assert_eq!((line.status, line.who), (404, Who::Key));
    }
}
