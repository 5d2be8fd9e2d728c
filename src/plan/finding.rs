//! What a preflight has to say, as values.

use serde::{Deserialize, Serialize};

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Checked, and fine.
    Ok,
    /// To be known before going on.
    Warn,
    /// The rollout does not start.
    Refuse,
}

/// One thing that was checked before anything moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How serious it is.
    pub level: Level,
    /// What was found, naming the object.
    pub what: String,
    /// What it would lead to.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub why: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub fix: String,
}

impl Finding {
    /// Checked, and fine.
    pub fn ok(what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            what: what.into(),
            why: String::new(),
            fix: String::new(),
        }
    }

    /// To be known before going on.
    pub fn warn(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            what: what.into(),
            why: why.into(),
            fix: fix.into(),
        }
    }

    /// The rollout does not start.
    pub fn refuse(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            level: Level::Refuse,
            ..Self::warn(what, why, fix)
        }
    }
}
