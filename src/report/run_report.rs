//! One run in figures: its steps, what was decided, and what was seen at each look.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::event_formatter::EventFormatter;
use super::line::Place;
use super::palette::Tone;
use super::phrase::Versions;
use crate::history::RunRecord;
use crate::plan::Exposure;
use crate::rollout::{EventKind, Outcome, Reason, RouteChange, StepAnswers, VersionCounts};
use crate::verdict::Verdict;
use crate::verdict::sequential::Evidence;

/// What `report` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The format's version.
    pub version: u32,
    /// The VirtualService's namespace.
    pub namespace: String,
    /// The VirtualService's name.
    pub name: String,
    /// The run.
    pub run: String,
    /// The stable version, where the record knows it.
    pub stable: Option<String>,
    /// The canary, where the record knows it.
    pub canary: Option<String>,
    /// The routes that were shifted.
    pub routes: Vec<String>,
    /// Where the metrics came from.
    pub prometheus: Option<String>,
    /// Who drove it, in order.
    pub drivers: Vec<String>,
    /// When the record begins.
    pub began: Timestamp,
    /// When it ended; `null` while it is under way.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why it ended so.
    pub reasons: Vec<Reason>,
    /// What the canary got last.
    pub exposure: Exposure,
    /// What was counted over all steps.
    pub total_counts: Option<VersionCounts>,
    /// The steps that began, in order; one that was repeated is there again.
    pub steps: Vec<StepReport>,
    /// What was decided, and what it rested on.
    pub decisions: Vec<LoggedDecision>,
    /// What the canary's weight was from when on, in percent of the users' requests.
    pub weights: Vec<WeightChange>,
    /// The looks at the metrics that are in the record.
    pub looks: Vec<Look>,
}

/// One step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// The step, from 1.
    pub step: usize,
    /// What the canary got.
    pub exposure: Exposure,
    /// When its weights were set.
    pub began: Timestamp,
    /// When something else followed it.
    pub ended: Option<Timestamp>,
    /// What was counted in it.
    pub step_counts: VersionCounts,
    /// The last verdict in it.
    pub verdict: Option<Verdict>,
}

/// Something that was decided, or happened, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoggedDecision {
    /// When.
    pub at: Timestamp,
    /// What, in one or two words: `regressed`.
    pub word: String,
    /// What that means.
    pub text: String,
    #[serde(skip)]
    pub(super) tone: Tone,
}

/// The canary's weight from then on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightChange {
    /// When.
    pub at: Timestamp,
    /// Percent of the users' requests, 0 to 100.
    pub canary_percent: f64,
}

/// One look at the metrics.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// The step, from 1.
    pub step: usize,
    /// The verdict.
    pub verdict: Verdict,
    /// What was counted since the look before, or since the step began.
    pub counts: VersionCounts,
    /// Over how long, in seconds.
    pub seconds: f64,
    /// How all requests of the step until then were answered beside failures.
    pub answers: StepAnswers,
    /// Evidence that the canary is worse, in nats, where the analysis weighs any.
    pub evidence: Option<f64>,
    /// What it takes to roll back, in nats.
    pub needed: Option<f64>,
}

impl RunReport {
    /// The format's version.
    pub const VERSION: u32 = 1;

    /// What a record comes to.
    pub(crate) fn of(record: &RunRecord) -> Self {
        let object = record.object();
        let mut report = Self {
            version: Self::VERSION,
            namespace: object.namespace,
            name: object.name,
            run: record.run().to_owned(),
            stable: None,
            canary: None,
            routes: Vec::new(),
            prometheus: None,
            drivers: Vec::new(),
            began: record.began(),
            ended: record.end().map(|(at, _)| at),
            outcome: record.end().map(|(_, outcome)| outcome),
            reasons: Vec::new(),
            exposure: Exposure::NONE,
            total_counts: None,
            steps: Vec::new(),
            decisions: decisions(record),
            weights: Vec::new(),
            looks: Vec::new(),
        };
        for event in record.events() {
            report.take(event.at, &event.event);
        }
        report
    }

    /// The names of the versions in sentences.
    pub(super) fn versions(&self) -> Versions {
        let unknown = Versions::default();
        Versions {
            stable: self.stable.clone().unwrap_or(unknown.stable),
            canary: self.canary.clone().unwrap_or(unknown.canary),
        }
    }

    /// How it stands or ended, in a few words.
    pub(super) fn headline(&self) -> String {
        match self.outcome {
            Some(outcome) => outcome.to_string(),
            None => format!("under way at {}", self.exposure),
        }
    }

    /// When the last thing in it happened.
    pub(super) fn until(&self) -> Timestamp {
        let last = self.looks.last().map(|look| look.at);
        let decided = self.decisions.last().map(|decision| decision.at);
        let ended = self.ended.or(last.max(decided));
        ended.unwrap_or(self.began)
    }

    /// How long the record is.
    pub(super) fn took(&self) -> SignedDuration {
        self.until().duration_since(self.began)
    }

    fn take(&mut self, at: Timestamp, event: &EventKind) {
        match event {
            EventKind::Planned {
                stable,
                canary,
                routes,
                prometheus,
                by,
                ..
            } => {
                self.stable = Some(stable.clone());
                self.canary = Some(canary.clone());
                self.routes.clone_from(routes);
                self.prometheus = Some(prometheus.clone());
                if self.drivers.last() != Some(by) {
                    self.drivers.push(by.clone());
                }
            }
            EventKind::StepStarted {
                step,
                exposure,
                routes,
                ..
            } => {
                if self.weights.is_empty() {
                    self.weigh(self.began, share_of(routes, |change| &change.before));
                }
                self.expose(at, *exposure);
                self.close_step(at);
                self.steps.push(StepReport {
                    step: *step,
                    exposure: *exposure,
                    began: at,
                    ended: None,
                    step_counts: VersionCounts::default(),
                    verdict: None,
                });
            }
            EventKind::Analyzed {
                step,
                verdict,
                step_counts,
                mirror_counts,
                answers,
                evidence,
                ..
            } => {
                let counts = mirror_counts.unwrap_or(*step_counts);
                let evidence = evidence.as_deref();
                let weighed = |known: &Evidence| known.alone.unwrap_or(known.evidence).max(0.0);
                if let Some(look) = self.look(at, *step, *verdict, counts) {
                    look.answers.clone_from(answers);
                    look.evidence = evidence.map(weighed);
                    look.needed = evidence.map(|known| known.needed);
                }
            }
            EventKind::StepPassed {
                step_counts,
                mirror_counts,
                ..
            } => {
                self.count(mirror_counts.unwrap_or(*step_counts), Verdict::Healthy);
                self.close_step(at);
            }
            EventKind::Tripped {
                step_counts,
                mirror_counts,
                ..
            } => {
                self.count(mirror_counts.unwrap_or(*step_counts), Verdict::Regressed);
                self.expose(at, Exposure::NONE);
            }
            EventKind::Regressed {
                step_counts,
                mirror_counts,
                ..
            } => self.count(mirror_counts.unwrap_or(*step_counts), Verdict::Regressed),
            EventKind::FalseAlarm { exposure, .. } | EventKind::Promoted { exposure, .. } => {
                self.expose(at, *exposure);
            }
            EventKind::RolledBack {
                routes,
                total_counts,
                ..
            } => {
                self.weigh(at, share_of(routes, |change| &change.after));
                self.total_counts = total_counts.or(self.total_counts);
                self.close_step(at);
            }
            EventKind::Finished {
                stable,
                canary,
                exposure,
                total_counts,
                reasons,
                ..
            } => {
                self.stable = self.stable.take().or_else(|| stable.clone());
                self.canary = self.canary.take().or_else(|| canary.clone());
                self.exposure = *exposure;
                self.total_counts = total_counts.or(self.total_counts);
                self.reasons.clone_from(reasons);
                self.close_step(at);
            }
            EventKind::TrafficSeen { .. }
            | EventKind::Waiting { .. }
            | EventKind::Paused { .. }
            | EventKind::Resumed { .. }
            | EventKind::MetricsUnavailable { .. }
            | EventKind::MetricsBack { .. }
            | EventKind::NoVerdict { .. }
            | EventKind::HookStarted { .. }
            | EventKind::HookPassed { .. }
            | EventKind::HookFailed { .. }
            | EventKind::Drifted { .. }
            | EventKind::Retrying { .. }
            | EventKind::RollingBack { .. }
            | EventKind::Warning { .. } => {}
        }
    }

    fn expose(&mut self, at: Timestamp, exposure: Exposure) {
        self.exposure = exposure;
        self.weigh(at, exposure.share().share());
    }

    fn weigh(&mut self, at: Timestamp, share: f64) {
        let canary_percent = 100.0 * share;
        self.weights.push(WeightChange { at, canary_percent });
    }

    /// A look, with what it counted alone. Counts grow through a step, and begin again with another.
    fn look(
        &mut self,
        at: Timestamp,
        step: usize,
        verdict: Verdict,
        total: VersionCounts,
    ) -> Option<&mut Look> {
        let current = self.steps.last_mut()?;
        let before = std::mem::replace(&mut current.step_counts, total);
        current.verdict = Some(verdict);
        let began = current.began;
        let last = self.looks.last().map(|look| look.at);
        let since = last.map_or(began, |last| last.max(began));
        self.looks.push(Look {
            at,
            step,
            verdict,
            counts: total.since(before),
            seconds: at.duration_since(since).as_secs_f64(),
            answers: StepAnswers::default(),
            evidence: None,
            needed: None,
        });
        self.looks.last_mut()
    }

    fn count(&mut self, total: VersionCounts, verdict: Verdict) {
        if let Some(step) = self.steps.last_mut() {
            step.step_counts = total;
            step.verdict = Some(verdict);
        }
    }

    fn close_step(&mut self, at: Timestamp) {
        if let Some(step) = self.steps.last_mut() {
            step.ended.get_or_insert(at);
        }
    }
}

/// The canary's share by the weights of the first route.
fn share_of(routes: &[RouteChange], weights: fn(&RouteChange) -> &crate::istio::Weights) -> f64 {
    let mut shares = routes
        .iter()
        .filter_map(|change| change.canary_share(weights(change)));
    shares.next().unwrap_or_default().share()
}

/// The lines that a person would have read, with their time. Lines that go on with the one above do so here.
fn decisions(record: &RunRecord) -> Vec<LoggedDecision> {
    let mut formatter = EventFormatter::new(TimeZone::UTC, None);
    let mut decisions: Vec<LoggedDecision> = Vec::new();
    for event in record.events() {
        for line in formatter.tell(event) {
            if line.word == "next" {
                continue;
            }
            let goes_on = line.goes_on();
            let text = match line.place {
                Place::At(exposure) => format!("{exposure}: {}", line.text),
                Place::Gap | Place::None => line.text,
            };
            match decisions.last_mut() {
                Some(last) if goes_on && last.at == event.at => {
                    last.text = format!("{}; {text}", last.text);
                }
                _ => decisions.push(LoggedDecision {
                    at: event.at,
                    word: line.word,
                    text,
                    tone: line.tone,
                }),
            }
        }
    }
    decisions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;
    use crate::rollout::Cause;
    use crate::verdict::Counts;

    #[test]
    fn a_record_comes_to_its_steps_weights_and_end() {
        let report = test_events::regression_report();
        assert_eq!(report.outcome, Some(Outcome::RolledBack(Cause::Regression)));
        assert_eq!(report.versions().canary, "v2");
        assert_eq!(report.drivers, ["alice@desk"]);
        let last = report.steps.last().unwrap();
        assert_eq!(last.verdict, Some(Verdict::Regressed));
        assert!(report.steps.iter().all(|step| step.ended.is_some()));
        // Before, during, and after the rollback.
        let weights: Vec<_> = report
            .weights
            .iter()
            .map(|change| change.canary_percent)
            .collect();
        assert_eq!(weights.first(), Some(&0.0));
        assert_eq!(weights.last(), Some(&0.0));
        assert!(weights.iter().any(|percent| *percent > 0.0), "{weights:?}");
        let words: Vec<_> = report
            .decisions
            .iter()
            .map(|said| said.word.as_str())
            .collect();
        assert!(words.contains(&"regressed"), "{words:?}");
    }

    #[test]
    fn looks_count_what_came_since_the_last() {
        let counts = |requests, failures| Counts { requests, failures };
        assert_eq!(counts(15, 2).since(counts(10, 2)), counts(5, 0));
        assert_eq!(counts(4, 1).since(counts(10, 2)), counts(4, 1));
    }
}
