//! Secrets over the API: set, shown as present, used, deleted; and what is on the disk.

use std::sync::Arc;

use usher_api::client::ClientError;
use usher_api::secret::{NoSecret, SecretSource as _};
use usher_backbone::{Backbone, Embedded, Limits};
use usher_core::function::{Delivery, SecretUse};
use usher_core::id::Name;
use usher_core::secret::{SECRET_MAX_BYTES, Secret};

use super::rig::{Asked, Rig, Setup, request};
use crate::secrets::{SealKey, Vault};

const VALUE: &str = "correct horse battery staple";

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

fn secret(value: &str) -> Secret {
    Secret::new(value.as_bytes().to_vec())
}

/// A controller whose vault is at hand too. The folder is given back, for it must outlive both.
async fn rig() -> (Rig, Arc<Vault>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let backbone = Embedded::open(folder.path(), Limits::default()).unwrap();
    let backbone: Arc<dyn Backbone> = Arc::new(backbone);
    let vault = Vault::new(Arc::clone(&backbone), SealKey::random().unwrap());
    let mut setup = Setup::default();
    setup.options.vault = Some(Arc::clone(&vault));
    (Rig::over(backbone, setup).await, vault, folder)
}

fn label(error: ClientError) -> String {
    match error {
        ClientError::Refused { error, .. } => error.label,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_secret_is_shown_as_present_and_its_value_is_for_engines_only() {
    let (rig, vault, folder) = rig().await;
    let (owner, db) = (Name::default_owner(), name("db"));
    let first = rig
        .client
        .set_secret(&owner, &db, &secret(VALUE))
        .await
        .unwrap();
    assert_eq!((first.version, first.readable), (1, true));
    assert_eq!(rig.node.asked(), [Asked::Changed(db.clone())]);
    let again = rig
        .client
        .set_secret(&owner, &db, &secret("other"))
        .await
        .unwrap();
    assert_eq!(again.version, 2);
    let opened = vault.secret(&owner, &db).await.unwrap();
    assert_eq!(opened.bytes(), b"other");
    assert_eq!(rig.client.secret(&owner, &db).await.unwrap(), again);
    assert_eq!(rig.client.secrets(None).await.unwrap().secrets, [again]);
    let other = rig.client.secrets(Some(&name("other"))).await.unwrap();
    assert!(other.secrets.is_empty());
    let nobody = vault.secret(&name("other"), &db).await.unwrap_err();
    assert!(matches!(nobody, NoSecret::Missing { .. }), "{nobody}");
    // What is on the disk is sealed; the name, which is no secret, shows that we look well.
    let store = std::fs::read(folder.path().join("store.redb")).unwrap();
    let holds = |text: &str| store.windows(text.len()).any(|it| it == text.as_bytes());
    assert!(holds("secrets.default.db"));
    assert!(!holds(VALUE));
}

#[tokio::test]
async fn a_secret_that_is_used_is_not_deleted() {
    let (rig, _vault, _folder) = rig().await;
    let (owner, db) = (Name::default_owner(), name("db"));
    let missing = rig.client.delete_secret(&owner, &db).await.unwrap_err();
    assert_eq!(label(missing), "no-such-secret");
    rig.client
        .set_secret(&owner, &db, &secret(VALUE))
        .await
        .unwrap();
    let artifact = rig.request("f", "content").await.artifact;
    let mut with = request("f", artifact);
    let used = SecretUse {
        secret: db.clone(),
        delivery: Delivery::Store,
    };
    with.settings.secrets.insert("DB".to_owned(), used);
    rig.client.deploy(&with, |_| {}).await.unwrap();
    let shown = rig.client.secret(&owner, &db).await.unwrap();
    assert_eq!(shown.used_by, [name("f")]);
    let refused = rig.client.delete_secret(&owner, &db).await.unwrap_err();
    assert_eq!(label(refused), "secret-in-use");
    rig.client.delete(&super::rig::key("f")).await.unwrap();
    rig.client.delete_secret(&owner, &db).await.unwrap();
    assert_eq!(
        label(rig.client.secret(&owner, &db).await.unwrap_err()),
        "no-such-secret"
    );
}

#[tokio::test]
async fn a_record_that_was_moved_or_sealed_by_another_key_does_not_open() {
    let (rig, vault, _folder) = rig().await;
    let (owner, db, token) = (Name::default_owner(), name("db"), name("token"));
    rig.client
        .set_secret(&owner, &db, &secret(VALUE))
        .await
        .unwrap();
    let entry = rig
        .backbone
        .get("secrets.default.db")
        .await
        .unwrap()
        .unwrap();
    rig.backbone
        .put("secrets.default.token", entry.value)
        .await
        .unwrap();
    let moved = vault.secret(&owner, &token).await.unwrap_err();
    assert!(matches!(moved, NoSecret::Unreadable { .. }), "{moved}");
    assert!(vault.secret(&owner, &db).await.is_ok());
    let other = Vault::new(Arc::clone(&rig.backbone), SealKey::random().unwrap());
    let refused = other.secret(&owner, &db).await.unwrap_err();
    assert!(
        refused.to_string().contains("sealed by the key"),
        "{refused}"
    );
    assert_eq!(other.unreadable().await.unwrap(), 2);
    assert_eq!(vault.unreadable().await.unwrap(), 0);
}

#[tokio::test]
async fn values_have_bounds_and_without_a_vault_there_are_no_secrets() {
    let (rig, _vault, _folder) = rig().await;
    let (owner, db) = (Name::default_owner(), name("db"));
    let set = async |length| {
        let value = Secret::new(vec![b'x'; length]);
        rig.client.set_secret(&owner, &db, &value).await
    };
    assert_eq!(label(set(0).await.unwrap_err()), "empty-secret");
    assert_eq!(
        label(set(SECRET_MAX_BYTES + 1).await.unwrap_err()),
        "secret-too-large"
    );
    assert_eq!(set(SECRET_MAX_BYTES).await.unwrap().version, 1);
    let without = Rig::new().await;
    let refused = without.client.set_secret(&owner, &db, &secret(VALUE)).await;
    assert_eq!(label(refused.unwrap_err()), "no-secrets");
}
