//! What restoring does to each entry.
//!
//! Deliberately absent: reading and writing them.

use bytes::Bytes;
use usher_api::backup::OnConflict;
use usher_backbone::Op;

/// An entry of a back-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) key: String,
    pub(crate) value: Bytes,
}

/// What becomes of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is not there, and is added.
    Add,
    /// It is there with another value, of this revision, and is replaced.
    Replace(u64),
    /// It is there with another value, and stays.
    Keep,
    /// It is there with this value.
    Unchanged,
    /// It is there with another value, and so nothing is restored.
    Refuse,
}

/// Judges an entry against the one that is there, with its revision.
pub(crate) fn fate(wanted: &Bytes, there: Option<(u64, &Bytes)>, on_conflict: OnConflict) -> Fate {
    match (there, on_conflict) {
        (None, _) => Fate::Add,
        (Some((_, value)), _) if value == wanted => Fate::Unchanged,
        (Some(_), OnConflict::Refuse) => Fate::Refuse,
        (Some(_), OnConflict::Keep) => Fate::Keep,
        (Some((revision, _)), OnConflict::Replace) => Fate::Replace(revision),
    }
}

impl Fate {
    /// The write, on the condition that nobody else has written since the entry was judged.
    pub(crate) fn op(self, wanted: &Wanted) -> Option<Op> {
        let (key, value) = (wanted.key.clone(), wanted.value.clone());
        match self {
            Self::Add => Some(Op::create(key, value)),
            Self::Replace(revision) => Some(Op::update(key, value, revision)),
            Self::Keep | Self::Unchanged | Self::Refuse => None,
        }
    }
}

/// The order of writing: what begins with `last` comes behind all others, so that a function never
/// stands there without what it needs.
pub(crate) fn ordered(mut entries: Vec<Wanted>, last: &str) -> Vec<Wanted> {
    entries.sort_by(|one, other| {
        let rank = |entry: &Wanted| entry.key.starts_with(last);
        (rank(one), &one.key).cmp(&(rank(other), &other.key))
    });
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_decides_and_the_callers_wish_only_where_it_differs() {
        let (old, new) = (Bytes::from_static(b"old"), Bytes::from_static(b"new"));
        use OnConflict::{Keep, Refuse, Replace};
        for wish in [Refuse, Keep, Replace] {
            assert_eq!(fate(&new, None, wish), Fate::Add);
            assert_eq!(fate(&new, Some((7, &new)), wish), Fate::Unchanged);
        }
        assert_eq!(fate(&new, Some((7, &old)), Refuse), Fate::Refuse);
        assert_eq!(fate(&new, Some((7, &old)), Keep), Fate::Keep);
        assert_eq!(fate(&new, Some((7, &old)), Replace), Fate::Replace(7));
    }

    #[test]
    fn every_write_expects_what_was_judged() {
        let wanted = Wanted {
            key: "a.b".to_owned(),
            value: Bytes::from_static(b"x"),
        };
        let add = Op::create("a.b", "x");
        assert_eq!(Fate::Add.op(&wanted), Some(add));
        let replace = Op::update("a.b", "x", 7);
        assert_eq!(Fate::Replace(7).op(&wanted), Some(replace));
        for nothing in [Fate::Keep, Fate::Unchanged, Fate::Refuse] {
            assert_eq!(nothing.op(&wanted), None);
        }
    }

    #[test]
    fn functions_come_last() {
        let entry = |key: &str| Wanted {
            key: key.to_owned(),
            value: Bytes::new(),
        };
        let entries = ["functions.a.b", "secrets.a", "zebra", "functions.a.a"];
        let ordered = ordered(entries.map(entry).to_vec(), "functions.");
        let keys: Vec<_> = ordered.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(
            keys,
            ["secrets.a", "zebra", "functions.a.a", "functions.a.b"]
        );
    }
}
