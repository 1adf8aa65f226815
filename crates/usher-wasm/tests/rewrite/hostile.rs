//! Hostile artifacts: refused or rewritten soundly, never a panic, never without a bound.

use proptest::prelude::*;
use usher_wasm::rewrite::{NESTED_DEPTH_MAX, RewriteError, TABLES_MAX, rewrite};
use wasmparser::Validator;

use crate::guest::{assemble, component};

#[test]
fn every_cut_of_a_component_is_refused_or_rewritten() {
    let whole = component();
    for length in 0..whole.len() {
        survives(&whole[..length]);
    }
}

/// Whatever is taken must come out valid.
fn survives(bytes: &[u8]) {
    if let Ok(rewritten) = rewrite(bytes) {
        let valid = Validator::new().validate_all(&rewritten.bytes);
        valid.expect("what was taken stays valid");
    }
}

#[test]
fn nesting_has_a_bound() {
    let nested = |depth: usize| {
        assemble(&format!(
            "{}{}",
            "(component ".repeat(depth),
            ")".repeat(depth)
        ))
    };
    let what = |bytes: &[u8]| match rewrite(bytes) {
        Err(RewriteError::TooLarge { what, .. }) => Some(what),
        _ => None,
    };
    assert_eq!(what(&nested(NESTED_DEPTH_MAX)), None);
    assert_eq!(
        what(&nested(NESTED_DEPTH_MAX + 1)),
        Some("levels of nesting")
    );
}

#[test]
fn counts_have_bounds() {
    let module = format!("(core module {})", "(table 0 funcref)".repeat(64));
    let modules = format!("(component {})", module.repeat(TABLES_MAX / 64 + 1));
    let error = rewrite(&assemble(&modules)).expect_err("has too many tables");
    assert!(
        matches!(error, RewriteError::TooLarge { what: "tables", .. }),
        "{error}"
    );
}

/// One change to the bytes of a component.
#[derive(Clone, Debug)]
enum Change {
    Flip {
        at: prop::sample::Index,
        with: u8,
    },
    Remove {
        at: prop::sample::Index,
    },
    Insert {
        at: prop::sample::Index,
        byte: u8,
    },
    Repeat {
        at: prop::sample::Index,
        length: usize,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, with)| Change::Flip { at, with }),
        1 => at().prop_map(|at| Change::Remove { at }),
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert { at, byte }),
        1 => (at(), 1..64_usize).prop_map(|(at, length)| Change::Repeat { at, length }),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Flip { at, with } => {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        Change::Remove { at } => {
            bytes.remove(at.index(bytes.len()));
        }
        Change::Insert { at, byte } => bytes.insert(at.index(bytes.len()), *byte),
        Change::Repeat { at, length } => {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(2_000))]

    #[test]
    fn changed_components_never_panic(changes in prop::collection::vec(change(), 1..6)) {
        let mut bytes = component();
        for change in &changes {
            apply(&mut bytes, change);
        }
        survives(&bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        survives(&bytes);
        survives(&[b"\0asm\x0d\0\x01\0".as_slice(), &bytes].concat());
    }
}
