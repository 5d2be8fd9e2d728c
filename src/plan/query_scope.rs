//! Which series of a store are this cluster's: `--query-scope cluster=prod`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::LabelName;

/// What every series that is counted has: one value of a label, or knowingly any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScopeLabel {
    /// The label's name.
    pub name: String,
    /// Its value; `None` for any.
    pub value: Option<String>,
}

/// Not a label and its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a label and its value (try: cluster=prod, or cluster=* to count all)")]
pub struct ScopeLabelError(String);

impl FromStr for ScopeLabel {
    type Err = ScopeLabelError;

    fn from_str(text: &str) -> Result<Self, ScopeLabelError> {
        let error = || ScopeLabelError(text.to_owned());
        let (name, value) = text.split_once('=').ok_or_else(error)?;
        if !LabelName::is_one(name) || value.is_empty() {
            return Err(error());
        }
        Ok(Self {
            name: name.to_owned(),
            value: (value != "*").then(|| value.to_owned()),
        })
    }
}

impl fmt::Display for ScopeLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value.as_deref().unwrap_or("*"))
    }
}

impl Serialize for ScopeLabel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for ScopeLabel {
    fn schema_name() -> Cow<'static, str> {
        "ScopeLabel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A label and the value that series must have, or * for any.",
            "examples": ["cluster=prod", "cluster=*"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_label_with_a_value_or_with_any() {
        for text in ["cluster=prod", "cluster=*", "_x1=a=b c"] {
            let label: ScopeLabel = text.parse().unwrap();
            assert_eq!(label.to_string(), text);
        }
        assert_eq!("cluster=*".parse::<ScopeLabel>().unwrap().value, None);
        for text in ["cluster", "cluster=", "=prod", "1x=a", "a-b=c", "é=1"] {
            let error = text.parse::<ScopeLabel>().unwrap_err().to_string();
            assert!(error.contains("(try: cluster=prod"), "{error}");
        }
    }
}
