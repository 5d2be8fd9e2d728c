//! What can still be read of a damaged state. Pure.
//!
//! Nothing is ever written by it: it is shown to a person, who decides.

use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::state::Rollout;
use crate::plan::{Options, Plan};

/// Without these there is nothing to restore.
const ESSENTIAL: [&str; 3] = ["stable", "canary", "routes"];

impl Rollout {
    /// The rollout whose damaged state is `text`, as far as it can be read: at least its versions and its
    /// routes with their original weights. What cannot be read of the rest is as in a new rollout.
    pub fn salvage(text: &str) -> Option<Self> {
        let found = fields(text);
        let versions = |key: &str| serde_json::from_value(found.get(key)?.clone()).ok();
        let plan = Plan::resolve(Options::default()).ok()?;
        let whom = (versions("stable")?, versions("canary")?, Vec::new());
        let blank = Self::new(
            String::new(),
            String::new(),
            plan,
            whom,
            Timestamp::UNIX_EPOCH,
        );
        let Ok(Value::Object(mut state)) = serde_json::to_value(blank) else {
            return None;
        };
        state.insert("routes".into(), found.get("routes")?.clone());
        let mut rollout = whole(&state)?;
        for (key, value) in found {
            if key == "version" || ESSENTIAL.contains(&key.as_str()) {
                continue;
            }
            let mut with = state.clone();
            with.insert(key, value);
            if let Some(better) = whole(&with) {
                (state, rollout) = (with, better);
            }
        }
        Some(rollout)
    }
}

fn whole(state: &Map<String, Value>) -> Option<Rollout> {
    let rollout: Rollout = serde_json::from_value(Value::Object(state.clone())).ok()?;
    rollout.check().ok()?;
    Some(rollout)
}

/// The fields that stand before the place where the text stops being JSON.
fn fields(text: &str) -> Map<String, Value> {
    struct Fields<'a>(&'a mut Map<String, Value>);

    impl<'de> Visitor<'de> for Fields<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the state of a rollout")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some((key, value)) = map.next_entry()? {
                self.0.insert(key, value);
            }
            Ok(())
        }
    }

    let mut found = Map::new();
    let mut text = serde_json::Deserializer::from_str(text);
    // Whatever is wrong behind them, the fields that were read stand.
    let _ = text.deserialize_map(Fields(&mut found));
    found
}
