//! One verdict on a canary, with what it rests on.

use std::io::{self, Write};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::format::{Layout, View};
use super::palette::Tone;
use super::phrase::Versions;
use super::reason_text;
use crate::metrics::MetricsWarning;
use crate::plan::Exposure;
use crate::report::escape;
use crate::rollout::{Reason, VersionCounts};
use crate::verdict::Verdict;
use crate::verdict::sequential::Evidence;

/// A period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Period {
    /// Its start.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// What `analyze` found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisView {
    /// The format's version.
    pub version: u32,
    /// The VirtualService's namespace.
    pub namespace: String,
    /// The VirtualService's name.
    pub name: String,
    /// The stable version.
    pub stable: String,
    /// The canary.
    pub canary: String,
    /// The rollout in progress; `null` where a period was analyzed without one.
    pub run: Option<String>,
    /// The Service that the metrics were read from, where it was looked for; else `null`.
    pub prometheus: Option<String>,
    /// What the canary gets now.
    pub exposure: Exposure,
    /// The period that was analyzed.
    pub period: Period,
    /// What is known.
    pub verdict: Verdict,
    /// What was counted since the present step began; `null` where no metrics were read.
    pub step_counts: Option<VersionCounts>,
    /// What was counted over the whole period; `null` where no metrics were read.
    pub total_counts: Option<VersionCounts>,
    /// The evidence; `null` where the analysis weighs none.
    pub evidence: Option<Evidence>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What limits what the metrics show.
    pub warnings: Vec<MetricsWarning>,
}

impl AnalysisView {
    /// The version of the format.
    pub const VERSION: u32 = 1;
}

impl View for AnalysisView {
    fn names(&self) -> Vec<&str> {
        vec![&self.name]
    }

    fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()> {
        let palette = layout.palette;
        let object = format!("{}/{}", self.namespace, self.name);
        let (stable, canary) = (escape(&self.stable), escape(&self.canary));
        writeln!(
            out,
            "{}   {stable} -> {canary} at {}\n",
            palette.paint(Tone::Strong, escape(&object)),
            self.exposure
        )?;
        let (word, tone) = match self.verdict {
            Verdict::Healthy => ("healthy", Tone::Good),
            Verdict::Regressed => ("regressed", Tone::Bad),
            Verdict::NotEnoughData => ("not enough data", Tone::Caution),
            Verdict::MetricsUnavailable => ("metrics unavailable", Tone::Caution),
        };
        writeln!(out, "{:<9}{}", "verdict", palette.paint(tone, word))?;
        writeln!(
            out,
            "{:<9}{:.0} to {:.0}",
            "period", self.period.from, self.period.to
        )?;
        if let Some(address) = &self.prometheus {
            let address = escape(address);
            writeln!(out, "{:<9}{address} (found in the cluster)", "metrics")?;
        }
        let versions = Versions {
            stable: stable.into(),
            canary: canary.into(),
        };
        if let Some(total) = self.total_counts {
            writeln!(out, "{:<9}{}", "requests", versions.requests(total))?;
        }
        if let Some(step) = self
            .step_counts
            .filter(|_| self.step_counts != self.total_counts)
        {
            writeln!(out, "{:<9}{}", "step", versions.requests(step))?;
        }
        for warning in &self.warnings {
            let text = escape(&warning.to_string()).into_owned();
            writeln!(
                out,
                "{:<9}{}",
                "metrics",
                palette.paint(Tone::Caution, text)
            )?;
        }
        for reason in &self.reasons {
            writeln!(
                out,
                "{:<9}{}",
                "why",
                reason_text::reason(reason, &versions)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Percent;
    use crate::report::test_events::{bounded, version_counts};

    fn view(verdict: Verdict) -> AnalysisView {
        AnalysisView {
            version: 1,
            namespace: "shop".into(),
            name: "reviews".into(),
            stable: "v1".into(),
            canary: "v2\u{1b}".into(),
            run: None,
            prometheus: None,
            exposure: Exposure::Share(Percent::whole(10)),
            period: Period {
                from: "2026-01-01T12:00:00.25Z".parse().unwrap(),
                to: "2026-01-01T13:00:00Z".parse().unwrap(),
            },
            verdict,
            step_counts: Some(version_counts((0, 151), (14, 15_722))),
            total_counts: Some(version_counts((0, 200), (17, 30_000))),
            evidence: None,
            reasons: vec![bounded(0.005)],
            warnings: Vec::new(),
        }
    }

    #[test]
    fn what_limits_the_metrics_is_said() {
        let warnings = vec![MetricsWarning::SamplesLeftOut { samples: 2 }];
        let mut out = Vec::new();
        let limited = AnalysisView {
            warnings,
            ..view(Verdict::Healthy)
        };
        limited.show(&mut out, Layout::default()).unwrap();
        let text = String::from_utf8(out).unwrap();
        let expected = "\nmetrics  2 samples were no counts and are left out\n";
        assert!(text.contains(expected), "{text}");
        let json = serde_json::to_value(&limited).unwrap();
        let expected = serde_json::json!([{"kind": "samples-left-out", "samples": 2}]);
        assert_eq!(json["warnings"], expected);
    }

    #[test]
    fn a_verdict_reads_well() {
        let mut out = Vec::new();
        view(Verdict::Healthy)
            .show(&mut out, Layout::default())
            .unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"
        shop/reviews   v1 -> v2^[ at 10 %

        verdict  healthy
        period   2026-01-01T12:00:00Z to 2026-01-01T13:00:00Z
        requests v2^[ 0 of 200 failed, v1 17 of 30,000
        step     v2^[ 0 of 151 failed, v1 14 of 15,722
        why      v2^['s error rate is at most 1.5x v1's + 0.5 pp (95 % confidence)
        ");
    }

    #[test]
    fn programs_read_the_same_in_json() {
        let json = serde_json::to_value(view(Verdict::NotEnoughData)).unwrap();
        assert_eq!(json["verdict"], "not-enough-data");
        assert_eq!(json["totalCounts"]["canary"]["requests"], 200);
        assert_eq!(json["exposure"]["percent"], 10);
    }
}
