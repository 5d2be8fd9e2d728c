//! Events for the tests of this module.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{LineStyle, Lines, Palette, RunReport};
use crate::history::RunRecord;
use crate::istio::RouteDifference;
use crate::plan::{
    AfterRegression, DetectedRegression, Exposure, HumanDuration, MetricPower, OnDrift,
    OnHookFailure, OnSignal, OnStuck, Percent, PlannedStep,
};
use crate::rollout::{
    Cause, Event, EventKind, Observer, Outcome, PodSummary, Reason, RouteChange, StepAnswers,
    Unusable, VersionCounts,
};
use crate::verdict::sequential::{Hold, Subject};
use crate::verdict::{self, Counts, Slow, Verdict};

/// An event of `shop/reviews`, that many seconds after noon.
pub(super) fn event(seconds: i64, event: EventKind) -> Event {
    let noon: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    Event {
        version: 1,
        at: noon + jiff::SignedDuration::from_secs(seconds),
        namespace: "shop".into(),
        name: "reviews".into(),
        run: "0198c0de".into(),
        event,
    }
}

/// Failures and requests of canary and stable.
pub(super) fn version_counts(canary: (u64, u64), stable: (u64, u64)) -> VersionCounts {
    let counts = |(failures, requests)| Counts { requests, failures };
    VersionCounts {
        stable: counts(stable),
        canary: counts(canary),
    }
}

/// A route of two destinations, stable first.
pub(super) fn change(route: &str, before: [i64; 2], after: [i64; 2]) -> RouteChange {
    RouteChange {
        route: route.into(),
        before: before.map(Some).to_vec(),
        after: after.map(Some).to_vec(),
        stable: 0,
        canary: 1,
    }
}

/// Pods of a version that run one image.
pub(super) fn pods(ready: usize, pods: usize, image: &str) -> PodSummary {
    PodSummary {
        pods,
        ready,
        images: vec![image.to_owned()],
    }
}

pub(super) fn planned() -> EventKind {
    EventKind::Planned {
        stable: "v1".into(),
        canary: "v2".into(),
        stable_pods: Some(pods(3, 3, "registry.example/reviews:1.4.2")),
        canary_pods: Some(pods(2, 2, "registry.example/reviews:1.5.0")),
        routes: vec!["http[primary]".into()],
        left_behind: vec![],
        steps: [1, 10, 50, 100]
            .map(|step| PlannedStep {
                exposure: Exposure::Share(Percent::whole(step)),
                hold: HumanDuration::minutes(1),
                pause: false,
                skipped: false,
            })
            .to_vec(),
        prometheus: "istio-system/prometheus:9090".into(),
        expected: Some("9m4s".parse().unwrap()),
        requests_per_second: Some(212.4),
        power: Some(MetricPower {
            subject: Subject::Failures,
            smallest: Some(0.002),
            example: Some(DetectedRegression {
                excess: 0.01,
                after: "4m4s".parse().unwrap(),
                bad: 9.2,
            }),
        }),
        resumed_from: None,
        by: "alice@desk".into(),
        on_signal: OnSignal::Rollback,
    }
}

pub(super) fn step(step: usize, weight: u32, before: [i64; 2], after: [i64; 2]) -> EventKind {
    EventKind::StepStarted {
        step,
        step_count: 4,
        exposure: Exposure::Share(Percent::whole(weight)),
        routes: vec![change("http[primary]", before, after)],
        took_millis: 12,
    }
}

/// The canary is at most 1.5 times as bad as stable, plus this share.
pub(super) fn bounded(excess: f64) -> Reason {
    Reason::Analysis(verdict::AnalysisReason::Bounded {
        subject: Subject::Failures,
        ratio: 1.5,
        excess,
        confidence: 0.95,
    })
}

pub(super) fn unbounded() -> Reason {
    let subject = Subject::Failures;
    Reason::Analysis(verdict::AnalysisReason::Unbounded { subject })
}

pub(super) fn evidence(evidence: f64) -> Reason {
    let needed = 4.6;
    Reason::Analysis(verdict::AnalysisReason::RegressionEvidence {
        subject: Subject::Failures,
        evidence,
        needed,
    })
}

pub(super) fn no_verdict() -> Vec<Reason> {
    let after = "1h".parse().ok();
    vec![Reason::NoVerdict { after }, unbounded()]
}

pub(super) fn refused() -> Unusable {
    Unusable::NoAnswer {
        error: "unreachable".into(),
        message: "connection refused".into(),
    }
}

/// A hundredth of either version's requests was refused; stable is within 25 ms, the canary within 250 ms.
pub(super) fn answers(counts: VersionCounts) -> StepAnswers {
    let part = |of: Counts, parts: u64| Counts {
        failures: of.requests.div_ceil(parts),
        ..of
    };
    let slow = |bound_ms, stable, canary| Slow {
        bound_ms,
        stable: part(counts.stable, stable),
        canary: part(counts.canary, canary),
    };
    StepAnswers {
        refused: Some(VersionCounts {
            stable: part(counts.stable, 100),
            canary: part(counts.canary, 100),
        }),
        slow: vec![
            slow(10.0, 4, 2),
            slow(25.0, 200, 10),
            slow(250.0, 2000, 500),
        ],
    }
}

pub(super) fn looked(
    step: usize,
    weight: u32,
    verdict: Verdict,
    step_counts: VersionCounts,
    reason: Reason,
) -> EventKind {
    EventKind::Analyzed {
        step,
        step_count: 4,
        exposure: Exposure::Share(Percent::whole(weight)),
        verdict,
        step_counts,
        mirror_counts: None,
        answers: answers(step_counts),
        reasons: vec![reason],
        evidence: None,
        warnings: Vec::new(),
        sample_age_millis: Some(900),
        canary_pods: None,
        warm_at: None,
    }
}

pub(super) fn finished(outcome: Outcome, weight: u32, next: Option<&str>) -> EventKind {
    EventKind::Finished {
        outcome,
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        exposure: Exposure::Share(Percent::whole(weight)),
        took: "2m".parse().unwrap(),
        total_counts: Some(version_counts((64, 452), (17, 18_533))),
        reasons: vec![evidence(9.8)],
        next: next.map(str::to_owned),
    }
}

/// A regression at the second step, from the start to the end.
pub(crate) fn regression() -> Vec<Event> {
    let ten = Percent::whole(10);
    vec![
        event(0, planned()),
        event(0, step(1, 1, [100, 0], [99, 1])),
        event(
            4,
            EventKind::TrafficSeen {
                exposure: Exposure::Share(Percent::whole(1)),
                seen: version_counts((0, 2), (0, 212)),
            },
        ),
        event(
            5,
            looked(
                1,
                1,
                Verdict::NotEnoughData,
                version_counts((0, 2), (0, 212)),
                unbounded(),
            ),
        ),
        event(
            75,
            EventKind::StepPassed {
                step: 1,
                exposure: Exposure::Share(Percent::whole(1)),
                step_counts: version_counts((0, 151), (14, 15_722)),
                mirror_counts: None,
                reasons: vec![bounded(0.004)],
            },
        ),
        event(75, step(2, 10, [99, 1], [90, 10])),
        event(
            105,
            EventKind::Tripped {
                exposure: Exposure::Share(ten),
                step_counts: version_counts((64, 301), (3, 2_811)),
                mirror_counts: None,
                reasons: vec![],
                took_millis: 18,
            },
        ),
        event(
            120,
            EventKind::Regressed {
                exposure: Exposure::Share(ten),
                step_counts: version_counts((64, 301), (3, 2_811)),
                mirror_counts: None,
                reasons: vec![evidence(9.8)],
            },
        ),
        event(
            120,
            EventKind::RollingBack {
                cause: Cause::Regression,
                exposure: Exposure::Share(Percent::ZERO),
            },
        ),
        event(
            120,
            EventKind::RolledBack {
                cause: Cause::Regression,
                after: AfterRegression::Original,
                routes: vec![change("http[primary]", [100, 0], [100, 0])],
                took_millis: 21,
                total_counts: Some(version_counts((64, 452), (17, 18_533))),
            },
        ),
        event(
            120,
            finished(
                Outcome::RolledBack(Cause::Regression),
                0,
                Some("kubectl canary report reviews -n shop"),
            ),
        ),
    ]
}

/// The report on [`regression`].
pub(super) fn regression_report() -> RunReport {
    let mut events = regression().into_iter();
    let mut record = RunRecord::begin(events.next().unwrap());
    events.for_each(|event| record.push(event));
    RunReport::of(&record)
}

/// One event of every kind; a new kind does not compile until it is added here.
pub(crate) fn every_kind() -> Vec<Event> {
    let ten = Percent::whole(10);
    let fifty = Exposure::Share(Percent::whole(50));
    let mut events = regression();
    let others = [
        EventKind::FalseAlarm {
            exposure: Exposure::Share(ten),
            reasons: vec![
                verdict::AnalysisReason::OnHold {
                    hold: Hold::Incident,
                }
                .into(),
            ],
        },
        EventKind::Waiting {
            exposure: Exposure::Share(ten),
            reasons: vec![Reason::StepPassed],
        },
        EventKind::Paused {
            by: "ada@laptop".into(),
        },
        EventKind::Resumed {
            by: "ada@laptop".into(),
        },
        EventKind::Promoted {
            by: "ada@laptop".into(),
            exposure: fifty,
        },
        EventKind::MetricsUnavailable {
            why: refused(),
            lasted: "30s".parse().unwrap(),
            grace: "2m".parse().unwrap(),
        },
        EventKind::MetricsBack {
            after: "45s".parse().unwrap(),
        },
        EventKind::NoVerdict {
            reasons: no_verdict(),
            policy: OnStuck::Rollback,
        },
        EventKind::HookStarted {
            step: 3,
            exposure: fifty,
        },
        EventKind::HookPassed {
            step: 3,
            exposure: fifty,
            took_millis: 2_400,
        },
        EventKind::HookFailed {
            step: 3,
            exposure: fifty,
            why: "failed (exit status: 1)".into(),
            policy: OnHookFailure::Hold,
        },
        EventKind::Drifted {
            manager: "kubectl-edit".into(),
            drift: RouteDifference::Weights {
                route: "http[primary]".into(),
                found: vec![Some(80), Some(20)],
                expected: vec![Some(90), Some(10)],
            }
            .into(),
            policy: OnDrift::Stop,
        },
        EventKind::Retrying {
            what: "restoring the original weights".into(),
            why: "503 Service Unavailable".into(),
            attempt: 2,
            manual: Some("kubectl canary abort reviews -n shop".into()),
        },
        EventKind::Warning {
            text: "consistentHash makes users flip between versions".into(),
        },
    ];
    events.extend((121..).zip(others).map(|(at, kind)| event(at, kind)));
    let mut missing: Vec<_> = (0..=23).collect();
    for event in &events {
        missing.retain(|number| *number != number_of(&event.event));
    }
    assert_eq!(missing, [0; 0], "kinds of events that are not rehearsed");
    events
}

fn number_of(kind: &EventKind) -> u8 {
    match kind {
        EventKind::Planned { .. } => 0,
        EventKind::StepStarted { .. } => 1,
        EventKind::TrafficSeen { .. } => 2,
        EventKind::Analyzed { .. } => 3,
        EventKind::StepPassed { .. } => 4,
        EventKind::Tripped { .. } => 5,
        EventKind::FalseAlarm { .. } => 6,
        EventKind::Regressed { .. } => 7,
        EventKind::Waiting { .. } => 8,
        EventKind::Paused { .. } => 9,
        EventKind::Resumed { .. } => 10,
        EventKind::Promoted { .. } => 11,
        EventKind::MetricsUnavailable { .. } => 12,
        EventKind::MetricsBack { .. } => 13,
        EventKind::NoVerdict { .. } => 14,
        EventKind::Drifted { .. } => 15,
        EventKind::Retrying { .. } => 16,
        EventKind::RollingBack { .. } => 17,
        EventKind::RolledBack { .. } => 18,
        EventKind::Warning { .. } => 19,
        EventKind::Finished { .. } => 20,
        EventKind::HookStarted { .. } => 21,
        EventKind::HookPassed { .. } => 22,
        EventKind::HookFailed { .. } => 23,
    }
}

/// Poisons every text that may come from elsewhere, which are those with a free form.
pub(super) fn poisoned(
    value: serde_json::Value,
    poison: &dyn Fn(&str) -> String,
) -> serde_json::Value {
    use serde_json::Value;
    const FREE: [&str; 15] = [
        "stable",
        "canary",
        "routes",
        "route",
        "left_behind",
        "leftBehind",
        "prometheus",
        "message",
        "why",
        "by",
        "manager",
        "what",
        "manual",
        "text",
        "next",
    ];
    let free = |value: Value| match value {
        Value::String(text) => Value::String(poison(&text)),
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Value::String(poison(&text)),
                other => poisoned(other, poison),
            })
            .collect(),
        other => poisoned(other, poison),
    };
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| {
                let value = if FREE.contains(&key.as_str()) {
                    free(value)
                } else {
                    poisoned(value, poison)
                };
                (key, value)
            })
            .collect(),
        other => other,
    }
}

/// What is written of events where nothing is wrapped.
pub(super) fn told(events: &[Event]) -> String {
    told_in(events, LineStyle::default())
}

/// The same in another style.
pub(super) fn told_in(events: &[Event], style: LineStyle) -> String {
    let mut out = Vec::new();
    let mut lines = Lines::new(&mut out, TimeZone::UTC, Palette::PLAIN, style);
    for event in events {
        lines.see(event);
    }
    String::from_utf8(out).unwrap()
}
