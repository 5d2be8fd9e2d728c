//! Durations as people write them: `30s`, `5m`, `1h30m`.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration of zero or more, read and written the way people do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(SignedDuration);

/// What was wrong with a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration (try: 30s, 5m or 1h30m)")]
pub struct DurationError(String);

impl HumanDuration {
    /// No time at all.
    pub const ZERO: Self = Self(SignedDuration::ZERO);

    /// That many seconds.
    pub const fn seconds(seconds: u32) -> Self {
        Self(SignedDuration::from_secs(seconds as i64))
    }

    /// That many minutes.
    pub const fn minutes(minutes: u32) -> Self {
        Self::seconds(minutes * 60)
    }

    /// With no more digits than a forecast deserves: whole seconds below two minutes, whole minutes above.
    #[must_use]
    pub fn rounded(self) -> Self {
        let seconds = self.0.as_secs_f64();
        let whole = if seconds < 119.5 {
            seconds.round()
        } else {
            60.0 * (seconds / 60.0).round()
        };
        Self(SignedDuration::from_secs(whole as i64))
    }

    /// Without the fraction of a second.
    #[must_use]
    pub fn whole_seconds(self) -> Self {
        Self(SignedDuration::from_secs(self.0.as_secs()))
    }

    /// As jiff's duration, for arithmetic with timestamps.
    pub const fn signed(self) -> SignedDuration {
        self.0
    }

    /// As the standard library's duration, for timers.
    pub fn unsigned(self) -> std::time::Duration {
        self.0.unsigned_abs()
    }
}

impl From<SignedDuration> for HumanDuration {
    /// A negative duration (a clock that was set back) counts as none.
    fn from(duration: SignedDuration) -> Self {
        Self(duration.max(SignedDuration::ZERO))
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let refused = || DurationError(text.to_owned());
        let text = text.trim();
        // kubectl and Prometheus both write a plain 0 for "none".
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let duration: SignedDuration = text.parse().map_err(|_| refused())?;
        if duration.is_negative() || duration > SignedDuration::from_hours(24 * 366) {
            return Err(refused());
        }
        Ok(Self(duration))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let millis = self.0.subsec_millis();
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match (seconds, rest, millis) {
            (0, _, millis) if millis > 0 => write!(f, "{millis}ms"),
            (_, rest, millis) if millis > 0 && seconds < 60 => {
                write!(
                    f,
                    "{rest}.{}s",
                    format!("{millis:03}").trim_end_matches('0')
                )
            }
            (0, ..) => f.write_str("0s"),
            (_, 0, _) => Ok(()),
            (_, rest, _) => write!(f, "{rest}s"),
        }
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration as people write it.",
            "examples": ["30s", "5m", "1h30m"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write_as_people_do() {
        for (text, seconds, shown) in [
            ("30s", 30, "30s"),
            ("5m", 300, "5m"),
            ("1h30m", 5400, "1h30m"),
            ("90s", 90, "1m30s"),
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("1 hour 5 minutes", 3900, "1h5m"),
        ] {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!(duration.signed().as_secs(), seconds, "{text}");
            assert_eq!(duration.to_string(), shown, "{text}");
        }
        assert_eq!(
            "250ms".parse::<HumanDuration>().unwrap().to_string(),
            "250ms"
        );
        assert_eq!("1.5s".parse::<HumanDuration>().unwrap().to_string(), "1.5s");
    }

    #[test]
    fn a_forecast_is_rounded_to_what_it_knows() {
        for (millis, shown) in [
            (40_400, "40s"),
            (91_600, "1m32s"),
            (119_600, "2m"),
            (544_000, "9m"),
            (7_200_000, "2h"),
            (7_810_000, "2h10m"),
        ] {
            let exact = HumanDuration::from(SignedDuration::from_millis(millis));
            assert_eq!(exact.rounded().to_string(), shown, "{millis} ms");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_examples() {
        for text in ["", "5", "-5m", "soon", "5 parsecs", "99999h"] {
            let error = text.parse::<HumanDuration>().unwrap_err().to_string();
            assert!(error.contains("try: 30s"), "{text}: {error}");
        }
    }
}
