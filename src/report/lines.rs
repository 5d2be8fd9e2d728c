//! One line an event, for pipelines and logs.

use std::io::Write;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::escape::escape;
use super::event_formatter::EventFormatter;
use super::line::Line;
use super::palette::{Palette, Tone};
use super::pipeline::{Annotation, Pipeline};
use super::renderer::Renderer;
use crate::rollout::{Cause, Event, EventKind, Observer};

/// How long it may be silent: runners take a silent job for a dead one.
pub(super) const HEARTBEAT: SignedDuration = SignedDuration::from_secs(60);

/// How lines look where they go.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineStyle {
    /// The columns of a terminal, into which lines are wrapped; a pipe's stay whole, so that they can be
    /// searched.
    pub width: Option<usize>,
    /// Only what needs attention, and the end.
    pub is_quiet: bool,
    /// The pipeline whose log it is.
    pub pipeline: Option<Pipeline>,
}

/// Writes what happens, line by line.
///
/// Looks at the metrics are passed over until they say something new, or a minute has passed. A line
/// that cannot be written is lost: a closed stream is no reason to leave a rollout half done.
pub struct Lines<W> {
    out: W,
    formatter: EventFormatter,
    palette: Palette,
    style: LineStyle,
    /// The group of lines that is open, and when it was last written to.
    group: Option<(String, Timestamp)>,
}

impl<W: Write + Send> Lines<W> {
    /// Lines to `out`, with times in `zone`; in a pipeline's log with dates.
    pub fn new(out: W, zone: TimeZone, palette: Palette, style: LineStyle) -> Self {
        let formatter = EventFormatter::new(zone, Some(HEARTBEAT));
        Self {
            out,
            formatter: match style.pipeline {
                Some(_) => formatter.with_dates(),
                None => formatter,
            },
            palette,
            style,
            group: None,
        }
    }

    fn write(&mut self, text: &str) {
        let _ = match self.style.pipeline {
            Some(pipeline) => writeln!(self.out, "{}", pipeline.harmless(text)),
            None => writeln!(self.out, "{text}"),
        };
    }

    /// A step is a group; what ends the rollout stands outside.
    fn regroup(&mut self, event: &Event) {
        let (Some(pipeline), false) = (self.style.pipeline, self.style.is_quiet) else {
            return;
        };
        match &event.event {
            EventKind::StepStarted {
                step,
                step_count,
                exposure,
                ..
            } => {
                self.end_group(Some(event.at));
                let id = format!("canary_{}_{step}", event.run);
                let title = format!("step {step}/{step_count}: {exposure}");
                if let Some(text) = pipeline.begin_group(&id, &title, event.at) {
                    let _ = writeln!(self.out, "{text}");
                    self.group = Some((id, event.at));
                }
            }
            EventKind::RollingBack { .. }
            | EventKind::RolledBack { .. }
            | EventKind::Finished { .. } => self.end_group(Some(event.at)),
            _ => {
                if let Some((_, last)) = &mut self.group {
                    *last = event.at;
                }
            }
        }
    }

    fn end_group(&mut self, at: Option<Timestamp>) {
        if let (Some(pipeline), Some((id, last))) = (self.style.pipeline, self.group.take()) {
            let text = pipeline.end_group(&id, at.unwrap_or(last));
            let _ = writeln!(self.out, "{text}");
        }
    }

    /// What a pipeline shows beside its log: the end, if it was none to be glad of, and what may need a
    /// person.
    fn annotate(&mut self, event: &Event, lines: &[Line]) {
        let is_notable = matches!(
            event.event,
            EventKind::Warning { .. }
                | EventKind::Drifted { .. }
                | EventKind::NoVerdict { .. }
                | EventKind::RolledBack { .. }
                | EventKind::Finished { .. }
        );
        let (Some(pipeline), Some(line), true) = (self.style.pipeline, lines.first(), is_notable)
        else {
            return;
        };
        if line.goes_on() {
            return;
        }
        let tone = match &event.event {
            EventKind::RolledBack {
                cause: Cause::Request,
                ..
            } => Tone::Caution,
            EventKind::RolledBack { .. } => Tone::Bad,
            _ => line.tone,
        };
        let level = match tone {
            Tone::Bad => Annotation::Error,
            Tone::Caution => Annotation::Warning,
            Tone::Plain | Tone::Good | Tone::Quiet | Tone::Strong => return,
        };
        let object = format!("{}/{}", event.namespace, event.name);
        let title = format!("kubectl canary: {}", escape(&object));
        let text = format!("{}: {}", line.word, line.text);
        if let Some(text) = pipeline.annotation(level, &title, &text) {
            let _ = writeln!(self.out, "{text}");
        }
    }
}

/// What of the lines is left when only that is wanted which needs attention.
fn quiet(event: &Event, lines: Vec<Line>) -> Vec<Line> {
    if matches!(
        event.event,
        EventKind::RolledBack { .. } | EventKind::Finished { .. }
    ) {
        return lines;
    }
    let mut is_shown = false;
    let shown = lines.into_iter().filter(|line| {
        if !line.goes_on() {
            is_shown = matches!(line.tone, Tone::Bad | Tone::Caution);
        }
        is_shown
    });
    shown.collect()
}

impl<W: Write + Send> Observer for Lines<W> {
    fn see(&mut self, event: &Event) {
        let mut lines = self.formatter.tell(event);
        if self.style.is_quiet {
            lines = quiet(event, lines);
        }
        self.regroup(event);
        for line in &lines {
            let text = match self.style.width {
                Some(width) => line.render_within(self.palette, width),
                None => line.render(self.palette),
            };
            self.write(&text);
        }
        self.annotate(event, &lines);
        let _ = self.out.flush();
    }
}

impl<W: Write + Send> Renderer for Lines<W> {
    fn print(&mut self, text: &str) {
        let level = [
            ("error: ", Annotation::Error),
            ("warning: ", Annotation::Warning),
        ];
        let level = level.into_iter().find(|(word, _)| text.starts_with(word));
        let annotation = self.style.pipeline.zip(level);
        let annotation = annotation.and_then(|(pipeline, (word, level))| {
            pipeline.annotation(level, "kubectl canary", &text[word.len()..])
        });
        if level.is_some() {
            self.end_group(None);
        }
        match annotation {
            Some(text) => {
                let _ = writeln!(self.out, "{text}");
            }
            None => self.write(text),
        }
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricsWarning;
    use crate::plan::AfterRegression;
    use crate::plan::{Exposure, OnStuck, Percent};
    use crate::report::test_events::{
        self, change, event, finished, looked, planned, step, version_counts,
    };
    use crate::rollout::{Outcome, Reason};
    use crate::verdict::{self, Verdict};

    fn told(events: &[Event]) -> String {
        told_in(events, LineStyle::default())
    }

    fn told_in(events: &[Event], style: LineStyle) -> String {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, TimeZone::UTC, Palette::PLAIN, style);
        for event in events {
            lines.see(event);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_regression_reads_like_a_report() {
        insta::assert_snapshot!(told(&test_events::regression()), @"
        12:00:00 plan         shop/reviews http[primary] v1 -> v2 at 1, 10, 50, 100 %; about 9m at 212 req/s
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
    fn a_terminal_wraps_at_words_and_keeps_commands_whole() {
        let style = LineStyle {
            width: Some(80),
            ..LineStyle::default()
        };
        let text = told_in(&test_events::regression(), style);
        for line in text.lines() {
            assert!(
                line.chars().count() <= 80 || line.contains("kubectl canary"),
                "{line}"
            );
        }
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&text), words(&told(&test_events::regression())));
    }

    #[test]
    fn quiet_leaves_what_needs_attention_and_the_end() {
        let style = LineStyle {
            is_quiet: true,
            ..LineStyle::default()
        };
        insta::assert_snapshot!(told_in(&test_events::regression(), style), @"
        12:01:45 regressed    10 %   v2 64 of 301 failed (21 %), v1 3 of 2,811; v2 set to 0 % in 18ms
        12:02:00 confirmed    0 %    regression evidence 9.8 (rolls back at 4.6)
        12:02:00 rolling back        the canary was worse than stable; v2 is at 0 %
        12:02:00 rolled back         shop/reviews: original weights 100/0 restored and verified in 21ms; 64 of 452 requests failed on v2
                 reason              regression evidence 9.8 (rolls back at 4.6)
                 next                kubectl canary report reviews -n shop
        ");
        let all = told_in(&test_events::every_kind(), style);
        for word in [
            " waiting ",
            " promote ",
            " drift ",
            " retrying ",
            " manually ",
            " warning ",
        ] {
            assert!(all.contains(word), "{word} is missing in\n{all}");
        }
        assert!(!all.contains(" resumed "), "{all}");
    }

    #[test]
    fn a_pipelines_log_has_dates_groups_and_annotations() {
        let in_log = |pipeline| {
            let style = LineStyle {
                pipeline: Some(pipeline),
                ..LineStyle::default()
            };
            let text = told_in(&test_events::regression(), style);
            let lines = text.lines().map(|line| line.chars().take(72).collect());
            let lines: Vec<String> = lines.collect();
            lines
                .join("\n")
                .replace('\r', "<CR>")
                .replace('\x1b', "<ESC>")
        };
        insta::assert_snapshot!(in_log(Pipeline::GitHub), @"
        2026-01-01T12:00:00+00:00 plan         shop/reviews http[primary] v1 -> 
                                  detects             +1 pp failures in 4m with 
                                  metrics             istio-system/prometheus:90
        ::group::step 1/4: 1 %25
        2026-01-01T12:00:00+00:00 step 1/4     1 %    weights 99/1, was 100/0
        2026-01-01T12:00:04+00:00 traffic      1 %    v2 is receiving traffic: 2
        2026-01-01T12:01:15+00:00 healthy      1 %    v2 0 of 151 failed, v1 14 
        ::endgroup::
        ::group::step 2/4: 10 %25
        2026-01-01T12:01:15+00:00 step 2/4     10 %   weights 90/10
        2026-01-01T12:01:45+00:00 regressed    10 %   v2 64 of 301 failed (21 %)
        2026-01-01T12:02:00+00:00 confirmed    0 %    regression evidence 9.8 (r
        ::endgroup::
        2026-01-01T12:02:00+00:00 rolling back        the canary was worse than 
        2026-01-01T12:02:00+00:00 rolled back         shop/reviews: original wei
        ::error title=kubectl canary%3A shop/reviews::rolled back: shop/reviews:
                                  reason              regression evidence 9.8 (r
                                  next                kubectl canary report revi
        ");
        let gitlab = in_log(Pipeline::GitLab);
        assert_eq!(gitlab.matches("section_start:").count(), 2, "{gitlab}");
        assert_eq!(gitlab.matches("section_end:").count(), 2, "{gitlab}");
        assert!(!gitlab.contains("::"), "{gitlab}");
        assert!(!in_log(Pipeline::Other).contains("section_"));
    }

    #[test]
    fn nothing_from_the_cluster_is_a_command_of_the_pipeline() {
        let poison = |text: &str| text.replace(['v', 'h', 'a'], "\r\n::add-mask::x##[add-mask]y");
        let style = LineStyle {
            pipeline: Some(Pipeline::GitHub),
            ..LineStyle::default()
        };
        for event in test_events::every_kind() {
            let json = serde_json::to_value(&event.event).unwrap();
            let kind = serde_json::from_value(poisoned(json, &poison)).unwrap();
            let event = Event {
                namespace: poison("shave"),
                event: kind,
                ..event
            };
            for line in told_in(&[event], style).lines() {
                let line = line.trim_start();
                let own = [
                    "::group::",
                    "::endgroup::",
                    "::error title=",
                    "::warning title=",
                ];
                assert!(
                    !line.starts_with("::") || own.iter().any(|own| line.starts_with(own)),
                    "{line}"
                );
                assert!(!line.contains("##["), "{line}");
            }
        }
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, TimeZone::UTC, Palette::PLAIN, style);
        lines.print("error: 50 % of\n::add-mask::x");
        lines.print("first\n  ::add-mask::x\nand ##[add-mask]x");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "::error title=kubectl canary::50 %25 of%0A::add-mask::x\nfirst\n  : :add-mask::x\nand # #[add-mask]x\n"
        );
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
        12:02:09 drift        50 %   changed by kubectl-edit: http[primary] has weights 80/20, this rollout knows 90/10; stopping, nothing overwritten
        12:02:10 retrying     50 %   restoring the original weights: 503 Service Unavailable; attempt 2
                 manually            kubectl canary abort reviews -n shop
        12:02:11 warning             consistentHash makes users flip between versions
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
                 detects             +1 pp failures in 4m with 9.2 failed requests; from +0.2 pp on
                 metrics             istio-system/prometheus:9090
        12:00:00 rolled back         shop/reviews: original weights 100/0 restored and verified in 18ms; 0 of 12 requests failed on v2
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

    /// Poisons every text that may come from elsewhere, which are those with a free form.
    fn poisoned(value: serde_json::Value, poison: &dyn Fn(&str) -> String) -> serde_json::Value {
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

    #[test]
    fn a_closed_stream_does_not_stop_a_rollout() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut lines = Lines::new(Closed, TimeZone::UTC, Palette::PLAIN, LineStyle::default());
        for event in test_events::every_kind() {
            lines.see(&event);
        }
    }
}
