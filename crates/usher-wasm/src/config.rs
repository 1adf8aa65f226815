//! `wasi:config` for components: what the manifest says, and the secrets that it grants, by the
//! function's own names.
//!
//! Values stay as long as the image, and are read anew in each run, so that no renewal has anything
//! to put back. The interface is small and its values are secrets, so it is answered from where
//! they lie and not from a table of copies; names of older drafts are answered alike.
//!
//! Deliberately absent: where values come from (`usher_engine::Given`).

use usher_core::function::Delivery;
use usher_engine::Given;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::host::Host;

/// The interface's names, which differ by version only.
const NAMES: [&str; 3] = [
    "wasi:config/store@0.2.0-rc.1",
    "wasi:config/store@0.2.0-draft",
    "wasi:config/runtime@0.2.0-draft",
];

/// Why a value is not had; the interface wants it, and there is no such reason here.
#[derive(Clone, Debug, ComponentType, Lift, Lower)]
#[component(variant)]
enum ConfigError {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

type Answer<T> = wasmtime::Result<(Result<T, ConfigError>,)>;

/// Adds the interface.
pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    for name in NAMES {
        let mut instance = linker.instance(name)?;
        instance.func_wrap(
            "get",
            |store: StoreContextMut<'_, Host>, (key,): (String,)| -> Answer<Option<String>> {
                Ok((Ok(get(&store.data().given, &key)),))
            },
        )?;
        instance.func_wrap(
            "get-all",
            |store: StoreContextMut<'_, Host>, (): ()| -> Answer<Vec<(String, String)>> {
                Ok((Ok(all(&store.data().given)),))
            },
        )?;
    }
    Ok(())
}

fn get(given: &Given, key: &str) -> Option<String> {
    if let Some(value) = given.config.get(key) {
        return Some(value.clone());
    }
    let (delivery, secret) = given.secrets.get(key)?;
    match delivery {
        Delivery::Store => secret.text().map(str::to_owned),
        Delivery::Env => None,
    }
}

fn all(given: &Given) -> Vec<(String, String)> {
    let values = given.config.iter();
    let values = values.map(|(name, value)| (name.clone(), value.clone()));
    let secrets = given.of(Delivery::Store);
    let secrets = secrets.filter_map(|(name, it)| Some((name.to_owned(), it.text()?.to_owned())));
    values.chain(secrets).collect()
}

/// Whether a component can be given this: its interface knows text only.
pub(crate) fn check(given: &Given) -> Result<(), String> {
    let bytes = given
        .of(Delivery::Store)
        .find(|(_, secret)| secret.text().is_none());
    match bytes {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "the secret that is to be {name} is not text, and a component can be given text only"
        )),
    }
}

#[cfg(test)]
mod tests {
    use usher_core::secret::Secret;

    use super::*;

    #[test]
    fn a_component_asks_for_what_it_is_to_ask_for_only() {
        let mut given = Given::default();
        given.config.insert("colour".to_owned(), "blue".to_owned());
        for (name, delivery) in [("ASKED", Delivery::Store), ("VARIABLE", Delivery::Env)] {
            let secret = Secret::new(name.as_bytes().to_vec());
            given.secrets.insert(name.to_owned(), (delivery, secret));
        }
        assert_eq!(get(&given, "colour").as_deref(), Some("blue"));
        assert_eq!(get(&given, "ASKED").as_deref(), Some("ASKED"));
        assert_eq!(get(&given, "VARIABLE"), None);
        assert_eq!(get(&given, "PATH"), None);
        let names: Vec<_> = all(&given).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["colour", "ASKED"]);
        assert_eq!(
            given.environment().get("VARIABLE").map(String::as_str),
            Some("VARIABLE")
        );
        assert!(check(&given).is_ok());
        let bytes = Secret::new(vec![0xff]);
        given
            .secrets
            .insert("BYTES".to_owned(), (Delivery::Store, bytes));
        assert!(check(&given).is_err_and(|said| said.contains("BYTES")));
    }
}
