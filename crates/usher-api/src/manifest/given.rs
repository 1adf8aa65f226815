//! The tables `[env]`, `[config]`, `[secrets]` and `[keyvalue]`: what a function is given beside
//! its code.
//!
//! Deliberately absent: the values of secrets, and whether those that are named are there.

use usher_core::bucket::BucketName;
use usher_core::function::{Delivery, KeyValueGrant, SecretUse, Settings};
use usher_core::id::{BadName, Name};

use super::process::{self, VALUE_MAX_BYTES, VARIABLES_MAX};
use super::section::{Section, shown};

/// How many values `wasi:config` may answer.
const VALUES_MAX: usize = 200;
/// The length of the name of such a value, in bytes.
const VALUE_NAME_MAX_BYTES: usize = 256;
/// How many secrets a function may be granted.
const SECRETS_MAX: usize = 100;
/// How many buckets it may be granted.
const BUCKETS_MAX: usize = 16;
/// Keys in one bucket.
const KEYS_MAX: u64 = 1_000_000;
/// One value, in bytes; what the store below takes.
const VALUE_MAX: u64 = 256 << 10;
/// One bucket, in bytes.
const BUCKET_MAX_BYTES: u64 = 256 << 20;

/// Reads the four tables, once it is known what the function is.
pub(super) fn read(section: &mut Section<'_, '_>, settings: &mut Settings) {
    let variable = process::variable;
    section.texts_by_name("env", VARIABLES_MAX, variable, &mut settings.env);
    section.texts_by_name("config", VALUES_MAX, value, &mut settings.config);
    section.entries_by_name(
        "secrets",
        SECRETS_MAX,
        |name| process::variable(name, ""),
        |text| secret(text, Delivery::default()),
        described,
        &mut settings.secrets,
    );
    section.table("keyvalue", |table| keyvalue(table, &mut settings.keyvalue));
    contradictions(section, settings);
}

/// What stands in two places, and what the kind of function has no use for.
fn contradictions(section: &mut Section<'_, '_>, settings: &Settings) {
    if let Some(process) = &settings.process {
        let twice = process
            .environment
            .keys()
            .find(|name| settings.env.contains_key(*name));
        if let Some(name) = twice {
            let name = shown(name);
            section.mistake(
                "env",
                &format!("{name} stands in process.environment too; leave out one"),
            );
        }
        if !settings.config.is_empty() {
            section.mistake(
                "config",
                "only components ask for this (wasi:config); write [env] for a program",
            );
        }
        if !settings.keyvalue.buckets.is_empty() {
            section.mistake("keyvalue", "only components have this so far; leave it out");
        }
    }
    let variables = settings.variables();
    for (name, used) in &settings.secrets {
        let other = match used.delivery {
            Delivery::Env => variables.contains_key(name).then_some("env"),
            Delivery::Store => settings.config.contains_key(name).then_some("config"),
        };
        if let Some(other) = other {
            let name = shown(name);
            section.mistake(
                "secrets",
                &format!("{name} stands in {other} too; leave out one"),
            );
        }
    }
}

fn value(name: &str, value: &str) -> Result<(), String> {
    if !(1..=VALUE_NAME_MAX_BYTES).contains(&name.len()) {
        return Err(format!("its name has 1 to {VALUE_NAME_MAX_BYTES} bytes"));
    }
    match value.len() {
        ..=VALUE_MAX_BYTES => Ok(()),
        long => Err(format!(
            "the value has {long} bytes; it may have at most {VALUE_MAX_BYTES}"
        )),
    }
}

fn secret(name: &str, delivery: Delivery) -> Result<SecretUse, String> {
    let secret = name.parse::<Name>();
    let secret = secret.map_err(|error: BadName| error.to_string())?;
    Ok(SecretUse { secret, delivery })
}

fn described(table: &mut Section<'_, '_>) -> Option<SecretUse> {
    table.require("secret", "secret = \"db-password\", the name of the secret");
    let secret = table.parsed("secret");
    let mut delivery = Delivery::default();
    let ways = [("store", Delivery::Store), ("env", Delivery::Env)];
    table.choice("as", &ways, &mut delivery);
    Some(SecretUse {
        secret: secret?,
        delivery,
    })
}

fn keyvalue(table: &mut Section<'_, '_>, grant: &mut KeyValueGrant) {
    let bucket = |name: &str| {
        let name = name.parse::<BucketName>();
        name.map(drop).map_err(|error| error.to_string())
    };
    table.texts("buckets", BUCKETS_MAX, bucket, &mut grant.buckets);
    table.number("keys_max", "keys", 1..=KEYS_MAX, &mut grant.keys_max);
    table.number(
        "value_max_bytes",
        "bytes",
        1..=VALUE_MAX,
        &mut grant.value_max_bytes,
    );
    let most = &mut grant.bucket_max_bytes;
    table.number("bucket_max_bytes", "bytes", 1..=BUCKET_MAX_BYTES, most);
}
