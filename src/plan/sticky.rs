//! Users of the canary who stay on it while the weights rise: a cookie tells them.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::HumanDuration;

/// The cookie that the canary's answers set, and that sends its users to the canary again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// How long a browser keeps it, counted from the request that set it; whole seconds.
    pub ttl: HumanDuration,
}

/// What was wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StickyError {
    /// It is of no known form.
    #[error("{0:?} names no cookie (try: cookie=canary or cookie=canary,30m)")]
    Unreadable(String),
    /// Browsers or proxies would not take the name.
    #[error(
        "{0:?} is not a valid cookie name (try: up to {LONGEST_NAME} letters, digits, dots, hyphens and underscores, without __Host- or __Secure- in front)"
    )]
    Name(String),
    /// The time is no duration, too short or too long.
    #[error("{0:?} is not a time for a cookie (try: 1s to 24h, such as cookie=canary,30m)")]
    Ttl(String),
}

const LONGEST_NAME: usize = 64;
const USUAL_TTL: HumanDuration = HumanDuration::minutes(60);
const LONGEST_TTL: HumanDuration = HumanDuration::minutes(24 * 60);

impl FromStr for Sticky {
    type Err = StickyError;

    fn from_str(text: &str) -> Result<Self, StickyError> {
        let rest = text.strip_prefix("cookie=");
        let rest = rest.ok_or_else(|| StickyError::Unreadable(text.to_owned()))?;
        let (cookie, ttl) = match rest.split_once(',') {
            Some((cookie, ttl)) => (cookie, Some(ttl)),
            None => (rest, None),
        };
        // Fewer characters than a cookie's name may have, as this one stands in a regular expression, too.
        // Browsers drop a cookie with one of the prefixes that is not `Secure`.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let lower = cookie.to_ascii_lowercase();
        if cookie.is_empty()
            || cookie.len() > LONGEST_NAME
            || !cookie.bytes().all(is_plain)
            || ["__host-", "__secure-"]
                .iter()
                .any(|prefix| lower.starts_with(prefix))
        {
            return Err(StickyError::Name(cookie.to_owned()));
        }
        let ttl = match ttl {
            None => USUAL_TTL,
            Some(text) => {
                let read = text.parse().map(HumanDuration::whole_seconds);
                read.ok()
                    .filter(|ttl| (HumanDuration::seconds(1)..=LONGEST_TTL).contains(ttl))
                    .ok_or_else(|| StickyError::Ttl(text.to_owned()))?
            }
        };
        Ok(Self {
            cookie: cookie.to_owned(),
            ttl,
        })
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cookie={},{}", self.cookie, self.ttl)
    }
}

impl Serialize for Sticky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sticky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Sticky {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sticky".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The cookie that keeps users of the canary on it, and how long; 1h if it does not say.",
            "examples": ["cookie=canary", "cookie=canary,30m"],
            "type": "string",
            "pattern": "^cookie=[A-Za-z0-9._-]{1,64}(,.+)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_reads_and_writes_alike() {
        for (text, written) in [
            ("cookie=canary", "cookie=canary,1h"),
            ("cookie=x-v.2_a,30m", "cookie=x-v.2_a,30m"),
            ("cookie=a,24h", "cookie=a,24h"),
            ("cookie=a,1500ms", "cookie=a,1s"),
        ] {
            let sticky: Sticky = text.parse().unwrap();
            assert_eq!(sticky.to_string(), written);
            assert_eq!(written.parse::<Sticky>().unwrap(), sticky);
        }
    }

    #[test]
    fn what_no_browser_would_keep_is_refused_with_the_fix() {
        for (text, expected) in [
            ("canary", "names no cookie (try: cookie=canary"),
            ("header=x", "names no cookie"),
            ("cookie=", "\"\" is not a valid cookie name"),
            ("cookie=a b", "\"a b\" is not a valid cookie name"),
            ("cookie=a;b", "is not a valid cookie name"),
            ("cookie=__Host-a", "without __Host- or __Secure- in front"),
            (
                "cookie=a,0",
                "\"0\" is not a time for a cookie (try: 1s to 24h",
            ),
            ("cookie=a,999ms", "is not a time for a cookie"),
            ("cookie=a,25h", "is not a time for a cookie"),
            ("cookie=a,soon", "is not a time for a cookie"),
            ("cookie=a,", "is not a time for a cookie"),
        ] {
            let error = text.parse::<Sticky>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
