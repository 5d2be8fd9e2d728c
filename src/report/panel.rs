//! What is known of a rollout while it is watched in place. How that looks is in `panel_rows`.

use jiff::Timestamp;

use super::phrase::{self, Versions};
use super::recent_traffic::RecentTraffic;
use super::{Tone, escape, reason_text};
use crate::plan::{AfterRegression, Exposure, OnHookFailure, OnSignal, Percent, PlannedStep};
use crate::rollout::{Event, EventKind, PodSummary, Reason, RouteChange};
use crate::verdict::sequential::{AnalysisState, Evidence, Hold};
use crate::verdict::{AnalysisReason, Verdict};

/// The panel of one rollout, fed by its events. Everything in it was or will be told in a line too.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) owner: (String, String),
    pub(super) versions: Versions,
    /// What runs of stable, as it was at the start, and of the canary.
    pub(super) stable_pods: Option<PodSummary>,
    pub(super) canary_pods: Option<PodSummary>,
    pub(super) steps: Vec<PlannedStep>,
    /// The current step, from 1; 0 before the first.
    pub(super) step: usize,
    pub(super) exposure: Exposure,
    /// The weights of the first route, as far as they were told.
    pub(super) weights: Option<String>,
    /// When the step began.
    pub(super) since: Timestamp,
    /// When 100 % is expected.
    pub(super) expected: Option<Timestamp>,
    pub(super) on_signal: OnSignal,
    pub(super) traffic: RecentTraffic,
    /// Towards rollback and promotion, 0 to 1, where the analysis weighs evidence.
    pub(super) nearness: Option<[f64; 2]>,
    pub(super) standing: PanelStanding,
    pub(super) tone: Tone,
    /// What was told last.
    pub(super) note: String,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PanelStanding {
    /// Whatever the metrics say next.
    Analyzing,
    /// The canary has only begun to serve; about until then.
    WarmingUp(Option<Timestamp>),
    /// The step does not go on although time passes, for this reason.
    OnHold(String),
    Waiting,
    PausedBy(String),
    /// The user's command before the next step ends.
    RunningHook(Exposure),
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
            stable_pods: None,
            canary_pods: None,
            steps: Vec::new(),
            step: 0,
            exposure: Exposure::NONE,
            weights: None,
            since: event.at,
            expected: None,
            on_signal: OnSignal::Rollback,
            traffic: RecentTraffic::new(event.at),
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
                stable_pods,
                canary_pods,
                steps,
                expected,
                on_signal,
                ..
            } => {
                self.stable_pods.clone_from(stable_pods);
                self.canary_pods.clone_from(canary_pods);
                self.expected = expected.and_then(|time| event.at.checked_add(time.signed()).ok());
                self.on_signal = *on_signal;
                self.versions = Versions {
                    stable: escape(stable).into(),
                    canary: escape(canary).into(),
                };
                self.steps.clone_from(steps);
                self.note(Tone::Plain, "starting");
            }
            EventKind::StepStarted {
                step,
                exposure,
                routes,
                ..
            } => {
                self.step = *step;
                self.weights = weights(routes);
                self.begin(*exposure, event.at);
                self.note(Tone::Plain, "waiting for the first requests");
            }
            EventKind::TrafficSeen { seen, .. } => {
                self.traffic.look(event.at, *seen);
                self.note(Tone::Plain, phrase::so_far(Verdict::NotEnoughData));
            }
            EventKind::Analyzed {
                step,
                verdict,
                step_counts,
                mirror_counts,
                answers,
                reasons,
                evidence,
                canary_pods,
                warm_at,
                ..
            } => {
                self.step = *step;
                let counts = mirror_counts.unwrap_or(*step_counts);
                self.traffic.look(event.at, counts);
                self.traffic.answered(answers);
                if canary_pods.is_some() {
                    self.canary_pods.clone_from(canary_pods);
                }
                self.weigh(evidence.as_deref(), *warm_at);
                let tone = match verdict {
                    Verdict::Healthy => Tone::Good,
                    Verdict::Regressed => Tone::Bad,
                    Verdict::NotEnoughData => Tone::Plain,
                    Verdict::MetricsUnavailable => Tone::Caution,
                };
                // What does not go on is not called healthy, however good it looks.
                let is_said = self.standing == PanelStanding::Analyzing
                    || matches!(verdict, Verdict::Regressed | Verdict::MetricsUnavailable);
                let label = is_said.then(|| phrase::so_far(*verdict));
                let reasons = self.without_standing(reasons);
                let words = [label.map(str::to_owned), reasons];
                let words: Vec<_> = words.into_iter().flatten().collect();
                self.note(tone, words.join(": "));
            }
            EventKind::StepPassed {
                step_counts,
                mirror_counts,
                ..
            } => {
                self.traffic.set(mirror_counts.unwrap_or(*step_counts));
                self.note(Tone::Good, "step passed");
            }
            EventKind::Tripped {
                step_counts,
                mirror_counts,
                ..
            } => {
                self.traffic.set(mirror_counts.unwrap_or(*step_counts));
                self.exposure = Exposure::NONE;
                self.weights = None;
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
                    format!("false alarm; {canary} is back at {exposure}"),
                );
            }
            EventKind::Regressed {
                step_counts,
                mirror_counts,
                ..
            } => {
                self.traffic.set(mirror_counts.unwrap_or(*step_counts));
                self.note(Tone::Bad, "regression confirmed");
            }
            EventKind::Waiting { reasons, .. } => {
                self.standing = PanelStanding::Waiting;
                let reasons = self.without_standing(reasons);
                self.note(Tone::Caution, reasons.unwrap_or_default());
            }
            EventKind::Paused { by } => {
                self.standing = PanelStanding::PausedBy(escape(by).into_owned());
                self.note(Tone::Caution, "");
            }
            EventKind::Resumed { by } => {
                self.standing = PanelStanding::Analyzing;
                self.note(Tone::Plain, format!("resumed by {}", escape(by)));
            }
            EventKind::Promoted { by, exposure } => {
                self.exposure = *exposure;
                self.weights = None;
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
            EventKind::HookStarted { exposure, .. } => {
                self.standing = PanelStanding::RunningHook(*exposure);
            }
            EventKind::HookPassed { exposure, .. } => {
                self.standing = PanelStanding::Analyzing;
                let text = format!("the command before {exposure} succeeded");
                self.note(Tone::Good, text);
            }
            EventKind::HookFailed {
                exposure,
                why,
                policy,
                ..
            } => {
                self.standing = match policy {
                    OnHookFailure::Rollback => PanelStanding::Analyzing,
                    OnHookFailure::Hold => PanelStanding::PausedBy("--before-step".into()),
                };
                let text = reason_text::hook_failed(*exposure, &escape(why));
                self.note(Tone::Bad, text);
            }
            EventKind::Drifted { drift, .. } => {
                // It ends with whatever else there is to do.
                if let PanelStanding::RunningHook(_) = self.standing {
                    self.standing = PanelStanding::Analyzing;
                }
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
                self.weights = weights(routes);
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
        self.traffic.begin(now);
        self.nearness = Some([0.0; 2]);
        self.standing = PanelStanding::Analyzing;
    }

    /// What the evidence says; what people decided outlasts it.
    fn weigh(&mut self, evidence: Option<&Evidence>, warm_at: Option<Timestamp>) {
        self.nearness = evidence.map(|known| [known.towards_rollback(), known.towards_promotion()]);
        if !self.is_moving() || matches!(self.standing, PanelStanding::RunningHook(_)) {
            return;
        }
        self.standing = match evidence.map(|known| known.state) {
            Some(AnalysisState::Held(Hold::WarmingUp)) => PanelStanding::WarmingUp(warm_at),
            // As each step begins, for a moment.
            Some(AnalysisState::Held(Hold::Mixed)) => PanelStanding::Analyzing,
            Some(AnalysisState::Held(hold)) => {
                let reason = AnalysisReason::OnHold { hold }.into();
                PanelStanding::OnHold(reason_text::reason(&reason, &self.versions))
            }
            _ => PanelStanding::Analyzing,
        };
    }

    /// Whether time brings the rollout on.
    pub(super) fn is_moving(&self) -> bool {
        match self.standing {
            PanelStanding::Analyzing
            | PanelStanding::WarmingUp(_)
            | PanelStanding::OnHold(_)
            | PanelStanding::RunningHook(_) => true,
            PanelStanding::Waiting
            | PanelStanding::PausedBy(_)
            | PanelStanding::Tripped
            | PanelStanding::RollingBack => false,
        }
    }

    /// Reasons in words, without those that say what is waited for.
    fn without_standing(&self, reasons: &[Reason]) -> Option<String> {
        let is_standing = |reason: &Reason| match reason {
            Reason::StepPassed | Reason::WaitsForPromote => true,
            Reason::Analysis(AnalysisReason::OnHold { .. }) => {
                matches!(
                    self.standing,
                    PanelStanding::WarmingUp(_) | PanelStanding::OnHold(_)
                )
            }
            _ => false,
        };
        let left: Vec<_> = reasons
            .iter()
            .filter(|reason| !is_standing(reason))
            .cloned()
            .collect();
        reason_text::joined(&left, &self.versions)
    }

    fn note(&mut self, tone: Tone, note: impl Into<String>) {
        self.tone = tone;
        self.note = note.into();
    }
}

/// The weights of the first route after a change.
fn weights(routes: &[RouteChange]) -> Option<String> {
    let first = routes.first()?;
    Some(phrase::weights(&first.after, first.stable, first.canary))
}
