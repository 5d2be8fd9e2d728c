//! Which requests are testers': they reach the canary before anybody else does.

use std::fmt;
use std::str::FromStr;

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The requests that go to the canary whatever its weight: those with a header of this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testers {
    /// The header's name, in small letters as Istio wants it.
    pub header: String,
    /// What its value must be.
    pub value: HeaderValue,
}

/// What the value of a header must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderValue {
    /// Exactly this.
    Exact(String),
    /// Matched as a whole by this regular expression.
    Regex(String),
}

/// What was wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TestersError {
    /// It is of no known form.
    #[error("{0:?} names no header (try: header:x-canary=1, header:NAME~REGEX or cookie:REGEX)")]
    Unreadable(String),
    /// The header has a name that no request has.
    #[error("{0:?} is not a valid header name (try: header:x-canary=1)")]
    Name(String),
    /// The regular expression cannot be read.
    #[error(
        "{regex:?} is not a valid regular expression: {why} (try: RE2 syntax that matches the whole value)"
    )]
    Regex {
        /// The expression.
        regex: String,
        /// What is wrong with it.
        why: String,
    },
}

impl FromStr for Testers {
    type Err = TestersError;

    fn from_str(text: &str) -> Result<Self, TestersError> {
        let unreadable = || TestersError::Unreadable(text.to_owned());
        let (header, value) = if let Some(regex) = text.strip_prefix("cookie:") {
            ("cookie".to_owned(), HeaderValue::Regex(regex.to_owned()))
        } else {
            let rest = text.strip_prefix("header:").ok_or_else(unreadable)?;
            let at = rest.find(['=', '~']).ok_or_else(unreadable)?;
            let (name, value) = (rest[..at].trim().to_lowercase(), rest[at + 1..].to_owned());
            let value = if rest[at..].starts_with('=') {
                HeaderValue::Exact(value)
            } else {
                HeaderValue::Regex(value)
            };
            (name, value)
        };
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|".contains(&byte);
        if header.is_empty() || !header.bytes().all(is_token) {
            return Err(TestersError::Name(header));
        }
        let (HeaderValue::Exact(wanted) | HeaderValue::Regex(wanted)) = &value;
        if wanted.is_empty() {
            return Err(unreadable());
        }
        if let HeaderValue::Regex(regex) = &value
            && let Err(error) = Regex::new(regex)
        {
            let why = error.to_string();
            let line = why.lines().last().unwrap_or_default();
            return Err(TestersError::Regex {
                regex: regex.clone(),
                why: line.trim_start_matches("error: ").to_owned(),
            });
        }
        Ok(Self { header, value })
    }
}

impl fmt::Display for Testers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.value, self.header.as_str()) {
            (HeaderValue::Regex(regex), "cookie") => write!(f, "cookie:{regex}"),
            (HeaderValue::Regex(regex), header) => write!(f, "header:{header}~{regex}"),
            (HeaderValue::Exact(value), header) => write!(f, "header:{header}={value}"),
        }
    }
}

impl Serialize for Testers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Testers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Testers {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Testers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Requests that go to the canary whatever its weight.",
            "examples": ["header:x-canary=1", "header:x-user~^test-.*$", "cookie:^(.*;)?canary=1(;.*)?$"],
            "type": "string",
            "pattern": "^(header:[^=~]+[=~].+|cookie:.+)$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn testers_read_and_write_alike() {
        for text in [
            "header:x-canary=1",
            "header:x-user~^test-.*$",
            "header:x-path=a=b~c",
            "cookie:^(.*?;)?(email=[^;]*@some-company-name.com)(;.*)?$",
        ] {
            assert_eq!(text.parse::<Testers>().unwrap().to_string(), text);
        }
        assert_eq!(
            "header:X-Canary=1".parse::<Testers>().unwrap().header,
            "x-canary"
        );
    }

    #[test]
    fn what_is_no_header_is_refused_with_the_fix() {
        for (text, expected) in [
            ("x-canary=1", "names no header (try: header:x-canary=1"),
            ("header:x-canary", "names no header"),
            ("header:x-canary=", "names no header"),
            ("cookie:", "names no header"),
            (
                "header:x canary=1",
                "\"x canary\" is not a valid header name (try: header:x-canary=1)",
            ),
            ("header:=1", "is not a valid header name"),
            (
                "cookie:(a",
                "\"(a\" is not a valid regular expression: unclosed group (try: RE2 syntax",
            ),
        ] {
            let error = text.parse::<Testers>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
