//! What the lines of events say.

use crate::metrics::MetricsWarning;
use crate::plan::{AfterRegression, Exposure, OnHookFailure, OnStuck, Percent};
use crate::report::test_events::{
    self, change, event, finished, looked, planned, poisoned, step, told, version_counts,
};
use crate::rollout::{Cause, Event, EventKind, Outcome, Reason};
use crate::verdict::{self, Verdict};

#[test]
fn a_regression_reads_like_a_report() {
    insta::assert_snapshot!(told(&test_events::regression()), @"
    12:00:00 plan         shop/reviews http[primary] v1 -> v2 at 1, 10, 50, 100 %; about 9m at 212 req/s
             pods                v1 1.4.2, 3/3 ready; v2 1.5.0, 2/2 ready
             detects             +1 pp failures in 4m with 9.2 failed requests; from +0.2 pp on
             metrics             istio-system/prometheus:9090
    12:00:00 step 1/4     1 %    weights 99/1, was 100/0
    12:00:04 traffic      1 %    v2 is receiving traffic: 2 of 214 requests
    12:01:15 healthy      1 %    v2 0 of 151 failed, v1 14 of 15,722; v2's error rate is at most 1.5x v1's + 0.4 pp (95 % confidence)
    12:01:15 step 2/4     10 %   weights 90/10
    12:01:45 regressed    10 %   v2 64 of 301 failed (21 %), v1 3 of 2,811; v2 set to 0 % in 18ms
    12:02:00 confirmed    0 %    regression evidence 9.8 (rolls back at 4.6)
    12:02:00 rolling back        the canary was worse than stable; v2 is at 0 %
    12:02:00 rolled back         shop/reviews: original weights 100/0 restored and verified in 21ms; 64 of 452 requests failed on v2
             reason              regression evidence 9.8 (rolls back at 4.6)
             next                kubectl canary report reviews -n shop
    ");
}

#[test]
fn what_limits_the_metrics_is_said_once() {
    let mut events = test_events::regression();
    let mut given = 0;
    events.extend(events.clone());
    events.retain(|event| matches!(event.event, EventKind::Analyzed { .. }));
    for event in &mut events {
        if let EventKind::Analyzed { warnings, .. } = &mut event.event {
            given += 1;
            *warnings = vec![MetricsWarning::SamplesLeftOut { samples: given }];
        }
    }
    let text = told(&events);
    assert!(given > 1, "{text}");
    let line = "1 sample was no count and is left out";
    assert_eq!(text.matches(line).count(), 1, "{text}");
    assert!(!text.contains("samples were no counts"), "{text}");
}

#[test]
fn every_kind_of_event_has_its_line() {
    let all = told(&test_events::every_kind());
    let after = all.split_once("12:02:01").unwrap().1;
    insta::assert_snapshot!(format!("12:02:01{after}"), @"
    12:02:01 false alarm  10 %   stable is failing: analysis on hold; the canary back at 10 %
    12:02:02 waiting      10 %   step passed, waiting for promote
             next                kubectl canary promote reviews -n shop
    12:02:03 paused       10 %   requested by ada@laptop
             next                kubectl canary resume reviews -n shop
    12:02:04 resumed      10 %   requested by ada@laptop
    12:02:05 promote      50 %   requested by ada@laptop
    12:02:06 no metrics   50 %   connection refused; 30s of 2m allowed
    12:02:07 metrics      50 %   available again after 45s
    12:02:08 no verdict   50 %   inconclusive after 1h; too few requests to judge the canary; rolling back
    12:02:09 before step  50 %   running the command before 50 %
    12:02:10 before step  50 %   the command before 50 % succeeded in 2.4s
    12:02:11 before step  50 %   the command before 50 % failed (exit status: 1); paused at the current weight
    12:02:12 drift        50 %   changed by kubectl-edit: http[primary] has weights 80/20, this rollout knows 90/10; stopping, nothing overwritten
    12:02:13 retrying     50 %   restoring the original weights: 503 Service Unavailable; attempt 2
             manually            kubectl canary abort reviews -n shop
    12:02:14 warning             consistentHash makes users flip between versions
    ");
}

#[test]
fn a_promotion_ends_with_the_harm_done() {
    let mut end = finished(Outcome::Promoted, 100, None);
    if let EventKind::Finished { reasons, .. } = &mut end {
        reasons.clear();
    }
    insta::assert_snapshot!(told(&[event(0, planned()), event(600, end)]), @"
    12:00:00 plan         shop/reviews http[primary] v1 -> v2 at 1, 10, 50, 100 %; about 9m at 212 req/s
             pods                v1 1.4.2, 3/3 ready; v2 1.5.0, 2/2 ready
             detects             +1 pp failures in 4m with 9.2 failed requests; from +0.2 pp on
             metrics             istio-system/prometheus:9090
    12:10:00 promoted     100 %  shop/reviews: all traffic on v2 after 2m; 64 of 452 requests failed on v2
    ");
}

#[test]
fn looks_are_passed_over_until_something_is_new() {
    let look = |at, verdict, canary, reason: Reason| {
        event(
            at,
            looked(
                1,
                1,
                verdict,
                version_counts((0, canary), (0, canary * 99)),
                reason,
            ),
        )
    };
    let too_few = |requests| {
        let needed = 50;
        verdict::AnalysisReason::TooFewCanaryRequests { requests, needed }.into()
    };
    let (no_data, healthy) = (Verdict::NotEnoughData, Verdict::Healthy);
    let events = [
        event(0, step(1, 1, [100, 0], [99, 1])),
        look(5, no_data, 3, too_few(3)),
        look(10, no_data, 9, too_few(9)),
        look(15, no_data, 9, test_events::evidence(0.4)),
        look(20, no_data, 14, too_few(14)),
        look(30, healthy, 60, test_events::bounded(0.009)),
        look(35, healthy, 71, test_events::bounded(0.008)),
        look(89, healthy, 99, test_events::bounded(0.008)),
        look(90, healthy, 99, test_events::bounded(0.008)),
    ];
    insta::assert_snapshot!(told(&events), @"
    12:00:00 step 1/4     1 %    weights 99/1, was 100/0
    12:00:15 analyzing    1 %    the canary 0 of 9 failed, stable 0 of 891; not enough data yet: regression evidence 0.4 (rolls back at 4.6)
    12:00:30 analyzing    1 %    the canary 0 of 60 failed, stable 0 of 5,940; healthy so far: the canary's error rate is at most 1.5x stable's + 0.9 pp (95 % confidence)
    12:01:30 analyzing    1 %    the canary 0 of 99 failed, stable 0 of 9,801; healthy so far: the canary's error rate is at most 1.5x stable's + 0.8 pp (95 % confidence)
    ");
}

#[test]
fn missing_metrics_are_told_once_and_then_every_minute() {
    let away = |at: i64| {
        event(
            at,
            EventKind::MetricsUnavailable {
                why: test_events::refused(),
                lasted: jiff::SignedDuration::from_secs(at).into(),
                grace: "2m".parse().unwrap(),
            },
        )
    };
    let text = told(&[5, 10, 15, 65, 70].map(away));
    insta::assert_snapshot!(text, @"
    12:00:05 no metrics          connection refused; 5s of 2m allowed
    12:01:05 no metrics          connection refused; 1m5s of 2m allowed
    ");
}

#[test]
fn an_abort_from_elsewhere_claims_no_more_than_it_knows() {
    let back = EventKind::RolledBack {
        cause: Cause::Request,
        after: AfterRegression::Original,
        routes: vec![
            change("http[a]", [90, 10], [100, 0]),
            change("http[b]", [45, 5], [50, 0]),
            change("http[c]", [9, 1], [10, 0]),
        ],
        took_millis: 1_840,
        total_counts: Some(version_counts((0, 0), (0, 0))),
    };
    let rolling = EventKind::RollingBack {
        cause: Cause::Request,
        exposure: Exposure::Share(Percent::whole(10)),
    };
    insta::assert_snapshot!(told(&[event(0, rolling), event(2, back)]), @"
    12:00:00 rolling back        on request; the canary is at 10 %
    12:00:02 rolled back         shop/reviews: original weights of 3 routes restored and verified in 1.8s
    ");
}

#[test]
fn a_failed_rollback_names_the_command_that_finishes_it() {
    let failed = finished(Outcome::RollbackFailed, 10, None);
    insta::assert_snapshot!(told(&[event(0, failed)]), @"
    12:00:00 ROLLBACK FAILED     shop/reviews: original weights NOT restored; traffic needs manual attention
             reason              regression evidence 9.8 (rolls back at 4.6)
             next                kubectl canary abort reviews -n shop
    ");
}

#[test]
fn a_resumed_rollout_says_from_whom_and_what_it_skips() {
    let mut plan = planned();
    if let EventKind::Planned {
        resumed_from,
        steps,
        left_behind,
        routes,
        ..
    } = &mut plan
    {
        *resumed_from = Some("ci@runner-7/4711".into());
        steps[0].skipped = true;
        *left_behind = vec!["http[internal]".into()];
        *routes = ["http[a]", "http[b]", "http[c]"].map(String::from).to_vec();
    }
    insta::assert_snapshot!(told(&[event(0, plan)]), @"
    12:00:00 resume       shop/reviews 3 routes (http[a], http[b], 1 more) v1 -> v2 at 1, 10, 50, 100 %; about 9m at 212 req/s; taken over from ci@runner-7/4711
             skipped             1 %: v2 already has it
             excluded            http[internal] stays on v1
             pods                v1 1.4.2, 3/3 ready; v2 1.5.0, 2/2 ready
             detects             +1 pp failures in 4m with 9.2 failed requests; from +0.2 pp on
             metrics             istio-system/prometheus:9090
    ");
}

#[test]
fn a_step_that_passed_for_want_of_a_verdict_is_not_called_healthy() {
    let passed = |step_counts| EventKind::StepPassed {
        step: 1,
        exposure: Exposure::Share(Percent::whole(1)),
        step_counts,
        mirror_counts: None,
        reasons: vec![],
    };
    let stuck = EventKind::NoVerdict {
        reasons: test_events::no_verdict(),
        policy: OnStuck::Promote,
    };
    let text = told(&[
        event(0, step(1, 1, [100, 0], [99, 1])),
        event(3600, stuck),
        event(3600, passed(version_counts((0, 12), (0, 1_188)))),
        event(3600, step(2, 10, [99, 1], [90, 10])),
        event(3660, passed(version_counts((0, 0), (0, 900)))),
    ]);
    insta::assert_snapshot!(text, @"
    12:00:00 step 1/4     1 %    weights 99/1, was 100/0
    13:00:00 no verdict   1 %    inconclusive after 1h; too few requests to judge the canary; continuing without a verdict, as requested
    13:00:00 passed       1 %    the canary 0 of 12 failed, stable 0 of 1,188
    13:00:00 step 2/4     10 %   weights 90/10
    13:01:00 passed       1 %    the canary no requests, stable 0 of 900 failed
    ");
}

#[test]
fn a_rollback_the_next_day_names_the_day_it_restored() {
    let back = EventKind::RolledBack {
        cause: Cause::NoMetrics,
        after: AfterRegression::Original,
        routes: vec![change("http[primary]", [90, 10], [100, 0])],
        took_millis: 18,
        total_counts: Some(version_counts((0, 12), (0, 108))),
    };
    insta::assert_snapshot!(told(&[event(0, planned()), event(86_400, back)]), @"
    12:00:00 plan         shop/reviews http[primary] v1 -> v2 at 1, 10, 50, 100 %; about 9m at 212 req/s
             pods                v1 1.4.2, 3/3 ready; v2 1.5.0, 2/2 ready
             detects             +1 pp failures in 4m with 9.2 failed requests; from +0.2 pp on
             metrics             istio-system/prometheus:9090
    12:00:00 rolled back         shop/reviews: original weights 100/0 restored and verified in 18ms; 0 of 12 requests failed on v2
    ");
}

#[test]
fn the_command_before_a_step_is_told() {
    let fifty = Exposure::Share(Percent::whole(50));
    let failed = |policy| EventKind::HookFailed {
        step: 3,
        exposure: fifty,
        why: "failed (exit status: 1)".into(),
        policy,
    };
    let started = || EventKind::HookStarted {
        step: 3,
        exposure: fifty,
    };
    let passed = EventKind::HookPassed {
        step: 3,
        exposure: fifty,
        took_millis: 2_400,
    };
    let text = told(&[
        event(0, step(2, 10, [99, 1], [90, 10])),
        event(60, started()),
        event(62, passed),
        event(120, failed(OnHookFailure::Hold)),
        event(180, failed(OnHookFailure::Rollback)),
    ]);
    insta::assert_snapshot!(text, @"
    12:00:00 step 2/4     10 %   weights 90/10, was 99/1
    12:01:00 before step  10 %   running the command before 50 %
    12:01:02 before step  10 %   the command before 50 % succeeded in 2.4s
    12:02:00 before step  10 %   the command before 50 % failed (exit status: 1); paused at the current weight
             next                kubectl canary resume reviews -n shop
    12:03:00 before step  10 %   the command before 50 % failed (exit status: 1); rolling back
    ");
}

#[test]
fn nothing_from_the_cluster_reaches_the_terminal_as_a_command() {
    let poison = |text: &str| text.replace(['v', 'h', 'a'], "\x1b[2J\r\n\u{9b}");
    for event in test_events::every_kind() {
        let json = serde_json::to_value(&event.event).unwrap();
        let poisoned = poisoned(json, &poison);
        let Ok(kind) = serde_json::from_value::<EventKind>(poisoned) else {
            panic!("poison spoilt the format of {event:?}");
        };
        let text = told(&[Event {
            namespace: poison("shave"),
            event: kind,
            ..event
        }]);
        let stray = |char: char| char.is_control() && char != '\n';
        assert!(!text.contains(stray), "{text:?}");
    }
}
