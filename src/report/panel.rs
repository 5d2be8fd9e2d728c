//! What a terminal shows in place: the ladder, the two versions side by side, the verdict.

use jiff::{SignedDuration, Timestamp};

use super::ladder::{Ladder, StepPosition};
use super::phrase::{self, Versions};
use super::{Palette, Tone, escape, reason_text};
use crate::number::{grouped, rate};
use crate::plan::{Exposure, Percent, PlannedStep};
use crate::rollout::{Event, EventKind, RouteChange, VersionCounts};
use crate::verdict::{Counts, Verdict};

/// The panel of one rollout, fed by its events. Everything in it was or will be told in a line too.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    owner: (String, String),
    versions: Versions,
    steps: Vec<Exposure>,
    /// The current step, from 1; 0 before the first.
    step: usize,
    exposure: Exposure,
    since: Timestamp,
    step_counts: VersionCounts,
    tone: Tone,
    note: String,
}

impl Panel {
    /// The panel that an event opens, if it is one that begins something to watch.
    pub(super) fn open(event: &Event) -> Option<Self> {
        let opens = matches!(
            event.event,
            EventKind::Planned { .. } | EventKind::StepStarted { .. }
        );
        if !opens {
            return None;
        }
        let mut panel = Self {
            owner: (event.namespace.clone(), event.name.clone()),
            versions: Versions::default(),
            steps: Vec::new(),
            step: 0,
            exposure: Exposure::NONE,
            since: event.at,
            step_counts: VersionCounts::default(),
            tone: Tone::Plain,
            note: String::new(),
        };
        panel.take(event);
        Some(panel)
    }

    /// Whether the event is about this panel's rollout.
    pub(super) fn is_about(&self, event: &Event) -> bool {
        self.owner.0 == event.namespace && self.owner.1 == event.name
    }

    /// Takes an event of its rollout.
    pub(super) fn take(&mut self, event: &Event) {
        let canary = self.versions.canary.clone();
        match &event.event {
            EventKind::Planned {
                stable,
                canary,
                steps,
                ..
            } => {
                self.versions = Versions {
                    stable: escape(stable).into(),
                    canary: escape(canary).into(),
                };
                self.steps = PlannedStep::exposures(steps);
                self.note(Tone::Plain, "starting");
            }
            EventKind::StepStarted { step, exposure, .. } => {
                self.step = *step;
                self.begin(*exposure, event.at);
                self.note(Tone::Plain, "waiting for the first requests");
            }
            EventKind::TrafficSeen { seen, .. } => {
                self.step_counts = *seen;
                self.note(Tone::Plain, phrase::so_far(Verdict::NotEnoughData));
            }
            EventKind::Analyzed {
                step,
                verdict,
                step_counts,
                mirror_counts,
                reasons,
                ..
            } => {
                self.step = *step;
                self.step_counts = mirror_counts.unwrap_or(*step_counts);
                let tone = match verdict {
                    Verdict::Healthy => Tone::Good,
                    Verdict::Regressed => Tone::Bad,
                    Verdict::NotEnoughData => Tone::Plain,
                    Verdict::MetricsUnavailable => Tone::Caution,
                };
                let label = phrase::so_far(*verdict);
                match reason_text::joined(reasons, &self.versions) {
                    Some(reasons) => self.note(tone, format!("{label}: {reasons}")),
                    None => self.note(tone, label),
                }
            }
            EventKind::StepPassed {
                step_counts,
                mirror_counts,
                ..
            } => {
                self.step_counts = mirror_counts.unwrap_or(*step_counts);
                self.note(Tone::Good, "step passed");
            }
            EventKind::Tripped {
                step_counts,
                mirror_counts,
                ..
            } => {
                self.step_counts = mirror_counts.unwrap_or(*step_counts);
                self.exposure = Exposure::NONE;
                self.note(
                    Tone::Bad,
                    format!("regression suspected; {canary} is at 0 % until confirmed"),
                );
            }
            EventKind::FalseAlarm { exposure, .. } => {
                self.begin(*exposure, event.at);
                self.note(
                    Tone::Good,
                    format!("cleared; {canary} is back at {exposure}"),
                );
            }
            EventKind::Regressed {
                step_counts,
                mirror_counts,
                ..
            } => {
                self.step_counts = mirror_counts.unwrap_or(*step_counts);
                self.note(Tone::Bad, "regression confirmed");
            }
            EventKind::Waiting { reasons, .. } => {
                let reasons = reason_text::joined(reasons, &self.versions);
                let text = phrase::clauses([Some("waiting".to_owned()), reasons]);
                self.note(Tone::Caution, text);
            }
            EventKind::Paused { by } => {
                self.note(Tone::Caution, format!("paused by {}", escape(by)));
            }
            EventKind::Resumed { by } => {
                self.note(Tone::Plain, format!("resumed by {}", escape(by)));
            }
            EventKind::Promoted { by, exposure } => {
                self.exposure = *exposure;
                self.note(Tone::Plain, format!("promoted by {}", escape(by)));
            }
            EventKind::MetricsUnavailable { why, lasted, grace } => {
                let text = format!(
                    "metrics unavailable for {lasted} of {grace}: {}",
                    escape(&reason_text::unusable(why))
                );
                self.note(Tone::Caution, text);
            }
            EventKind::MetricsBack { .. } => self.note(Tone::Plain, "metrics available again"),
            EventKind::NoVerdict { reasons, .. } => {
                let reasons = reason_text::joined(reasons, &self.versions);
                self.note(Tone::Caution, reasons.unwrap_or_default());
            }
            EventKind::Drifted { drift, .. } => {
                self.note(
                    Tone::Bad,
                    format!("changed by another client: {}", escape(&drift.to_string())),
                );
            }
            EventKind::Retrying { what, attempt, .. } => {
                let text = format!("{}, attempt {attempt}", escape(what));
                self.note(Tone::Caution, text);
            }
            EventKind::RollingBack { cause, .. } => {
                self.note(Tone::Bad, format!("rolling back: {cause}"));
            }
            EventKind::RolledBack { routes, .. } => {
                let share = |change: &RouteChange| {
                    let at = |position: usize| change.after.get(position).copied().flatten();
                    let (stable, canary) = (at(change.stable), at(change.canary));
                    let (stable, canary) = (stable.unwrap_or(0), canary.unwrap_or(0));
                    Percent::of(canary, canary.saturating_add(stable))
                };
                self.exposure = Exposure::Share(routes.iter().map(share).min().unwrap_or_default());
                self.note(Tone::Plain, "original weights restored");
            }
            EventKind::Warning { .. } | EventKind::Finished { .. } => {}
        }
    }

    fn begin(&mut self, exposure: Exposure, now: Timestamp) {
        self.exposure = exposure;
        self.since = now;
        self.step_counts = VersionCounts::default();
    }

    fn note(&mut self, tone: Tone, note: impl Into<String>) {
        self.tone = tone;
        self.note = note.into();
    }

    /// How long the step has lasted at `now`.
    pub(super) fn in_step(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.since).max(SignedDuration::ZERO)
    }

    /// The first row: whose panel this is.
    pub(super) fn title(&self, palette: Palette) -> String {
        let object = escape(&format!("{}/{}", self.owner.0, self.owner.1)).into_owned();
        let step = match (self.step, self.steps.len()) {
            (0, _) => String::new(),
            (step, 0) => format!("   step {step}"),
            (step, steps) => format!("   step {step}/{steps}"),
        };
        format!(
            "{}   {} -> {}{step}",
            palette.paint(Tone::Strong, object),
            self.versions.stable,
            self.versions.canary
        )
    }

    /// The steps: done, current, to come.
    pub(super) fn ladder(&self, palette: Palette) -> Ladder {
        let tone = match self.tone {
            Tone::Bad | Tone::Caution => self.tone,
            Tone::Plain | Tone::Good | Tone::Quiet | Tone::Strong => Tone::Strong,
        };
        let standpoint = StepPosition {
            steps: &self.steps,
            step: self.step,
            exposure: self.exposure,
            tone,
        };
        standpoint.ladder(palette)
    }

    /// The two versions, side by side, stable first.
    pub(super) fn sides(&self) -> [String; 2] {
        let cells = |name: &str, counts: Counts| {
            [
                name.to_owned(),
                grouped(counts.requests),
                grouped(counts.failures),
                rate(counts.failures, counts.requests).unwrap_or_else(|| "-".into()),
            ]
        };
        let rows = [
            cells(&self.versions.stable, self.step_counts.stable),
            cells(&self.versions.canary, self.step_counts.canary),
        ];
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let (name, requests, failed, share) = (width(0), width(1), width(2), width(3));
        [0, 1].map(|row: usize| {
            let cells = &rows[row];
            format!(
                "{:<name$}   {:>requests$} requests   {:>failed$} failed   {:>share$}",
                cells[0], cells[1], cells[2], cells[3]
            )
        })
    }

    /// The verdict and its reason.
    pub(super) fn note_row(&self, palette: Palette) -> String {
        palette.paint(self.tone, &self.note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events::{event, every_kind, planned};

    #[test]
    fn every_event_leaves_a_whole_panel() {
        let mut panel = Panel::open(&event(0, planned())).unwrap();
        for event in every_kind() {
            panel.take(&event);
            let rows = [
                panel.title(Palette::PLAIN),
                panel.ladder(Palette::PLAIN).after,
                panel.sides().concat(),
                panel.note_row(Palette::PLAIN),
            ];
            assert!(rows.iter().all(|row| !row.is_empty()), "{rows:?}");
        }
    }
}
