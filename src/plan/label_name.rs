//! The name of a label of Prometheus' series: `--operation-label request_operation`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The name of a label, which stands in queries as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelName(String);

/// Not the name of a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a label (try: letters, digits and underscores, such as request_operation)"
)]
pub struct LabelNameError(String);

impl LabelName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether Prometheus takes it for one.
    pub(super) fn is_one(name: &str) -> bool {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    }
}

impl FromStr for LabelName {
    type Err = LabelNameError;

    fn from_str(name: &str) -> Result<Self, LabelNameError> {
        match Self::is_one(name) {
            true => Ok(Self(name.to_owned())),
            false => Err(LabelNameError(name.to_owned())),
        }
    }
}

impl TryFrom<String> for LabelName {
    type Error = LabelNameError;

    fn try_from(name: String) -> Result<Self, LabelNameError> {
        name.parse()
    }
}

impl From<LabelName> for String {
    fn from(name: LabelName) -> Self {
        name.0
    }
}

impl fmt::Display for LabelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for LabelName {
    fn schema_name() -> Cow<'static, str> {
        "LabelName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "description": "The name of a label.",
            "examples": ["request_operation"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_a_query_is_no_name() {
        for name in ["request_operation", "_x1"] {
            assert_eq!(name.parse::<LabelName>().unwrap().as_str(), name);
        }
        for name in ["", "1x", "a-b", "a=\"b\"", "a,b", "é"] {
            let error = name.parse::<LabelName>().unwrap_err().to_string();
            assert!(error.contains("(try: "), "{error}");
        }
    }
}
