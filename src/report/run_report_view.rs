//! A run for a person, and as the pages that teams share.

use std::io::{self, Write};

use jiff::SignedDuration;

use super::phrase::{failed, verdict_word};
use super::run_page::RunPage;
use super::run_report::{RunReport, StepReport};
use super::run_summary::{JUnit, Markdown};
use super::{Format, Layout, Table, Tone, View, escape, object, reason_text};
use crate::plan::HumanDuration;
use crate::rollout::Outcome;
use crate::verdict::Verdict;

impl View for RunReport {
    fn names(&self) -> Vec<&str> {
        vec![&self.name]
    }

    fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()> {
        let palette = layout.palette;
        let title = format!("{} -n {}", object(&self.name), self.namespace);
        writeln!(out, "{}", palette.paint(Tone::Strong, escape(&title)))?;
        let headline = palette.paint(tone_of(self), self.headline());
        writeln!(out, "{headline} ({})\n", duration(self.took()))?;
        for (name, text) in self.facts() {
            writeln!(out, "{:<12}{}", format!("{name}:"), escape(&text))?;
        }
        writeln!(out)?;
        let mut table = Table::new(["step", "canary gets", "for", "stable", "canary", "verdict"])
            .without_headers(layout.without_headers)
            .in_colors(palette);
        for step in &self.steps {
            table.row_in(step_tone(step.verdict), step_cells(self, step));
        }
        table.write(out, "")?;
        writeln!(out)?;
        for decision in &self.decisions {
            let time = decision.at.strftime("%H:%M:%S");
            let word = palette.paint(decision.tone, format!("{:<12}", decision.word));
            writeln!(out, "{time} {word} {}", escape(&decision.text))?;
        }
        Ok(())
    }

    fn document(&self, format: Format) -> Option<String> {
        match format {
            Format::Html => Some(RunPage(self).to_string()),
            Format::Markdown => Some(Markdown(self).to_string()),
            Format::Junit => Some(JUnit(self).to_string()),
            Format::Json | Format::Yaml | Format::Name | Format::Wide => None,
        }
    }
}

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

fn step_tone(verdict: Option<Verdict>) -> Tone {
    match verdict {
        Some(Verdict::Regressed) => Tone::Bad,
        Some(Verdict::MetricsUnavailable) => Tone::Caution,
        Some(Verdict::Healthy | Verdict::NotEnoughData) | None => Tone::Plain,
    }
}

/// Whole seconds, for people.
pub(super) fn duration(took: SignedDuration) -> String {
    HumanDuration::from(took).rounded().to_string()
}
