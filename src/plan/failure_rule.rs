//! What counts as a failed request: `--failures 5xx,0,429,grpc:13-14`.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// No response at all, as Istio reports it.
const NO_RESPONSE: u16 = 0;
/// The statuses of HTTP, and those of gRPC that are no success.
const HTTP: RangeInclusive<u16> = 100..=599;
const GRPC: RangeInclusive<u16> = 1..=16;

/// What counts as a failed request, instead of 5xx, no response, and every gRPC status but OK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRule {
    http: Vec<RangeInclusive<u16>>,
    grpc: Vec<RangeInclusive<u16>>,
    /// As it was written.
    text: String,
}

/// Not a list of statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no status that can fail (try: 5xx, 0, 429, 500-504, grpc:13-14 or grpc)")]
pub struct FailureRuleError(String);

impl Default for FailureRule {
    /// Kiali's rule without the 4xx, which are the callers' fault.
    fn default() -> Self {
        Self {
            http: vec![NO_RESPONSE..=NO_RESPONSE, 500..=599],
            grpc: vec![GRPC],
            text: "5xx,0,grpc".into(),
        }
    }
}

impl FailureRule {
    /// Whether an HTTP status is a failure; 0 is no response at all.
    pub fn http(&self, status: u16) -> bool {
        self.http.iter().any(|range| range.contains(&status))
    }

    /// Whether any status of a class is, where codes are grouped as `5xx`: a failure is not overlooked.
    pub fn http_class(&self, class: u16) -> bool {
        let class = class * 100..=class * 100 + 99;
        let overlaps = |range: &RangeInclusive<u16>| {
            range.start() <= class.end() && class.start() <= range.end()
        };
        self.http.iter().any(overlaps)
    }

    /// Whether a gRPC status is a failure.
    pub fn grpc(&self, status: u16) -> bool {
        self.grpc.iter().any(|range| range.contains(&status))
    }
}

impl FromStr for FailureRule {
    type Err = FailureRuleError;

    fn from_str(text: &str) -> Result<Self, FailureRuleError> {
        let mut rule = Self {
            http: Vec::new(),
            grpc: Vec::new(),
            text: text.to_owned(),
        };
        for item in text.split(',').map(str::trim) {
            let error = || FailureRuleError(item.to_owned());
            match item.strip_prefix("grpc") {
                Some("") => rule.grpc.push(GRPC),
                Some(statuses) => {
                    let statuses = statuses.strip_prefix(':').ok_or_else(error)?;
                    rule.grpc.push(range(statuses, &GRPC).ok_or_else(error)?);
                }
                None if item == "0" => rule.http.push(NO_RESPONSE..=NO_RESPONSE),
                None => rule.http.push(http_range(item).ok_or_else(error)?),
            }
        }
        Ok(rule)
    }
}

/// `5xx`, `503` or `500-504`.
fn http_range(text: &str) -> Option<RangeInclusive<u16>> {
    let lower = text.to_ascii_lowercase();
    let Some(class) = lower.strip_suffix("xx") else {
        return range(text, &HTTP);
    };
    let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
    Some(class * 100..=class * 100 + 99)
}

fn range(text: &str, known: &RangeInclusive<u16>) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = first.parse().ok()?..=last.parse().ok()?;
    let is_known = known.contains(range.start()) && known.contains(range.end());
    (is_known && !range.is_empty()).then_some(range)
}

impl fmt::Display for FailureRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for FailureRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FailureRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for FailureRule {
    fn schema_name() -> Cow<'static, str> {
        "FailureRule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Statuses of requests that count as failed.",
            "examples": ["5xx,0,grpc", "5xx,0,429,grpc:13-14"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_list_of_statuses_classes_and_ranges() {
        let rule: FailureRule = "5xx,0,429,401-403,grpc:13-14".parse().unwrap();
        assert_eq!(rule.to_string(), "5xx,0,429,401-403,grpc:13-14");
        for (status, failed) in [
            (0, true),
            (200, false),
            (400, false),
            (402, true),
            (404, false),
            (429, true),
            (503, true),
        ] {
            assert_eq!(rule.http(status), failed, "{status}");
        }
        for (class, failed) in [(2, false), (4, true), (5, true)] {
            assert_eq!(rule.http_class(class), failed, "{class}xx");
        }
        assert!(rule.grpc(13) && !rule.grpc(5));
        assert!("grpc".parse::<FailureRule>().unwrap().grpc(16));
        for text in [
            "", "6xx", "xx", "99", "600", "504-500", "grpc:0", "grpc:17", "grpc13", "503,",
        ] {
            let error = text.parse::<FailureRule>().unwrap_err().to_string();
            assert!(error.contains("(try: 5xx, 0, 429"), "{text}: {error}");
        }
    }

    #[test]
    fn the_usual_rule_is_the_one_that_is_written() {
        let usual = FailureRule::default();
        assert_eq!(
            usual.to_string().parse::<FailureRule>().unwrap(),
            FailureRule {
                http: vec![500..=599, 0..=0],
                ..usual
            }
        );
    }
}
