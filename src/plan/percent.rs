//! Percentages: shares of traffic and error rates.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A percentage from 0 to 100, exact to a thousandth of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

/// What was wrong with a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PercentError {
    /// Not a number at all.
    #[error("{0:?} is not a percentage (try: 1, 0.5 or 10%)")]
    NotANumber(String),
    /// A number, but below 0 or above 100.
    #[error("{0} is not between 0 and 100 (try: 1, 0.5 or 10%)")]
    OutOfRange(String),
    /// Finer than can be kept exactly.
    #[error("{0} has more than 3 decimals (try: 0.001 or more)")]
    TooFine(String),
}

impl PercentError {
    /// What is wrong, for an error that has its own advice.
    pub(super) fn reason(&self) -> String {
        let text = self.to_string();
        text.split(" (try: ").next().unwrap_or_default().to_owned()
    }
}

impl Percent {
    const SCALE: u32 = 1000;
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Everything.
    pub const HUNDRED: Self = Self(100 * Self::SCALE);

    /// A whole percentage; more than 100 counts as 100.
    pub const fn whole(percent: u32) -> Self {
        if percent > 100 {
            Self::HUNDRED
        } else {
            Self(percent * Self::SCALE)
        }
    }

    /// As a share between 0 and 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(Self::HUNDRED.0)
    }

    /// The percentage closest to a share between 0 and 1.
    pub(super) fn nearest(share: f64) -> Self {
        Self::of((share * 100_000.0).round() as i64, 100_000)
    }

    /// The largest whole part of `total` that is not more than this percentage of it.
    pub fn floor_of(self, total: i64) -> i64 {
        let part = i128::from(total) * i128::from(self.0) / i128::from(Self::HUNDRED.0);
        i64::try_from(part).expect("a part of a total is no larger than the total")
    }

    /// Whether this percentage of `total` is a whole number.
    pub fn divides(self, total: i64) -> bool {
        (i128::from(total) * i128::from(self.0)) % i128::from(Self::HUNDRED.0) == 0
    }

    /// The percentage that `part` is of `total`, rounded down; 0 of 0 is 0.
    pub fn of(part: i64, total: i64) -> Self {
        if total <= 0 {
            return Self::ZERO;
        }
        let part = i128::from(part.clamp(0, total)) * i128::from(Self::HUNDRED.0);
        Self(u32::try_from(part / i128::from(total)).expect("a share is at most 100 %"))
    }
}

impl FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, PercentError> {
        let number = text.trim().trim_end_matches('%').trim_end();
        let refused = || PercentError::NotANumber(text.to_owned());
        let negative = number.strip_prefix('-');
        let (whole, fraction) = negative
            .unwrap_or(number)
            .split_once('.')
            .unwrap_or((negative.unwrap_or(number), ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(refused());
        }
        let out_of_range = || PercentError::OutOfRange(number.to_owned());
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 3 {
            return Err(PercentError::TooFine(number.to_owned()));
        }
        let whole: u32 = whole.parse().map_err(|_| out_of_range())?;
        let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| refused())?;
        let value = whole
            .checked_mul(Self::SCALE)
            .and_then(|value| value.checked_add(thousandths))
            .ok_or_else(out_of_range)?;
        if value > Self::HUNDRED.0 || (negative.is_some() && value > 0) {
            return Err(out_of_range());
        }
        Ok(Self(value))
    }
}

impl fmt::Display for Percent {
    /// The bare number, `1` or `0.5`: the sign is for the sentence around it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / Self::SCALE, self.0 % Self::SCALE);
        match rest {
            0 => f.pad(&whole.to_string()),
            _ => f.pad(format!("{whole}.{rest:03}").trim_end_matches('0')),
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % Self::SCALE {
            0 => serializer.serialize_u32(self.0 / Self::SCALE),
            _ => serializer.serialize_f64(f64::from(self.0) / f64::from(Self::SCALE)),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage such as 1, 0.5 or \"10%\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Percent, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Percent, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A percentage from 0 to 100, as a number or as text with a sign.",
            "oneOf": [
                { "type": "number", "minimum": 0, "maximum": 100 },
                { "type": "string", "pattern": "^[0-9]+(\\.[0-9]{1,3})?%?$" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_read_and_write_exactly() {
        for (text, shown) in [
            ("1", "1"),
            ("10%", "10"),
            ("0.5", "0.5"),
            ("100.0 %", "100"),
            ("0.125%", "0.125"),
        ] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_not_a_percentage_is_refused_by_kind() {
        for (text, kind) in [
            ("ten", "is not a percentage"),
            ("", "is not a percentage"),
            (".5", "is not a percentage"),
            ("101", "is not between 0 and 100"),
            ("-1", "is not between 0 and 100"),
            ("99999999999", "is not between 0 and 100"),
            ("0.0001", "has more than 3 decimals"),
        ] {
            let error = text.parse::<Percent>().unwrap_err().to_string();
            assert!(error.contains(kind), "{text}: {error}");
        }
    }

    #[test]
    fn a_part_is_never_more_than_asked() {
        assert_eq!(Percent::whole(1).floor_of(100), 1);
        assert_eq!(Percent::whole(1).floor_of(99), 0);
        assert_eq!(Percent::whole(50).floor_of(7), 3);
        assert_eq!(Percent::HUNDRED.floor_of(i64::MAX), i64::MAX);
        assert_eq!(Percent::of(1, 3).to_string(), "33.333");
        assert_eq!(Percent::of(0, 0), Percent::ZERO);
    }
}
