//! What was found before anything moves: the results of preflight.

use serde::{Deserialize, Serialize};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// To be known; the rollout may start.
    Warn,
    /// The rollout must not start.
    Refuse,
}

/// One thing that was looked at, with the way out where there is something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it weighs.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// Why that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to do about it, as a command where that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            what: what.into(),
            why: None,
            fix: None,
        }
    }

    /// Something to be known before the start.
    pub fn warn(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::concern(Level::Warn, what.into(), why.into(), fix.into())
    }

    /// Something that forbids the start.
    pub fn refuse(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::concern(Level::Refuse, what.into(), why.into(), fix.into())
    }

    fn concern(level: Level, what: String, why: String, fix: String) -> Self {
        Self {
            level,
            what,
            why: Some(why).filter(|why| !why.is_empty()),
            fix: Some(fix).filter(|fix| !fix.is_empty()),
        }
    }

    /// Whether any of the findings forbids the start.
    pub fn refuses(findings: &[Self]) -> bool {
        findings
            .iter()
            .any(|finding| finding.level == Level::Refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_forbids_the_start() {
        let mut findings = vec![Finding::ok("metrics answer"), Finding::warn("a", "b", "c")];
        assert!(!Finding::refuses(&findings));
        findings.push(Finding::refuse("a", "b", "c"));
        assert!(Finding::refuses(&findings));
        assert_eq!(
            serde_json::to_string(&findings[0]).unwrap(),
            r#"{"level":"ok","what":"metrics answer"}"#
        );
    }
}
