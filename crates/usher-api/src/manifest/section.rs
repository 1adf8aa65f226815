//! One table while it is read: what is asked for is known, and what is left over at the end is a
//! mistake.
//!
//! Deliberately absent: which settings exist; `check` asks for them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use usher_core::function::Settings;

use super::process::KEYS;
use super::tree::{Node, Value};
use super::{MISTAKES_MAX, Mistake, Mistakes};

/// How much of a wrong text is shown, in characters.
const SHOWN_MAX_CHARS: usize = 60;
/// How many letters a key may be off and still be taken for a slip of the hand.
const SLIP_MAX: usize = 2;

/// The mistakes found so far.
pub(super) struct Found(Vec<Mistake>);

impl Found {
    /// Begins with the mistakes of syntax, one per line: a second one on a broken line tells
    /// nothing new.
    pub(super) fn after(mut broken: Vec<Mistake>) -> Self {
        broken.dedup_by_key(|mistake| mistake.line);
        Self(broken)
    }

    /// Notes a mistake, unless its line is not even TOML.
    pub(super) fn add(&mut self, line: Option<usize>, at: String, text: String) {
        let broken = |one: &Mistake| one.at.is_empty() && one.line == line;
        if line.is_none() || !self.0.iter().any(broken) {
            self.0.push(Mistake { line, at, text });
        }
    }

    /// The value where nothing was wrong, else the mistakes; what is missing has no line and comes
    /// first.
    pub(super) fn into_result<T>(mut self, value: Option<T>) -> Result<T, Mistakes> {
        match value {
            Some(value) if self.0.is_empty() => return Ok(value),
            None if self.0.is_empty() => {
                self.add(None, String::new(), "this text cannot be read".to_owned());
            }
            _ => {}
        }
        self.0.sort_by_key(|mistake| mistake.line);
        self.0.truncate(MISTAKES_MAX);
        Err(Mistakes(self.0))
    }
}

/// One table while it is read.
pub(super) struct Section<'t, 'f> {
    /// What stands before a key in a message, with its dot.
    prefix: String,
    entries: &'t [(String, Node)],
    known: Vec<&'static str>,
    found: &'f mut Found,
}

impl<'t, 'f> Section<'t, 'f> {
    /// The whole text.
    pub(super) fn root(node: &'t Node, found: &'f mut Found) -> Option<Self> {
        Self::open(node, String::new(), found)
    }

    fn open(node: &'t Node, prefix: String, found: &'f mut Found) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            let at = prefix.trim_end_matches('.').to_owned();
            let kind = node.value.kind();
            found.add(node.line, at, format!("{kind} was found; write a table"));
            return None;
        };
        Some(Self {
            prefix,
            entries,
            known: Vec::new(),
            found,
        })
    }

    /// The value of a key, which is known from now on. Null is the same as absent.
    fn get(&mut self, key: &'static str) -> Option<&'t Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let (_, node) = self.entries.iter().find(|(name, _)| name == key)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    fn add(&mut self, line: Option<usize>, key: &str, text: String) {
        self.found.add(line, format!("{}{key}", self.prefix), text);
    }

    fn wrong_kind(&mut self, key: &str, node: &Node, write: &str) {
        let text = format!("{} was found; write {write}", node.value.kind());
        self.add(node.line, key, text);
    }

    /// Whether a key is there, be its value right or wrong.
    pub(super) fn has(&mut self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Whether a key is a table, where it may also be something else.
    pub(super) fn is_table(&mut self, key: &'static str) -> bool {
        let node = self.get(key);
        node.is_some_and(|node| matches!(node.value, Value::Table(_)))
    }

    /// Whether a key is a list with nothing in it.
    pub(super) fn is_empty_list(&mut self, key: &'static str) -> bool {
        let node = self.get(key);
        node.is_some_and(|node| matches!(&node.value, Value::List(items) if items.is_empty()))
    }

    /// Tells a mistake that a key's value alone does not show.
    pub(super) fn mistake(&mut self, key: &'static str, text: &str) {
        let line = self.get(key).and_then(|node| node.line);
        self.add(line, key, text.to_owned());
    }

    /// Tells that a key is missing, where it is.
    pub(super) fn require(&mut self, key: &'static str, write: &str) {
        if self.get(key).is_none() {
            self.add(None, key, format!("missing; write {write}"));
        }
    }

    /// A text, given to `judge`; what `judge` has against it is told.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        write: &str,
        judge: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.get(key)?;
        let Value::Text(text) = &node.value else {
            self.wrong_kind(key, node, write);
            return None;
        };
        match judge(text) {
            Ok(value) => Some(value),
            Err(said) => {
                self.add(node.line, key, said);
                None
            }
        }
    }

    /// A text that is read by its own type.
    pub(super) fn parsed<T>(&mut self, key: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(key, "a text in quotes", |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], into: &mut T) {
        let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let write = match quoted.as_slice() {
            [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
            all => all.concat(),
        };
        let chosen = self.text(key, &write, |text| {
            let word = words.iter().find(|(word, _)| *word == text);
            word.map(|(_, value)| *value)
                .ok_or_else(|| format!("{} is none of its values; write {write}", shown(text)))
        });
        if let Some(value) = chosen {
            *into = value;
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, into: &mut bool) {
        match self.get(key) {
            None => {}
            Some(Node {
                value: Value::Flag(flag),
                ..
            }) => *into = *flag,
            Some(node) => self.wrong_kind(key, node, "true or false"),
        }
    }

    /// A list of texts, each given to `judge`.
    pub(super) fn texts(
        &mut self,
        key: &'static str,
        entries_max: usize,
        judge: impl Fn(&str) -> Result<(), String>,
        into: &mut Vec<String>,
    ) {
        let Some(node) = self.get(key) else { return };
        let Value::List(items) = &node.value else {
            return self.wrong_kind(key, node, "a list of texts in quotes");
        };
        if items.len() > entries_max {
            let text = format!(
                "it has {} entries; write at most {entries_max}",
                items.len()
            );
            return self.add(node.line, key, text);
        }
        for item in items {
            let Value::Text(entry) = &item.value else {
                self.wrong_kind(key, item, "a text in quotes");
                continue;
            };
            match judge(entry) {
                Ok(()) => into.push(entry.clone()),
                Err(said) => self.add(item.line, key, said),
            }
        }
    }

    /// A whole number within bounds; nothing is changed where it is absent or wrong.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        unit: &str,
        bounds: RangeInclusive<u64>,
        into: &mut T,
    ) {
        let Some(node) = self.get(key) else { return };
        let (least, most) = (bounds.start(), bounds.end());
        let write = format!("a whole number of {unit} from {least} to {most}");
        let Value::Whole(number) = node.value else {
            return self.wrong_kind(key, node, &write);
        };
        let within = u64::try_from(number).ok().filter(|n| bounds.contains(n));
        match within.and_then(|number| T::try_from(number).ok()) {
            Some(value) => *into = value,
            None if number == i128::MAX => {
                self.add(
                    node.line,
                    key,
                    format!("the number is out of bounds; write {write}"),
                );
            }
            None => self.add(
                node.line,
                key,
                format!("{number} is out of bounds; write {write}"),
            ),
        }
    }

    /// As [`Self::number`], for a bound that may be left out.
    pub(super) fn optional<T: TryFrom<u64> + Default + PartialEq>(
        &mut self,
        key: &'static str,
        unit: &str,
        bounds: RangeInclusive<u64>,
        into: &mut Option<T>,
    ) {
        let mut value = T::default();
        self.number(key, unit, bounds, &mut value);
        // Zero is outside the bounds of every setting that may be left out.
        *into = (value != T::default()).then_some(value);
    }

    /// A table of texts under names that `judge` is asked about, each with its value; what it has
    /// against one is told.
    pub(super) fn texts_by_name(
        &mut self,
        key: &'static str,
        entries_max: usize,
        judge: impl Fn(&str, &str) -> Result<(), String>,
        into: &mut BTreeMap<String, String>,
    ) {
        let Some(node) = self.get(key) else { return };
        let Value::Table(entries) = &node.value else {
            return self.wrong_kind(key, node, "a table");
        };
        if entries.len() > entries_max {
            let text = format!(
                "it has {} entries; write at most {entries_max}",
                entries.len()
            );
            return self.add(node.line, key, text);
        }
        for (name, node) in entries {
            let at = format!("{key}.{}", clipped(name));
            let Value::Text(text) = &node.value else {
                self.wrong_kind(&at, node, "a text in quotes");
                continue;
            };
            match judge(name, text) {
                Ok(()) => drop(into.insert(name.clone(), text.clone())),
                Err(said) => self.add(node.line, &at, said),
            }
        }
    }

    /// A table of entries under names that `judge` is asked about: each is a text, given to
    /// `brief`, or a table, given to `whole`.
    pub(super) fn entries_by_name<T>(
        &mut self,
        key: &'static str,
        entries_max: usize,
        judge: impl Fn(&str) -> Result<(), String>,
        brief: impl Fn(&str) -> Result<T, String>,
        whole: impl Fn(&mut Section<'_, '_>) -> Option<T>,
        into: &mut BTreeMap<String, T>,
    ) {
        let Some(node) = self.get(key) else { return };
        let Value::Table(entries) = &node.value else {
            return self.wrong_kind(key, node, "a table");
        };
        if entries.len() > entries_max {
            let most = format!("write at most {entries_max}");
            let text = format!("it has {} entries; {most}", entries.len());
            return self.add(node.line, key, text);
        }
        for (name, node) in entries {
            let at = format!("{key}.{}", clipped(name));
            if let Err(said) = judge(name) {
                self.add(node.line, &at, said);
                continue;
            }
            let entry = match &node.value {
                Value::Text(text) => match brief(text) {
                    Ok(entry) => Some(entry),
                    Err(said) => {
                        self.add(node.line, &at, said);
                        None
                    }
                },
                Value::Table(_) => {
                    let prefix = format!("{}{at}.", self.prefix);
                    Section::open(node, prefix, self.found).and_then(|mut section| {
                        let entry = whole(&mut section);
                        section.close();
                        entry
                    })
                }
                _ => {
                    self.wrong_kind(&at, node, "a text in quotes or a table");
                    None
                }
            };
            if let Some(entry) = entry {
                into.insert(name.clone(), entry);
            }
        }
    }

    /// A table within this one; all its keys are told that `read` does not ask for.
    pub(super) fn table(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_, '_>)) {
        let Some(node) = self.get(key) else { return };
        let prefix = format!("{}{key}.", self.prefix);
        if let Some(mut section) = Section::open(node, prefix, self.found) {
            read(&mut section);
            section.close();
        }
    }

    /// A list of tables; of each all keys are told that `read` does not ask for.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        entries_max: usize,
        read: impl Fn(&mut Section<'_, '_>) -> T,
        into: &mut Vec<T>,
    ) {
        let Some(node) = self.get(key) else { return };
        let Value::List(items) = &node.value else {
            return self.wrong_kind(key, node, &format!("tables, each under [[{key}]]"));
        };
        if items.len() > entries_max {
            let text = format!(
                "it has {} entries; write at most {entries_max}",
                items.len()
            );
            return self.add(node.line, key, text);
        }
        for (at, item) in items.iter().enumerate() {
            let prefix = format!("{}{key}[{at}].", self.prefix);
            if let Some(mut section) = Section::open(item, prefix, self.found) {
                into.push(read(&mut section));
                section.close();
            }
        }
    }

    /// Tells every key that nobody asked for.
    pub(super) fn close(self) {
        for (key, node) in self.entries {
            if !self.known.contains(&key.as_str()) {
                let at = format!("{}{}", self.prefix, clipped(key));
                let text = advice(key, &self.known, node.line.is_none());
                self.found.add(node.line, at, text);
            }
        }
    }
}

/// What to say of a key that is not known in its table.
fn advice(key: &str, known: &[&str], json: bool) -> String {
    if let Some(word) = nearest(key, known) {
        return format!("unknown; did you mean {word:?}?");
    }
    match home(key, json) {
        Some(home) => format!("unknown here; it belongs {home}"),
        None => format!("unknown; known here: {}", known.join(", ")),
    }
}

/// The table that a setting belongs to, found in the types themselves.
fn home(key: &str, json: bool) -> Option<&'static str> {
    let settings = serde_json::to_value(Settings::default()).ok()?;
    let has = |table: &str| settings[table].get(key).is_some();
    let of_program = KEYS.contains(&key);
    match (json, has("limits"), has("keep"), of_program) {
        (false, true, ..) => Some("under [limits]"),
        (false, _, true, _) => Some("under [keep]"),
        (false, _, _, true) => Some("under [process]"),
        (true, true, ..) => Some("in settings.limits"),
        (true, _, true, _) => Some("in settings.keep"),
        (true, _, _, true) => Some("in settings.process"),
        _ if settings.get(key).is_none() => None,
        (false, ..) => Some("at the top, before any table"),
        (true, ..) => Some("in settings"),
    }
}

/// The known key that was probably meant.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    if key.len() > SHOWN_MAX_CHARS {
        return None;
    }
    known
        .iter()
        .map(|word| (distance(key, word), *word))
        .filter(|(slips, word)| *slips <= SLIP_MAX && *slips < word.len() / 2)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, word)| word)
}

/// How many letters must be added, dropped or changed to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// A text in quotes, shortened to a readable length.
pub(super) fn shown(text: &str) -> String {
    format!("{:?}", clipped(text))
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_slips_of_the_hand() {
        for (one, other, slips) in [
            ("", "", 0),
            ("keep", "keep", 0),
            ("kep", "keep", 1),
            ("keeep", "keep", 1),
            ("kelp", "keep", 1),
            ("", "keep", 4),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), slips, "{one} and {other}");
            assert_eq!(distance(other, one), slips, "{other} and {one}");
        }
    }
}
