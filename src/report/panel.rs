//! What a terminal shows in place: the ladder, the two versions side by side, the verdict.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::ladder::{Ladder, StepPosition};
use super::phrase::{self, OfVersion, Versions};
use super::sparkline::{bar, sparkline};
use super::{Palette, Tone, escape, reason_text};
use crate::number::{grouped, mean, rate};
use crate::plan::{AfterRegression, Exposure, HumanDuration, OnSignal, Percent, PlannedStep};
use crate::rollout::{Event, EventKind, RouteChange, VersionCounts};
use crate::verdict::sequential::{AnalysisState, Evidence};
use crate::verdict::{AnalysisReason, Verdict};

/// Looks of which the share of failed requests is drawn.
const DRAWN: usize = 16;
/// Looks over which requests per second are averaged.
const PACED: usize = 4;
/// The least share of failed requests that fills the height of a drawing.
const LEAST_TOP: f64 = 0.01;
/// Characters of a bar.
const BAR: usize = 12;

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
    holds: Vec<HumanDuration>,
    /// When 100 % is expected.
    expected: Option<Timestamp>,
    on_signal: OnSignal,
    looks: VecDeque<PanelLook>,
    looked: Timestamp,
    /// Towards rollback and promotion, 0 to 1, where the analysis weighs evidence.
    nearness: Option<[f64; 2]>,
    standing: PanelStanding,
    tone: Tone,
    note: String,
}

/// What one look at the metrics saw that the one before had not.
#[derive(Clone, Copy, Debug)]
struct PanelLook {
    counts: VersionCounts,
    seconds: f64,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PanelStanding {
    /// Whatever the metrics say next.
    Analyzing,
    /// The step does not go on although time passes, for this reason.
    OnHold(String),
    Waiting,
    PausedBy(String),
    Tripped,
    RollingBack,
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
            holds: Vec::new(),
            expected: None,
            on_signal: OnSignal::Rollback,
            looks: VecDeque::new(),
            looked: event.at,
            nearness: Some([0.0; 2]),
            standing: PanelStanding::Analyzing,
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
                expected,
                on_signal,
                ..
            } => {
                self.holds = steps.iter().map(|step| step.hold).collect();
                self.expected = expected.and_then(|time| event.at.checked_add(time.signed()).ok());
                self.on_signal = *on_signal;
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
                self.look(event.at, *seen);
                self.note(Tone::Plain, phrase::so_far(Verdict::NotEnoughData));
            }
            EventKind::Analyzed {
                step,
                verdict,
                step_counts,
                mirror_counts,
                reasons,
                evidence,
                ..
            } => {
                self.step = *step;
                self.look(event.at, mirror_counts.unwrap_or(*step_counts));
                self.weigh(evidence.as_deref());
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
                self.standing = PanelStanding::Tripped;
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
                self.standing = PanelStanding::Waiting;
                self.note(Tone::Caution, text);
            }
            EventKind::Paused { by } => {
                let by = escape(by).into_owned();
                self.note(Tone::Caution, format!("paused by {by}"));
                self.standing = PanelStanding::PausedBy(by);
            }
            EventKind::Resumed { by } => {
                self.standing = PanelStanding::Analyzing;
                self.note(Tone::Plain, format!("resumed by {}", escape(by)));
            }
            EventKind::Promoted { by, exposure } => {
                self.exposure = *exposure;
                self.standing = PanelStanding::Analyzing;
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
                self.standing = PanelStanding::RollingBack;
                self.note(Tone::Bad, format!("rolling back: {cause}"));
            }
            EventKind::RolledBack { routes, after, .. } => {
                let share = |change: &RouteChange| {
                    let at = |position: usize| change.after.get(position).copied().flatten();
                    let (stable, canary) = (at(change.stable), at(change.canary));
                    let (stable, canary) = (stable.unwrap_or(0), canary.unwrap_or(0));
                    Percent::of(canary, canary.saturating_add(stable))
                };
                self.exposure = Exposure::Share(routes.iter().map(share).min().unwrap_or_default());
                let text = match after {
                    AfterRegression::Original => "original weights restored",
                    AfterRegression::Zero => "the canary has no weight",
                };
                self.note(Tone::Plain, text);
            }
            EventKind::Warning { .. } | EventKind::Finished { .. } => {}
        }
    }

    fn begin(&mut self, exposure: Exposure, now: Timestamp) {
        self.exposure = exposure;
        self.since = now;
        self.step_counts = VersionCounts::default();
        self.looked = now;
        self.nearness = Some([0.0; 2]);
        self.standing = PanelStanding::Analyzing;
    }

    /// Counts grow through a step.
    fn look(&mut self, at: Timestamp, counts: VersionCounts) {
        let before = std::mem::replace(&mut self.step_counts, counts);
        let seconds = at.duration_since(self.looked).as_secs_f64();
        self.looked = at;
        if seconds > 0.0 {
            let counts = counts.since(before);
            self.looks.push_back(PanelLook { counts, seconds });
            if self.looks.len() > DRAWN {
                self.looks.pop_front();
            }
        }
    }

    fn weigh(&mut self, evidence: Option<&Evidence>) {
        self.nearness = evidence.map(|known| [known.towards_rollback(), known.towards_promotion()]);
        let held = evidence.and_then(|known| match known.state {
            AnalysisState::Held(hold) => Some(AnalysisReason::OnHold { hold }.into()),
            _ => None,
        });
        // What people decided outlasts a look.
        match (&self.standing, held) {
            (PanelStanding::Analyzing | PanelStanding::OnHold(_), Some(reason)) => {
                let text = reason_text::reason(&reason, &self.versions);
                self.standing = PanelStanding::OnHold(text);
            }
            (PanelStanding::OnHold(_), None) => self.standing = PanelStanding::Analyzing,
            _ => {}
        }
    }

    fn note(&mut self, tone: Tone, note: impl Into<String>) {
        self.tone = tone;
        self.note = note.into();
    }

    /// How long the step has lasted at `now`.
    pub(super) fn in_step(&self, now: Timestamp) -> SignedDuration {
        now.duration_since(self.since).max(SignedDuration::ZERO)
    }

    /// The first row: whose panel this is, and how long it may still take.
    pub(super) fn title(&self, palette: Palette, now: Timestamp) -> String {
        let object = escape(&format!("{}/{}", self.owner.0, self.owner.1)).into_owned();
        let step = match (self.step, self.steps.len()) {
            (0, _) => String::new(),
            (step, 0) => format!("   step {step}"),
            (step, steps) => format!("   step {step}/{steps}"),
        };
        let left = self.expected.map(|expected| expected.duration_since(now));
        let left = left.filter(|left| left.is_positive() && self.is_moving());
        let left = left.map_or_else(String::new, |left| {
            let left = HumanDuration::from(left).rounded();
            palette.paint(Tone::Quiet, format!("   about {left} left"))
        });
        format!(
            "{}   {} -> {}{step}{left}",
            palette.paint(Tone::Strong, object),
            self.versions.stable,
            self.versions.canary
        )
    }

    fn is_moving(&self) -> bool {
        matches!(
            self.standing,
            PanelStanding::Analyzing | PanelStanding::OnHold(_)
        )
    }

    /// What the time in the step is a part of, while there is some left: ` of 1m`.
    pub(super) fn held_of(&self, now: Timestamp) -> String {
        let hold = self
            .step
            .checked_sub(1)
            .and_then(|step| self.holds.get(step));
        match hold {
            Some(hold) if hold.signed() > self.in_step(now) => format!(" of {hold}"),
            _ => String::new(),
        }
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

    /// The two versions, one below the other, stable first: what they did in the step, and the share of
    /// failed requests over the last looks, on one scale.
    pub(super) fn sides(&self) -> [String; 2] {
        let (stable, canary): (OfVersion, OfVersion) =
            (|counts| counts.stable, |counts| counts.canary);
        let shares = |of: OfVersion| {
            let looks = self.looks.iter();
            looks.map(move |look| of(look.counts).failure_rate())
        };
        let top = shares(stable).chain(shares(canary)).flatten();
        let top = top.fold(LEAST_TOP, f64::max);
        let cells = |name: &str, of: OfVersion| {
            let counts = of(self.step_counts);
            [
                name.to_owned(),
                format!("{} requests", grouped(counts.requests)),
                self.pace(of),
                format!("{} failed", grouped(counts.failures)),
                rate(counts.failures, counts.requests).unwrap_or_else(|| "-".into()),
                sparkline(shares(of), top),
            ]
        };
        let rows = [
            cells(&self.versions.stable, stable),
            cells(&self.versions.canary, canary),
        ];
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let [name, requests, pace, failed, share] = [0, 1, 2, 3, 4].map(width);
        rows.each_ref().map(|cells| {
            let row = format!(
                "{:<name$}   {:>requests$}   {:>pace$}   {:>failed$}   {:>share$}   {}",
                cells[0], cells[1], cells[2], cells[3], cells[4], cells[5]
            );
            row.trim_end().to_owned()
        })
    }

    /// Requests per second over the last looks.
    fn pace(&self, of: OfVersion) -> String {
        let last = || self.looks.iter().rev().take(PACED);
        let seconds: f64 = last().map(|look| look.seconds).sum();
        if seconds <= 0.0 {
            return String::new();
        }
        let requests: u64 = last().map(|look| of(look.counts).requests).sum();
        format!("{}/s", mean(requests as f64 / seconds))
    }

    /// How near a rollback and leaving the step are.
    pub(super) fn bars(&self, palette: Palette) -> String {
        let Some([rollback, promotion]) = self.nearness else {
            return String::new();
        };
        format!(
            "to rollback {}   to promotion {}",
            palette.paint(Tone::Bad, bar(rollback, BAR)),
            palette.paint(Tone::Good, bar(promotion, BAR))
        )
    }

    /// What comes next, or is waited for.
    pub(super) fn next(&self, palette: Palette) -> String {
        let command = |verb: &str| {
            let (namespace, name) = (escape(&self.owner.0), escape(&self.owner.1));
            format!("kubectl canary {verb} {name} -n {namespace}")
        };
        let signal = match self.on_signal {
            OnSignal::Rollback => "Ctrl-C rolls back",
            OnSignal::Hold => "Ctrl-C leaves the weights as they are",
        };
        let following = self.steps.get(self.step);
        let (tone, text) = match &self.standing {
            PanelStanding::Analyzing if self.step == 0 => (Tone::Quiet, String::new()),
            PanelStanding::Analyzing => (
                Tone::Quiet,
                match following {
                    Some(next) => format!("next: {next} when healthy"),
                    None => "next: promoted when healthy".into(),
                },
            ),
            PanelStanding::OnHold(why) => (Tone::Caution, why.clone()),
            PanelStanding::Waiting => (Tone::Caution, format!("waits for {}", command("promote"))),
            PanelStanding::PausedBy(by) => (
                Tone::Caution,
                format!("paused by {by}; goes on with {}", command("resume")),
            ),
            PanelStanding::Tripped => (
                Tone::Bad,
                "next: 0 % until the regression is confirmed or cleared".into(),
            ),
            PanelStanding::RollingBack => {
                return palette.paint(Tone::Bad, "restoring the original weights");
            }
        };
        let text = phrase::clauses([
            Some(text).filter(|text| !text.is_empty()),
            Some(signal.into()),
        ]);
        palette.paint(tone, text)
    }

    /// The verdict and its reason, cut between words where the terminal has fewer columns.
    pub(super) fn note_row(&self, palette: Palette, width: Option<usize>) -> String {
        palette.paint(self.tone, within(&self.note, width))
    }
}

/// As many whole words as `width` columns hold, and a sign that there are more.
fn within(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| text.chars().count() > *width) else {
        return text.to_owned();
    };
    let room = width.saturating_sub(2);
    let mut cut = String::new();
    let mut taken = 0;
    for word in text.split_inclusive(' ') {
        taken += word.chars().count();
        if taken > room {
            break;
        }
        cut += word;
    }
    format!("{} …", cut.trim_end())
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
                panel.title(Palette::PLAIN, event.at),
                panel.ladder(Palette::PLAIN).after,
                panel.sides().concat(),
                panel.next(Palette::PLAIN),
                panel.note_row(Palette::PLAIN, None),
            ];
            assert!(rows.iter().all(|row| !row.is_empty()), "{rows:?}");
        }
    }

    #[test]
    fn what_people_decided_outlasts_a_look() {
        let events = every_kind();
        let of = |wanted: fn(&EventKind) -> bool| {
            events
                .iter()
                .find(|event| wanted(&event.event))
                .unwrap()
                .clone()
        };
        let look = of(|kind| matches!(kind, EventKind::Analyzed { .. }));
        for (decided, said) in [
            (
                of(|kind| matches!(kind, EventKind::Paused { .. })),
                "goes on with kubectl canary resume reviews -n shop; Ctrl-C rolls back",
            ),
            (
                of(|kind| matches!(kind, EventKind::Waiting { .. })),
                "waits for kubectl canary promote reviews -n shop; Ctrl-C rolls back",
            ),
        ] {
            let mut panel = Panel::open(&event(0, planned())).unwrap();
            panel.take(&decided);
            panel.take(&look);
            let next = panel.next(Palette::PLAIN);
            assert!(next.ends_with(said), "{next}");
        }
    }

    #[test]
    fn a_long_note_ends_between_words() {
        assert_eq!(
            within("too few requests to judge", Some(30)),
            "too few requests to judge"
        );
        assert_eq!(
            within("too few requests to judge", Some(20)),
            "too few requests …"
        );
        assert_eq!(within("incomprehensibilities", Some(10)), " …");
    }
}
