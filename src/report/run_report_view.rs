//! A run for a person, and as the pages that teams share.

use std::io::{self, Write};

use super::run_page::RunPage;
use super::run_report::RunReport;
use super::run_summary::{JUnit, Markdown};
use super::run_words::{duration, step_cells, tone_of};
use super::{Format, Layout, Table, Tone, View, escape, object};
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

fn step_tone(verdict: Option<Verdict>) -> Tone {
    match verdict {
        Some(Verdict::Regressed) => Tone::Bad,
        Some(Verdict::MetricsUnavailable) => Tone::Caution,
        Some(Verdict::Healthy | Verdict::NotEnoughData) | None => Tone::Plain,
    }
}
