//! What the forms of a run's report have in common: its facts and its steps in words.

use jiff::SignedDuration;

use super::palette::Tone;
use super::phrase::{failed, verdict_word};
use super::reason_text;
use super::run_report::{RunReport, StepReport};
use crate::plan::HumanDuration;
use crate::rollout::Outcome;

impl RunReport {
    /// What there is to say beside steps and decisions: a name and a text each.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if let (Some(stable), Some(canary)) = (&self.stable, &self.canary) {
            facts.push((
                "versions",
                format!("{stable} (stable) -> {canary} (canary)"),
            ));
        }
        let reasons = reason_text::joined(&self.reasons, &self.versions());
        facts.extend(reasons.map(|text| ("reason", text)));
        if let Some(counts) = self.total_counts {
            facts.push(("requests", self.versions().requests(counts)));
        }
        if !self.routes.is_empty() {
            facts.push(("routes", self.routes.join(", ")));
        }
        if !self.drivers.is_empty() {
            facts.push(("driven by", self.drivers.join(", then ")));
        }
        let when = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        facts.push((
            "time",
            match self.ended {
                Some(ended) => format!("{} to {}", when(self.began), when(ended)),
                None => format!("since {}", when(self.began)),
            },
        ));
        facts.extend(self.prometheus.clone().map(|at| ("metrics", at)));
        facts.push(("run", self.run.clone()));
        facts
    }
}

/// A step in words: number, exposure, duration, both versions' requests, verdict.
pub(super) fn step_cells(report: &RunReport, step: &StepReport) -> [String; 6] {
    let ended = step.ended.unwrap_or(report.until());
    [
        step.step.to_string(),
        step.exposure.to_string(),
        duration(ended.duration_since(step.began)),
        failed(step.step_counts.stable),
        failed(step.step_counts.canary),
        step.verdict.map_or("not analyzed", verdict_word).to_owned(),
    ]
}

pub(super) fn tone_of(report: &RunReport) -> Tone {
    match report.outcome {
        Some(Outcome::Promoted | Outcome::AlreadyPromoted | Outcome::StepPassed) => Tone::Good,
        Some(Outcome::RolledBack(_) | Outcome::RollbackFailed) => Tone::Bad,
        Some(
            Outcome::StepSet
            | Outcome::Held
            | Outcome::Drifted
            | Outcome::TakenOver
            | Outcome::Interrupted,
        ) => Tone::Caution,
        None => Tone::Plain,
    }
}

/// Whole seconds, for people.
pub(super) fn duration(took: SignedDuration) -> String {
    HumanDuration::from(took).rounded().to_string()
}
