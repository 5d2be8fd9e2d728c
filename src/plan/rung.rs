//! What a step gives the canary, in the words that people use for it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Percent, Reach, Step};

/// What a step gives the canary: `10 %`, `mirror 10 %` or `testers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// This percentage of the requests.
    Share(Percent),
    /// Testers alone.
    Testers,
    /// Copies of so many requests.
    Mirror(Percent),
}

impl Rung {
    /// What `weight` and `reach` together are.
    pub fn of(weight: Percent, reach: Reach) -> Self {
        match reach {
            Reach::Share => Self::Share(weight),
            Reach::Testers => Self::Testers,
            Reach::Mirror(share) => Self::Mirror(share),
        }
    }

    /// The part of the requests that the canary answers.
    pub fn weight(self) -> Percent {
        match self {
            Self::Share(weight) => weight,
            Self::Testers | Self::Mirror(_) => Percent::ZERO,
        }
    }
}

impl From<Step> for Rung {
    fn from(step: Step) -> Self {
        Self::of(step.weight, step.reach)
    }
}

impl From<Percent> for Rung {
    fn from(weight: Percent) -> Self {
        Self::Share(weight)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(weight) => write!(f, "{weight} %"),
            Self::Testers => f.write_str("testers"),
            Self::Mirror(share) => write!(f, "mirror {share} %"),
        }
    }
}

impl Serialize for Rung {
    /// A share is a number; the others are written as in a plan.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Share(weight) => weight.serialize(serializer),
            Self::Testers => serializer.serialize_str("testers"),
            Self::Mirror(share) => serializer.collect_str(&format_args!("mirror:{share}%")),
        }
    }
}

impl<'de> Deserialize<'de> for Rung {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let step: Step = text.parse().map_err(serde::de::Error::custom)?;
        Ok(step.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_told_and_written() {
        for (rung, told, written) in [
            (Rung::Share(Percent::whole(10)), "10 %", "10"),
            (Rung::Testers, "testers", "\"testers\""),
            (
                Rung::Mirror("12.5".parse().unwrap()),
                "mirror 12.5 %",
                "\"mirror:12.5%\"",
            ),
        ] {
            assert_eq!(rung.to_string(), told);
            let json = serde_json::to_string(&rung).unwrap();
            assert_eq!(json, written);
            assert_eq!(serde_json::from_str::<Rung>(&json).unwrap(), rung);
        }
    }
}
