//! What was found before anything moves: the results of preflight.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a finding weighs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// How much it weighs.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// Why that matters.
    pub why: Option<String>,
    /// What to do about it, as a command where that is possible.
    pub fix: Option<String>,
    /// The YAML that the fix speaks of, ready to be copied.
    pub snippet: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            what: what.into(),
            why: None,
            fix: None,
            snippet: None,
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
            snippet: None,
        }
    }

    /// The same with the YAML to apply.
    #[must_use]
    pub fn with_snippet(self, snippet: impl Into<String>) -> Self {
        Self {
            snippet: Some(snippet.into()),
            ..self
        }
    }

    /// What forbids the start first, then what is to be known, then what is as it should be; the
    /// order within each stays.
    pub fn sort(findings: &mut [Self]) {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    }

    /// Whether any of the findings forbids the start.
    pub fn refuses(findings: &[Self]) -> bool {
        findings
            .iter()
            .any(|finding| finding.level == Level::Refuse)
    }
}

impl fmt::Display for Finding {
    /// What was found, why it matters and what to do about it, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(why) = &self.why {
            write!(f, ": {why}")?;
            if let Some(fix) = &self.fix {
                write!(f, " (try: {fix})")?;
            }
        }
        Ok(())
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
            r#"{"level":"ok","what":"metrics answer","why":null,"fix":null,"snippet":null}"#
        );
    }

    #[test]
    fn what_forbids_comes_first_and_the_rest_keeps_its_order() {
        let mut findings = vec![
            Finding::ok("1"),
            Finding::warn("2", "", ""),
            Finding::refuse("3", "", ""),
            Finding::ok("4"),
            Finding::refuse("5", "", ""),
        ];
        Finding::sort(&mut findings);
        let order: String = findings.iter().map(|finding| &*finding.what).collect();
        assert_eq!(order, "35214");
    }
}
