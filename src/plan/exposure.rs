//! What a step gives the canary.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Percent;

/// What the canary gets: a share of the requests, copies of some, or testers' requests alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "percent", rename_all = "kebab-case")]
pub enum Exposure {
    /// This percentage of all requests.
    Share(Percent),
    /// Copies of this percentage of the requests; users never see the answers.
    Mirror(Percent),
    /// Requests of testers alone.
    Testers,
}

impl Exposure {
    /// After a trip, and before anything was shifted.
    pub const NONE: Self = Self::Share(Percent::ZERO);

    /// The percentage of the users' requests that the canary answers; testers are not counted.
    pub fn share(self) -> Percent {
        match self {
            Self::Share(percent) => percent,
            Self::Mirror(_) | Self::Testers => Percent::ZERO,
        }
    }

    /// The percentage of the requests that is copied to the canary, if any is.
    pub fn mirrored(self) -> Option<Percent> {
        match self {
            Self::Mirror(percent) => Some(percent),
            Self::Share(_) | Self::Testers => None,
        }
    }

    /// Whether this is a share of all requests.
    pub fn is_share(self) -> bool {
        matches!(self, Self::Share(_))
    }

    /// Whether the canary gets requests that it can be judged by: neither after a trip nor from testers.
    pub fn is_judged(self) -> bool {
        self.share() > Percent::ZERO || self.mirrored().is_some()
    }

    /// The canary's part of what both versions get, copies included, 0 to 1.
    pub fn canary_part(self) -> f64 {
        match self {
            // Copies come on top of what stable gets anyway.
            Self::Mirror(percent) => percent.share() / (1.0 + percent.share()),
            Self::Share(_) | Self::Testers => self.share().share(),
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(percent) => write!(f, "{percent} %"),
            Self::Mirror(percent) => write!(f, "mirror {percent} %"),
            Self::Testers => f.write_str("testers"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exposure_has_one_spelling_for_people_and_one_for_programs() {
        for (exposure, words, json) in [
            (
                Exposure::Share(Percent::whole(10)),
                "10 %",
                r#"{"kind":"share","percent":10}"#,
            ),
            (
                Exposure::Mirror("12.5".parse().unwrap()),
                "mirror 12.5 %",
                r#"{"kind":"mirror","percent":12.5}"#,
            ),
            (Exposure::Testers, "testers", r#"{"kind":"testers"}"#),
        ] {
            assert_eq!(exposure.to_string(), words);
            assert_eq!(serde_json::to_string(&exposure).unwrap(), json);
            assert_eq!(serde_json::from_str::<Exposure>(json).unwrap(), exposure);
        }
    }
}
