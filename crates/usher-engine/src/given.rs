//! What the code of one image is given beside requests, made once when the image is made ready.
//!
//! ```text
//! revision (names) ─┐
//! SecretSource ─────┼─► Given: variables, configuration, files, buckets ─► image ─► environments
//! Buckets ──────────┘
//! ```
//!
//! Values of secrets live as long as the image. When one is changed the node has the image made
//! anew, so that an environment and what it was started with never disagree.
//!
//! Deliberately absent: how a guest reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use usher_api::buckets::Buckets;
use usher_api::node::PrepareFault;
use usher_api::secret::{NoSecret, SecretSource};
use usher_core::bucket::{Bucket, NotGranted};
use usher_core::fault::Blame;
use usher_core::function::{Delivery, KeyValueGrant, Revision};
use usher_core::id::FunctionKey;
use usher_core::secret::Secret;

/// Where an engine gets what functions are granted. By default there is nothing.
#[derive(Clone, Default)]
pub struct Sources {
    /// Values of secrets.
    pub secrets: Option<Arc<dyn SecretSource>>,
    /// State that functions share on purpose.
    pub buckets: Option<Arc<dyn Buckets>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("secrets", &self.secrets.is_some())
            .field("buckets", &self.buckets.is_some())
            .finish()
    }
}

/// What the code of one image is given.
#[derive(Clone, Default)]
pub struct Given {
    /// Variables of the manifest, without secrets.
    pub variables: BTreeMap<String, String>,
    /// Values of the manifest, without secrets.
    pub config: BTreeMap<String, String>,
    /// Secrets, by the function's own names.
    pub secrets: BTreeMap<String, (Delivery, Secret)>,
    /// Its buckets, if it has any.
    pub buckets: Option<Access>,
}

/// A function's way to its buckets.
#[derive(Clone)]
pub struct Access {
    function: FunctionKey,
    /// What it may keep there.
    pub grant: KeyValueGrant,
    /// The store.
    pub store: Arc<dyn Buckets>,
}

impl Access {
    /// The bucket that the function means.
    pub fn open(&self, identifier: &str) -> Result<Bucket, NotGranted> {
        Bucket::granted(&self.function, &self.grant, identifier)
    }
}

impl Sources {
    /// All that the settings of a revision grant; a secret that cannot be had is a reason not to
    /// make the image.
    pub async fn given(&self, revision: &Revision) -> Result<Given, PrepareFault> {
        let (settings, owner) = (&revision.settings, &revision.function.owner);
        let mut secrets = BTreeMap::new();
        for (name, used) in &settings.secrets {
            let source = self.secrets.as_ref();
            let source = source.ok_or_else(|| platform("this platform keeps no secrets"))?;
            let secret = source.secret(owner, &used.secret).await.map_err(fault)?;
            if used.delivery == Delivery::Env {
                check_variable(name, &secret)?;
            }
            secrets.insert(name.clone(), (used.delivery, secret));
        }
        let grant = &settings.keyvalue;
        let buckets = match (grant.buckets.is_empty(), &self.buckets) {
            (true, _) => None,
            (false, Some(store)) => Some(Access {
                function: revision.function.clone(),
                grant: grant.clone(),
                store: store.clone(),
            }),
            (false, None) => return Err(platform("this platform has no key-value store")),
        };
        Ok(Given {
            variables: settings.variables(),
            config: settings.config.clone(),
            secrets,
            buckets,
        })
    }
}

impl Given {
    /// All variables, with the secrets that are to be variables.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let mut all = self.variables.clone();
        let secrets = self.of(Delivery::Env);
        all.extend(secrets.filter_map(|(name, it)| Some((name.to_owned(), it.text()?.to_owned()))));
        all
    }

    /// The secrets that are got by this way.
    pub fn of(&self, delivery: Delivery) -> impl Iterator<Item = (&str, &Secret)> {
        let all = self.secrets.iter();
        all.filter_map(move |(name, (way, it))| (*way == delivery).then_some((name.as_str(), it)))
    }
}

/// A variable is text without a zero byte.
fn check_variable(name: &str, secret: &Secret) -> Result<(), PrepareFault> {
    match secret.text().is_some_and(|text| !text.contains('\0')) {
        true => Ok(()),
        false => Err(PrepareFault {
            blame: Blame::Function,
            message: format!(
                "the secret that is to be the variable {name} is not text, or holds a zero byte; \
                 leave out as = \"env\""
            ),
        }),
    }
}

fn fault(error: NoSecret) -> PrepareFault {
    let blame = match error {
        NoSecret::Missing { .. } => Blame::Function,
        NoSecret::Unreadable { .. } | NoSecret::Unavailable { .. } => Blame::Platform,
    };
    let message = error.to_string();
    PrepareFault { blame, message }
}

fn platform(message: &str) -> PrepareFault {
    PrepareFault {
        blame: Blame::Platform,
        message: message.to_owned(),
    }
}
