//! One tree for both forms of settings, each value with the line it was read from.
//!
//! Deliberately absent: any knowledge of which settings exist.

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::Mistake;

/// A value and where it stands.
pub(super) struct Node {
    /// Line from 1; none in JSON.
    pub(super) line: Option<usize>,
    /// The value.
    pub(super) value: Value,
}

/// The values that settings are made of.
pub(super) enum Value {
    /// Nothing; only JSON has it, and it means the same as a missing key.
    Null,
    Flag(bool),
    Text(String),
    /// Saturates far outside all bounds of any setting.
    Whole(i128),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// A kind that no setting has, by the name to show.
    Foreign(&'static str),
}

impl Value {
    /// What to call it before a person.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "true or false",
            Self::Text(_) => "a text",
            Self::Whole(_) => "a whole number",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Foreign(kind) => kind,
        }
    }
}

/// Reads TOML as far as it can be read, and tells the mistakes of syntax.
pub(super) fn read_toml(text: &str) -> (Node, Vec<Mistake>) {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mistakes = errors
        .iter()
        .map(|error| Mistake {
            line: error.span().map(|span| lines.at(span.start)),
            at: String::new(),
            text: format!("this is not TOML: {}", error.message().replace('\n', ", ")),
        })
        .collect();
    let root = Node {
        line: None,
        value: from_table(&lines, table.into_inner()),
    };
    (root, mistakes)
}

/// Reads JSON that was parsed already.
pub(super) fn read_json(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Flag(*flag),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => number
            .as_i128()
            .map_or(Value::Foreign("a number with a fraction"), Value::Whole),
        Json::Array(items) => Value::List(items.iter().map(read_json).collect()),
        Json::Object(entries) => Value::Table(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), read_json(value)))
                .collect(),
        ),
    };
    Node { line: None, value }
}

/// The recursion is as deep as the parser let the text nest, which the parser bounds.
fn from_table(lines: &Lines, table: DeTable<'_>) -> Value {
    Value::Table(
        table
            .into_iter()
            .map(|(key, value)| {
                let line = lines.at(key.span().start);
                let node = Node {
                    line: Some(line),
                    value: from_value(lines, value.into_inner()),
                };
                (key.into_inner().into_owned(), node)
            })
            .collect(),
    )
}

fn from_value(lines: &Lines, value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Integer(number) => {
            Value::Whole(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
        }
        DeValue::Float(_) => Value::Foreign("a number with a fraction"),
        DeValue::Datetime(_) => Value::Foreign("a date or time"),
        DeValue::Array(items) => Value::List(
            items
                .into_iter()
                .map(|item| Node {
                    line: Some(lines.at(item.span().start)),
                    value: from_value(lines, item.into_inner()),
                })
                .collect(),
        ),
        DeValue::Table(table) => from_table(lines, table),
    }
}

/// Where each line of a text begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(at, _)| at + 1).collect())
    }

    /// The line of a byte, from 1.
    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|begin| *begin <= byte) + 1
    }
}
