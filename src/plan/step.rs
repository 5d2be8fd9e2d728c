//! The ladder of a rollout: `1,10:5m,50:pause,100`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Exposure, HumanDuration, Percent};

/// One step: what the canary gets, and what has to happen before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the canary gets.
    pub exposure: Exposure,
    /// The least time at this weight, where it differs from the plan's dwell.
    pub hold: Option<HumanDuration>,
    /// Wait for `promote` after the step has passed.
    pub pause: bool,
}

/// The steps of a rollout: rising, the last one 100 %.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps(Vec<Step>);

/// What was wrong with the steps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepsError {
    /// There are none.
    #[error("there are no steps (try: --steps 1,10,50,100)")]
    Empty,
    /// One of them cannot be read.
    #[error("step {text:?}: {why} (try: --steps 1,10:5m,50:pause,100)")]
    Unreadable {
        /// The step as it was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A step does not rise above the one before it.
    #[error(
        "step {later} is not above step {earlier} before it (try: rising steps such as 1,10,50,100)"
    )]
    NotRising {
        /// The earlier step's weight.
        earlier: Percent,
        /// The later step's weight.
        later: Percent,
    },
    /// A step at 0 % moves nothing.
    #[error("a step of 0 % shifts no traffic (try: 1 as the first step)")]
    Zero,
    /// A mirror of nothing.
    #[error("a mirror of 0 % sends no requests to the canary (try: mirror:10%)")]
    NoMirror,
    /// A step without traffic after one with.
    #[error(
        "step {later} comes after step {earlier} and would reduce the canary's traffic (try: {later} as the first step)"
    )]
    TooLate {
        /// The step before it.
        earlier: Percent,
        /// The step, as it is written.
        later: String,
    },
    /// The last step is not 100 %.
    #[error(
        "the last step is {0} %, so the rollout would never complete (try: 100 as the last step, with {0}:pause before it)"
    )]
    Unfinished(Percent),
}

impl Steps {
    /// Checks that steps rise and end at 100 %.
    ///
    /// # Errors
    /// Names the first step that breaks the rule.
    pub fn new(steps: Vec<Step>) -> Result<Self, StepsError> {
        let Some(last) = steps.last() else {
            return Err(StepsError::Empty);
        };
        for step in &steps {
            match step.exposure {
                Exposure::Share(Percent::ZERO) => return Err(StepsError::Zero),
                Exposure::Mirror(Percent::ZERO) => return Err(StepsError::NoMirror),
                Exposure::Share(_) | Exposure::Testers | Exposure::Mirror(_) => {}
            }
        }
        for pair in steps.windows(2) {
            match (pair[0].exposure, pair[1].exposure) {
                (Exposure::Share(earlier), Exposure::Share(later)) if later <= earlier => {
                    return Err(StepsError::NotRising { earlier, later });
                }
                (Exposure::Share(earlier), Exposure::Mirror(_) | Exposure::Testers) => {
                    let later = pair[1].to_string();
                    return Err(StepsError::TooLate { earlier, later });
                }
                _ => {}
            }
        }
        if last.exposure != Exposure::Share(Percent::HUNDRED) {
            return Err(StepsError::Unfinished(last.exposure.share()));
        }
        Ok(Self(steps))
    }

    /// The same with a step for testers before all others, unless it is there.
    #[must_use]
    pub fn after_testers(mut self) -> Self {
        if self.0.iter().all(|step| step.exposure != Exposure::Testers) {
            let testers = Step {
                exposure: Exposure::Testers,
                hold: None,
                pause: false,
            };
            self.0.insert(0, testers);
        }
        self
    }

    /// The steps in order.
    pub fn as_slice(&self) -> &[Step] {
        &self.0
    }
}

impl Default for Steps {
    fn default() -> Self {
        let step = |weight| Step {
            exposure: Exposure::Share(Percent::whole(weight)),
            hold: None,
            pause: false,
        };
        Self(vec![step(1), step(10), step(50), step(100)])
    }
}

impl FromStr for Step {
    type Err = StepsError;

    fn from_str(text: &str) -> Result<Self, StepsError> {
        let unreadable = |why: String| StepsError::Unreadable {
            text: text.trim().to_owned(),
            why,
        };
        let percent = |text: &str| -> Result<Percent, StepsError> {
            text.parse()
                .map_err(|error: super::percent::PercentError| unreadable(error.reason()))
        };
        let mut parts = text.split(':').map(str::trim);
        let exposure = match parts.next().unwrap_or_default() {
            "testers" => Exposure::Testers,
            "mirror" => {
                let share = parts
                    .next()
                    .ok_or_else(|| unreadable("it does not say how much, as mirror:10%".into()))?;
                Exposure::Mirror(percent(share)?)
            }
            share => Exposure::Share(percent(share)?),
        };
        let mut step = Self {
            exposure,
            hold: None,
            pause: false,
        };
        for part in parts {
            match part {
                "pause" => step.pause = true,
                hold => {
                    let hold = hold.parse().map_err(|_| {
                        unreadable(format!("{hold:?} is neither a duration nor \"pause\""))
                    })?;
                    step.hold = Some(hold);
                }
            }
        }
        Ok(step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exposure {
            Exposure::Share(share) => write!(f, "{share}")?,
            Exposure::Testers => f.write_str("testers")?,
            Exposure::Mirror(share) => write!(f, "mirror:{share}%")?,
        }
        if let Some(hold) = self.hold {
            write!(f, ":{hold}")?;
        }
        if self.pause {
            f.write_str(":pause")?;
        }
        Ok(())
    }
}

impl FromStr for Steps {
    type Err = StepsError;

    fn from_str(text: &str) -> Result<Self, StepsError> {
        if text.trim().is_empty() {
            return Err(StepsError::Empty);
        }
        Self::new(text.split(',').map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{step}")?;
        }
        Ok(())
    }
}

impl Serialize for Steps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Steps {
    /// Takes the flag's text or a list of numbers and texts.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Steps;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("steps such as [1, 10, \"50:pause\", 100]")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Steps, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Steps, A::Error> {
                let mut steps = Vec::new();
                while let Some(step) = list.next_element::<serde_json::Value>()? {
                    let text = match step {
                        serde_json::Value::String(text) => text,
                        other => other.to_string(),
                    };
                    steps.push(text.parse().map_err(serde::de::Error::custom)?);
                }
                Steps::new(steps).map_err(serde::de::Error::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Steps {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Steps".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Rising percentages that end at 100; a step may hold (\"10:5m\") or wait for promote (\"50:pause\"). Before them, \"mirror:10%\" sends copies of requests to the canary, and \"testers\" is for nobody but testers.",
            "examples": ["1,10,50,100", [1, "10:5m", "50:pause", 100], "mirror:10%:5m,1,100"],
            "oneOf": [
                { "type": "string" },
                { "type": "array", "minItems": 1, "items": { "type": ["number", "string"] } },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_and_write_alike() {
        for text in [
            "1,10,50,100",
            "0.5,10:5m,50:pause,100",
            "5:30s:pause,100:10m",
            "100",
            "mirror:10%,1,10,50,100",
            "testers:5m:pause,mirror:1%,mirror:10%:10m,1,100",
        ] {
            assert_eq!(text.parse::<Steps>().unwrap().to_string(), text);
        }
        assert_eq!(
            "1 , 10%, 100".parse::<Steps>().unwrap().to_string(),
            "1,10,100"
        );
        assert_eq!(Steps::default().to_string(), "1,10,50,100");
        assert_eq!(
            "mirror:5,1,100".parse::<Steps>().unwrap().to_string(),
            "mirror:5%,1,100"
        );
        let with_testers = |text: &str| text.parse::<Steps>().unwrap().after_testers().to_string();
        assert_eq!(with_testers("mirror:5%,100"), "testers,mirror:5%,100");
        assert_eq!(with_testers("testers:pause,100"), "testers:pause,100");
    }

    #[test]
    fn a_plan_file_may_list_numbers_and_texts() {
        let steps: Steps = serde_json::from_str(r#"[1, "10:5m", 50.5, 100]"#).unwrap();
        assert_eq!(steps.to_string(), "1,10:5m,50.5,100");
    }

    #[test]
    fn wrong_steps_name_the_step_and_the_fix() {
        for (text, expected) in [
            ("", "there are no steps (try: --steps 1,10,50,100)"),
            (
                "0,100",
                "a step of 0 % shifts no traffic (try: 1 as the first step)",
            ),
            (
                "mirror:0%,100",
                "a mirror of 0 % sends no requests to the canary (try: mirror:10%)",
            ),
            (
                "1,mirror:10%,100",
                "step mirror:10% comes after step 1 and would reduce the canary's traffic (try: mirror:10% as the first step)",
            ),
            (
                "mirror,100",
                "step \"mirror\": it does not say how much, as mirror:10% (try: --steps 1,10:5m,50:pause,100)",
            ),
            (
                "mirror:10%",
                "the last step is 0 %, so the rollout would never complete (try: 100 as the last step, with 0:pause before it)",
            ),
            (
                "10,5,100",
                "step 5 is not above step 10 before it (try: rising steps such as 1,10,50,100)",
            ),
            (
                "10,10,100",
                "step 10 is not above step 10 before it (try: rising steps such as 1,10,50,100)",
            ),
            (
                "1,200",
                "step \"200\": 200 is not between 0 and 100 (try: --steps 1,10:5m,50:pause,100)",
            ),
            (
                "1,ten,100",
                "step \"ten\": \"ten\" is not a percentage (try: --steps 1,10:5m,50:pause,100)",
            ),
            (
                "1,10:soon,100",
                "step \"10:soon\": \"soon\" is neither a duration nor \"pause\" (try: --steps 1,10:5m,50:pause,100)",
            ),
            (
                "1,50",
                "the last step is 50 %, so the rollout would never complete (try: 100 as the last step, with 50:pause before it)",
            ),
        ] {
            assert_eq!(text.parse::<Steps>().unwrap_err().to_string(), expected);
        }
    }
}
