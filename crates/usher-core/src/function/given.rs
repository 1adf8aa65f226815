//! What a function is given beside its code: variables, configuration, secrets, buckets.
//!
//! Deliberately absent: the values of secrets, which stand in no revision; a revision only names
//! them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::id::Name;

/// A secret that a function is granted, under a name of the function's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// The secret, one of the function's owner.
    pub secret: Name,
    /// How the function gets it.
    #[serde(default, rename = "as")]
    pub delivery: Delivery,
}

/// How a function gets a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Where it has to be asked for: a program reads a file in memory, a component asks
    /// `wasi:config`.
    #[default]
    Store,
    /// As a variable, which whoever may look at a program's process can read.
    Env,
}

/// The buckets that a function may keep state in, and how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyValueGrant {
    /// Their names; `owner:NAME` is one that all functions of the owner share. Empty: the function
    /// has no key-value store.
    pub buckets: Vec<String>,
    /// Keys in one bucket.
    pub keys_max: u32,
    /// One value, in bytes.
    pub value_max_bytes: u32,
    /// All keys and values of one bucket, in bytes.
    pub bucket_max_bytes: u64,
}

impl Default for KeyValueGrant {
    fn default() -> Self {
        Self {
            buckets: Vec::new(),
            keys_max: 10_000,
            value_max_bytes: 64 << 10,
            bucket_max_bytes: 16 << 20,
        }
    }
}

impl Settings {
    /// The variables that the manifest gives, wherever in it they stand.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let process = self.process.as_ref();
        let mut all = process.map_or_else(BTreeMap::new, |it| it.environment.clone());
        all.extend(self.env.clone());
        all
    }

    /// Whether the function is granted this secret of its owner.
    pub fn uses_secret(&self, secret: &Name) -> bool {
        self.secrets.values().any(|used| used.secret == *secret)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn variables_are_one_set_wherever_they_stand() {
        let text = r#"{"env": {"A": "1", "B": "2"}, "process": {"contract": "http",
            "command": ["x"], "environment": {"B": "old", "C": "3"}}}"#;
        let settings: Settings = serde_json::from_str(text).unwrap();
        let variables: Vec<_> = settings.variables().into_iter().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(variables, [pair("A", "1"), pair("B", "2"), pair("C", "3")]);
    }

    #[test]
    fn a_use_without_a_way_is_that_of_a_store() {
        let used: SecretUse = serde_json::from_str(r#"{"secret": "db"}"#).unwrap();
        assert_eq!(used.delivery, Delivery::Store);
        let mut settings = Settings::default();
        settings.secrets.insert("DB".to_owned(), used);
        assert!(settings.uses_secret(&"db".parse().unwrap()));
        assert!(!settings.uses_secret(&"other".parse().unwrap()));
    }
}
