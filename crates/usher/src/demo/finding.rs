//! What one check of the demo found.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// A finding: one line for a person, one value of JSON for a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// What was looked at; stays the same between versions.
    pub(crate) name: &'static str,
    /// What was found.
    pub(crate) value: Value,
    /// What the value counts.
    pub(crate) unit: &'static str,
    /// Whether it is as promised.
    pub(crate) held: bool,
}

impl Finding {
    /// A finding that was judged.
    pub(crate) fn new(
        name: &'static str,
        value: impl Into<Value>,
        unit: &'static str,
        held: bool,
    ) -> Self {
        Self {
            name,
            value: value.into(),
            unit,
            held,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.held { "held  " } else { "FAILED" };
        let value = match &self.value {
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => {
                format!("{:.1}", number.as_f64().unwrap_or_default())
            }
            other => other.to_string(),
        };
        write!(f, "  {mark}  {:<36} {value} {}", self.name, self.unit)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_to_persons_and_to_programs() {
        let finding = Finding::new("hits", 0, "places", true);
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r#"{"name":"hits","value":0,"unit":"places","held":true}"#
        );
        assert!(finding.to_string().contains("held"));
        let failed = Finding::new("hits", 1, "places", false);
        assert!(failed.to_string().contains("FAILED"));
    }
}
