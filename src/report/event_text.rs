//! The one place where an event becomes lines of text.

use std::mem::discriminant;

use jiff::SignedDuration;

use super::event_formatter::{EventText, RolloutMemory};
use super::line::Place;
use super::palette::Tone;
use super::phrase::{self, ToldWeights, Versions};
use super::reason_text;
use super::recent_traffic::image_tag;
use crate::metrics::MetricsWarning;
use crate::number::grouped;
use crate::plan::{
    AfterRegression, Exposure, HumanDuration, OnDrift, OnHookFailure, OnStuck, PlannedStep,
};
use crate::report::{escape, forecast};
use crate::rollout::{EventKind, Outcome, Reason, RouteChange, VersionCounts};
use crate::verdict::Verdict;

impl EventText<'_> {
    pub(super) fn tell(&mut self) {
        match &self.event.event {
            kind @ EventKind::Planned { .. } => self.planned(kind),
            EventKind::StepStarted {
                step,
                step_count,
                exposure,
                routes,
                took_millis: _,
            } => {
                self.begin(*exposure);
                let text = self.memory.told.changes(routes);
                self.say(
                    &format!("step {step}/{step_count}"),
                    Tone::Strong,
                    Some(*exposure),
                    text,
                );
            }
            EventKind::TrafficSeen { exposure, seen } => {
                let (stable, arrived) = (seen.stable.requests, seen.canary.requests);
                let canary = &self.memory.versions.canary;
                let text = match exposure {
                    Exposure::Mirror(_) => format!(
                        "{canary} is receiving mirrored requests: {} of {}",
                        grouped(arrived),
                        grouped(stable)
                    ),
                    Exposure::Share(_) | Exposure::Testers => format!(
                        "{canary} is receiving traffic: {} of {} requests",
                        grouped(arrived),
                        grouped(arrived + stable)
                    ),
                };
                self.say("traffic", Tone::Plain, Some(*exposure), text);
            }
            kind @ EventKind::Analyzed { .. } => self.looked(kind),
            EventKind::StepPassed {
                step: _,
                exposure,
                step_counts,
                mirror_counts,
                reasons,
            } => self.passed(*exposure, (*step_counts, *mirror_counts), reasons),
            EventKind::Tripped {
                exposure,
                step_counts,
                mirror_counts,
                reasons,
                took_millis,
            } => {
                self.memory.tripped = true;
                self.memory.told = ToldWeights::default();
                let text = phrase::clauses([
                    Some(self.memory.versions.counts(*step_counts, *mirror_counts)),
                    self.joined(reasons),
                    Some(format!(
                        "{} {} in {}",
                        self.memory.versions.canary,
                        match mirror_counts {
                            None => "set to 0 %",
                            Some(_) => "gets no mirrored requests",
                        },
                        millis(*took_millis)
                    )),
                ]);
                self.say("regressed", Tone::Bad, Some(*exposure), text);
                self.memory.exposure = Some(Exposure::NONE);
            }
            EventKind::FalseAlarm { exposure, reasons } => {
                self.begin(*exposure);
                let text = phrase::clauses([
                    self.joined(reasons),
                    Some(format!(
                        "{} back at {exposure}",
                        self.memory.versions.canary
                    )),
                ]);
                self.say("false alarm", Tone::Good, Some(*exposure), text);
            }
            EventKind::Regressed {
                exposure,
                step_counts,
                mirror_counts,
                reasons,
            } => self.regressed(*exposure, (*step_counts, *mirror_counts), reasons),
            EventKind::Waiting { exposure, reasons } => {
                let text = self.joined(reasons).unwrap_or_default();
                self.say("waiting", Tone::Caution, Some(*exposure), text);
                self.next(self.command("promote"));
            }
            EventKind::Paused { by } => {
                let text = format!("requested by {}", escape(by));
                self.say("paused", Tone::Caution, self.memory.exposure, text);
                self.next(self.command("resume"));
            }
            EventKind::Resumed { by } => {
                let text = format!("requested by {}", escape(by));
                self.say("resumed", Tone::Plain, self.memory.exposure, text);
            }
            EventKind::Promoted { by, exposure } => {
                let text = format!("requested by {}", escape(by));
                self.say("promote", Tone::Strong, Some(*exposure), text);
            }
            EventKind::MetricsUnavailable { why, lasted, grace } => {
                let reason = Reason::MetricsUnusable(why.clone());
                if self.is_news(Verdict::MetricsUnavailable, std::slice::from_ref(&reason)) {
                    let why = reason_text::reason(&reason, &self.memory.versions);
                    let text = format!("{why}; {lasted} of {grace} allowed");
                    self.say("no metrics", Tone::Caution, self.memory.exposure, text);
                }
            }
            EventKind::MetricsBack { after } => {
                self.memory.given.clear();
                self.say(
                    "metrics",
                    Tone::Good,
                    self.memory.exposure,
                    format!("available again after {after}"),
                );
            }
            EventKind::NoVerdict { reasons, policy } => {
                self.memory.undecided = true;
                let then = match policy {
                    OnStuck::Rollback => "rolling back",
                    OnStuck::Hold => "holding the current weight",
                    OnStuck::Promote => "continuing without a verdict, as requested",
                };
                let text = phrase::clauses([self.joined(reasons), Some(then.to_owned())]);
                self.say("no verdict", Tone::Caution, self.memory.exposure, text);
            }
            EventKind::HookStarted { exposure, .. } => {
                let text = format!("running the command before {exposure}");
                self.say("before step", Tone::Plain, self.memory.exposure, text);
            }
            EventKind::HookPassed {
                exposure,
                took_millis,
                ..
            } => {
                let text = format!(
                    "the command before {exposure} succeeded in {}",
                    millis(*took_millis)
                );
                self.say("before step", Tone::Good, self.memory.exposure, text);
            }
            EventKind::HookFailed {
                exposure,
                why,
                policy,
                ..
            } => {
                let (tone, then) = match policy {
                    OnHookFailure::Rollback => (Tone::Bad, "rolling back"),
                    OnHookFailure::Hold => (Tone::Caution, "paused at the current weight"),
                };
                let why = escape(why);
                let text = format!("{}; {then}", reason_text::hook_failed(*exposure, &why));
                self.say("before step", tone, self.memory.exposure, text);
                if *policy == OnHookFailure::Hold {
                    self.next(self.command("resume"));
                }
            }
            EventKind::Drifted {
                manager,
                drift,
                policy,
            } => {
                let then = match policy {
                    OnDrift::Stop => "stopping, nothing overwritten",
                    OnDrift::Rollback => "restoring the original weights, as requested",
                    OnDrift::Reassert => "setting the step's weights again, as requested",
                };
                let manager = match manager.as_str() {
                    "" => "an unknown field manager".into(),
                    name => escape(name),
                };
                let text = format!(
                    "changed by {manager}: {}; {then}",
                    escape(&drift.to_string())
                );
                self.memory.told = ToldWeights::default();
                self.say("drift", Tone::Bad, self.memory.exposure, text);
            }
            EventKind::Retrying {
                what,
                why,
                attempt,
                manual,
            } => {
                let text = format!("{}: {}; attempt {attempt}", escape(what), escape(why));
                self.say("retrying", Tone::Caution, self.memory.exposure, text);
                if let Some(command) = manual {
                    self.add("manually", Tone::Bad, escape(command).into());
                }
            }
            EventKind::RollingBack { cause, exposure } => {
                let text = format!("{cause}; {} is at {exposure}", self.memory.versions.canary);
                self.head("rolling back", Tone::Bad, Place::Gap, text);
            }
            EventKind::RolledBack {
                cause: _,
                after,
                routes,
                took_millis,
                total_counts,
            } => self.rolled_back(*after, routes, *took_millis, *total_counts),
            EventKind::Warning { text } => {
                self.head("warning", Tone::Caution, Place::Gap, escape(text).into());
            }
            kind @ EventKind::Finished { .. } => self.finished(kind),
        }
    }

    fn joined(&self, reasons: &[Reason]) -> Option<String> {
        reason_text::joined(reasons, &self.memory.versions)
    }

    fn planned(&mut self, kind: &EventKind) {
        let EventKind::Planned {
            stable,
            canary,
            stable_pods,
            canary_pods,
            routes,
            left_behind,
            steps,
            prometheus,
            expected,
            requests_per_second,
            power,
            resumed_from,
            by: _,
            on_signal: _,
        } = kind
        else {
            return;
        };
        *self.memory = RolloutMemory {
            versions: Versions {
                stable: escape(stable).into(),
                canary: escape(canary).into(),
            },
            ..RolloutMemory::default()
        };
        let text = format!(
            "{} {} {} -> {} at {}",
            self.object,
            phrase::routes(routes),
            self.memory.versions.stable,
            self.memory.versions.canary,
            phrase::ladder(&PlannedStep::exposures(steps))
        );
        let text = phrase::clauses([Some(text), forecast::brief(*expected, *requests_per_second)]);
        match resumed_from {
            None => self.head("plan", Tone::Strong, Place::None, text),
            Some(holder) => {
                let text = format!("{text}; taken over from {}", escape(holder));
                self.head("resume", Tone::Strong, Place::None, text);
            }
        }
        let skipped = steps.iter().filter(|step| step.skipped);
        let skipped: Vec<_> = skipped.copied().collect();
        if !skipped.is_empty() {
            let text = format!(
                "{}: {} already has it",
                phrase::ladder(&PlannedStep::exposures(&skipped)),
                self.memory.versions.canary
            );
            self.add("skipped", Tone::Plain, text);
        }
        if !left_behind.is_empty() {
            let text = format!(
                "{} stays on {}",
                phrase::routes(left_behind),
                self.memory.versions.stable
            );
            self.add("excluded", Tone::Caution, text);
        }
        let versions = &self.memory.versions;
        let pods = [
            (&versions.stable, stable_pods),
            (&versions.canary, canary_pods),
        ];
        let pods = pods.map(|(version, pods)| {
            let pods = pods.as_ref().filter(|pods| pods.pods > 0)?;
            let (ready, of, image) = (pods.ready, pods.pods, image_tag(pods));
            Some(format!("{version} {image}, {ready}/{of} ready"))
        });
        let pods = phrase::clauses(pods);
        if !pods.is_empty() {
            self.add("pods", Tone::Plain, pods);
        }
        if let Some(power) = power {
            let text = forecast::detects(power, power.example);
            self.add("detects", Tone::Plain, text);
        }
        self.add("metrics", Tone::Plain, escape(prometheus).into());
    }

    fn looked(&mut self, kind: &EventKind) {
        let EventKind::Analyzed {
            step: _,
            step_count: _,
            answers: _,
            evidence: _,
            exposure,
            verdict,
            step_counts,
            mirror_counts,
            reasons,
            warnings,
            sample_age_millis,
            canary_pods: _,
            warm_at: _,
        } = kind
        else {
            return;
        };
        self.warn_of_metrics(warnings);
        if !self.is_news(*verdict, reasons) {
            return;
        }
        let old = sample_age_millis.filter(|age| *age >= 60_000);
        let label = phrase::so_far(*verdict);
        let text = phrase::clauses([
            Some(self.memory.versions.counts(*step_counts, *mirror_counts)),
            Some(match self.joined(reasons) {
                Some(reasons) => format!("{label}: {reasons}"),
                None => label.to_owned(),
            }),
            old.map(|age| format!("newest sample {} old", duration(age / 1000 * 1000))),
        ]);
        let tone = match verdict {
            Verdict::Healthy => Tone::Good,
            Verdict::Regressed => Tone::Bad,
            Verdict::NotEnoughData => Tone::Plain,
            Verdict::MetricsUnavailable => Tone::Caution,
        };
        self.say("analyzing", tone, Some(*exposure), text);
    }

    /// What limits the metrics is said once, when it begins; the numbers in it are no news.
    fn warn_of_metrics(&mut self, warnings: &[MetricsWarning]) {
        let given = self.memory.warned.clone();
        let is_news = |warning: &&MetricsWarning| !given.contains(&discriminant(*warning));
        for warning in warnings.iter().filter(is_news) {
            let text = escape(&warning.to_string()).into_owned();
            self.head("metrics", Tone::Caution, Place::Gap, text);
            self.memory.warned.push(discriminant(warning));
        }
    }

    fn passed(
        &mut self,
        exposure: Exposure,
        (step_counts, mirror_counts): (VersionCounts, Option<VersionCounts>),
        reasons: &[Reason],
    ) {
        let text = phrase::clauses([
            Some(self.memory.versions.counts(step_counts, mirror_counts)),
            self.joined(reasons),
        ]);
        // Who went on for want of a verdict, or without a request, was not found healthy.
        let judged = mirror_counts.unwrap_or(step_counts).canary.requests > 0
            && exposure != Exposure::Testers;
        if self.memory.undecided || !judged {
            self.say("passed", Tone::Caution, Some(exposure), text);
        } else {
            self.say("healthy", Tone::Good, Some(exposure), text);
        }
    }

    fn regressed(
        &mut self,
        exposure: Exposure,
        (step_counts, mirror_counts): (VersionCounts, Option<VersionCounts>),
        reasons: &[Reason],
    ) {
        let counts = self.memory.versions.counts(step_counts, mirror_counts);
        // The counts were told when it tripped, and the canary has had nothing since.
        if self.memory.tripped {
            let text = self.joined(reasons).unwrap_or(counts);
            self.say("confirmed", Tone::Bad, Some(Exposure::NONE), text);
        } else {
            let text = phrase::clauses([Some(counts), self.joined(reasons)]);
            self.say("regressed", Tone::Bad, Some(exposure), text);
        }
    }

    fn rolled_back(
        &mut self,
        after: AfterRegression,
        routes: &[RouteChange],
        took: u64,
        total_counts: Option<VersionCounts>,
    ) {
        self.memory.rolled_back = true;
        self.memory.exposure = None;
        let object = &self.object;
        let (weights, took) = (phrase::restored(routes), millis(took));
        let state = match after {
            AfterRegression::Original => {
                format!("{object}: original weights{weights} restored and verified in {took}")
            }
            AfterRegression::Zero => format!(
                "{object}: all traffic on {},{weights} verified in {took}",
                self.memory.versions.stable
            ),
        };
        let harm = self.memory.versions.harm(total_counts);
        let text = phrase::clauses([Some(state), harm]);
        self.head("rolled back", Tone::Strong, Place::Gap, text);
    }

    fn finished(&mut self, kind: &EventKind) {
        let EventKind::Finished {
            outcome,
            stable,
            canary,
            exposure,
            took,
            total_counts,
            reasons,
            next,
        } = kind
        else {
            return;
        };
        let object = self.object.clone();
        if let (Some(stable), Some(canary)) = (stable, canary) {
            self.memory.versions = Versions {
                stable: escape(stable).into(),
                canary: escape(canary).into(),
            };
        }
        let canary = self.memory.versions.canary.clone();
        let exposure = *exposure;
        let mut next = next.clone();
        match outcome {
            Outcome::Promoted => {
                let text = phrase::clauses([
                    Some(format!(
                        "{object}: all traffic on {canary} after {}",
                        took.whole_seconds()
                    )),
                    self.memory.versions.harm(*total_counts),
                ]);
                self.say("promoted", Tone::Good, Some(exposure), text);
            }
            Outcome::AlreadyPromoted => {
                let text = format!("{object}: all traffic was on {canary} already");
                self.say("promoted", Tone::Good, Some(exposure), text);
            }
            Outcome::StepPassed => {
                let text = format!("{object}: step passed, holding at {exposure}");
                self.say("step done", Tone::Good, Some(exposure), text);
            }
            Outcome::StepSet => {
                let text = format!("{object}: holding at {exposure}, not analyzed");
                self.say("step set", Tone::Caution, Some(exposure), text);
            }
            Outcome::RolledBack(cause) => {
                // The line with the facts was written when the weights were read back.
                if !self.memory.rolled_back {
                    let text = format!("{object}: {cause}");
                    self.head("rolled back", Tone::Strong, Place::Gap, text);
                }
            }
            Outcome::Held => {
                let text = format!("{object}: holding at {exposure} until promote or abort");
                self.say("held", Tone::Caution, Some(exposure), text);
            }
            Outcome::Drifted => {
                let text = format!("{object} was changed by another client; nothing overwritten");
                self.head("stopped", Tone::Bad, Place::Gap, text);
            }
            Outcome::TakenOver => {
                let text = format!("{object} is driven by another process now");
                self.head("taken over", Tone::Caution, Place::Gap, text);
            }
            Outcome::RollbackFailed => {
                let text = format!(
                    "{object}: original weights NOT restored; traffic needs manual attention"
                );
                self.head("ROLLBACK FAILED", Tone::Bad, Place::Gap, text);
                next = next.or_else(|| Some(self.command("abort")));
            }
            Outcome::Interrupted => {
                let text = format!("{object} is unchanged");
                self.head("interrupted", Tone::Caution, Place::Gap, text);
            }
        }
        for reason in reasons {
            let text = reason_text::reason(reason, &self.memory.versions);
            self.add("reason", Tone::Plain, text);
        }
        if let Some(command) = next {
            self.next(escape(&command).into());
        }
    }
}

/// How long a write took: `18ms`, `1.8s`, `1m2s`.
fn millis(millis: u64) -> String {
    match millis {
        0..1000 => duration(millis),
        1000..60_000 => duration(millis / 100 * 100),
        _ => duration(millis / 1000 * 1000),
    }
    .to_string()
}

fn duration(millis: u64) -> HumanDuration {
    SignedDuration::from_millis(millis as i64).into()
}

#[cfg(test)]
mod tests;
