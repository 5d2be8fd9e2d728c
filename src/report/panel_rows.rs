//! How a panel looks: where the rollout is, who is what, how they do, what speaks for and against the canary, and what
//! comes next.

use jiff::{SignedDuration, Timestamp};

use super::ladder::StepPosition;
use super::panel::{Panel, PanelStanding};
use super::phrase;
use super::row::{RowPart, flow, flow_words};
use super::sparkline::bar;
use super::{Palette, Tone, escape};
use crate::number::percentage;
use crate::plan::{HumanDuration, OnSignal, PlannedStep};

/// What stands between two parts.
const GAP: usize = 3;
/// Columns before a row.
const INDENT: usize = 2;
/// Columns from which on bars are long.
const ROOMY: usize = 66;

impl Panel {
    /// The rows at `now`, none longer than `columns`.
    pub(super) fn rows(&self, palette: Palette, now: Timestamp, columns: usize) -> Vec<String> {
        let columns = columns.saturating_sub(INDENT);
        let flow = |parts: &[RowPart]| flow(palette, parts, GAP, columns);
        let (tone, state) = self.state(now);
        let next_tone = match self.standing {
            PanelStanding::Waiting | PanelStanding::PausedBy(_) => Tone::Plain,
            _ => Tone::Quiet,
        };
        let rows = [
            flow(&self.title(now)),
            flow(&self.ladder(now)),
            self.table(palette, columns),
            flow(&self.bars(columns)),
            flow_words(palette, tone, &state, columns),
            flow_words(palette, next_tone, &self.next(), columns),
        ];
        let indented = rows
            .into_iter()
            .flatten()
            .map(|row| format!("{:INDENT$}{row}", ""));
        std::iter::once(String::new()).chain(indented).collect()
    }

    /// Whose panel it is, and how far the rollout is.
    fn title(&self, now: Timestamp) -> Vec<RowPart> {
        let object = escape(&format!("{}/{}", self.owner.0, self.owner.1)).into_owned();
        let step = match (self.step, self.steps.len()) {
            (0, _) => String::new(),
            (step, 0) => format!("step {step}"),
            (step, steps) => format!("step {step}/{steps}"),
        };
        let weights = self.weights.as_ref();
        let left = self.expected.map(|expected| expected.duration_since(now));
        let left = left.filter(|left| left.is_positive() && self.is_moving());
        let left = left.map(|left| format!("about {} left", HumanDuration::from(left).rounded()));
        vec![
            RowPart::new(Tone::Strong, object),
            RowPart::new(Tone::Plain, step),
            RowPart::new(
                Tone::Plain,
                weights.map_or_else(String::new, |weights| format!("weights {weights}")),
            ),
            RowPart::new(Tone::Quiet, left.unwrap_or_default()),
        ]
    }

    /// The steps: done, current, to come.
    fn ladder(&self, now: Timestamp) -> Vec<RowPart> {
        let lasted = now.duration_since(self.since).max(SignedDuration::ZERO);
        let lasted = SignedDuration::from_secs(lasted.as_secs());
        let hold = self.current().map(|step| step.hold);
        let time = match hold.filter(|hold| hold.signed() > lasted) {
            Some(hold) => format!("{} of {hold}", HumanDuration::from(lasted)),
            None => HumanDuration::from(lasted).to_string(),
        };
        let tone = match self.state(now).0 {
            tone @ (Tone::Bad | Tone::Caution) => tone,
            Tone::Plain | Tone::Good | Tone::Quiet | Tone::Strong => Tone::Strong,
        };
        let position = StepPosition {
            steps: &PlannedStep::exposures(&self.steps),
            step: self.step,
            exposure: self.exposure,
            tone,
        };
        position.parts(&time)
    }

    fn current(&self) -> Option<&PlannedStep> {
        self.steps.get(self.step.checked_sub(1)?)
    }

    /// The two versions beside each other.
    fn table(&self, palette: Palette, columns: usize) -> Vec<String> {
        let pods = [self.stable_pods.as_ref(), self.canary_pods.as_ref()];
        let [heading, stable, canary] = self.traffic.rows(&self.versions, pods, columns);
        vec![palette.paint(Tone::Quiet, &heading), stable, canary]
    }

    /// How near leaving the step and a rollback are.
    fn bars(&self, columns: usize) -> Vec<RowPart> {
        let Some([rollback, promotion]) = self.nearness else {
            return Vec::new();
        };
        let wide = if columns < ROOMY { 8 } else { 12 };
        let part = |tone, what: &str, share: f64| {
            let percent = percentage((share * 100.0).floor() / 100.0);
            RowPart::new(tone, format!("to {what} {} {percent}", bar(share, wide)))
        };
        // Calm while there is nothing to be alarmed about.
        let against = match rollback {
            ..0.25 => Tone::Plain,
            ..0.75 => Tone::Caution,
            _ => Tone::Bad,
        };
        vec![
            part(Tone::Good, "promotion", promotion),
            part(against, "rollback", rollback),
        ]
    }

    /// What the rollout waits for, where that is not the metrics, and what is known.
    fn state(&self, now: Timestamp) -> (Tone, String) {
        let standing = match &self.standing {
            PanelStanding::Analyzing | PanelStanding::Tripped | PanelStanding::RollingBack => {
                return (self.tone, self.note.clone());
            }
            PanelStanding::WarmingUp(until) => {
                let left = until.map(|until| until.duration_since(now));
                let left = left.filter(|left| left.is_positive());
                left.map_or_else(
                    || "warming up".to_owned(),
                    |left| {
                        let left = HumanDuration::from(left).rounded();
                        format!("warming up for about {left} more")
                    },
                )
            }
            PanelStanding::OnHold(why) if why.contains("on hold") => why.clone(),
            PanelStanding::OnHold(why) => format!("on hold: {why}"),
            PanelStanding::Waiting => "waiting for promote".to_owned(),
            PanelStanding::PausedBy(by) => format!("paused by {by}"),
            PanelStanding::RunningHook(before) => format!("running the command before {before}"),
        };
        let tone = match self.tone {
            Tone::Bad => Tone::Bad,
            _ => Tone::Caution,
        };
        let note = Some(self.note.clone()).filter(|note| !note.is_empty());
        (tone, phrase::clauses([Some(standing), note]))
    }

    /// What comes next, and what a signal does.
    fn next(&self) -> String {
        let command = |verb: &str| {
            let (namespace, name) = (escape(&self.owner.0), escape(&self.owner.1));
            format!("continues with kubectl canary {verb} {name} -n {namespace}")
        };
        let signal = match self.on_signal {
            OnSignal::Rollback => "Ctrl-C rolls back",
            OnSignal::Hold => "Ctrl-C leaves the weights as they are",
        };
        let next = match &self.standing {
            PanelStanding::Waiting => Some(command("promote")),
            PanelStanding::PausedBy(_) => Some(command("resume")),
            PanelStanding::Tripped => {
                Some("next: 0 % until the regression is confirmed or a false alarm".into())
            }
            PanelStanding::RunningHook(before) => {
                Some(format!("next: {before} when the command succeeds"))
            }
            PanelStanding::RollingBack => return "restoring the original weights".into(),
            _ if self.step == 0 => None,
            _ if self.current().is_some_and(|step| step.pause) => {
                Some("next: waits for promote when healthy".into())
            }
            _ => Some(match self.steps.get(self.step) {
                Some(next) => format!("next: {} when healthy", next.exposure),
                None => "next: promoted when healthy".into(),
            }),
        };
        phrase::clauses([next, Some(signal.into())])
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::plan::{Exposure, OnHookFailure};
    use crate::report::test_events::{
        bounded, event, every_kind, looked, planned, pods, step, version_counts,
    };
    use crate::rollout::{Event, EventKind, Reason};
    use crate::verdict::sequential::evidence::MetricEvidence;
    use crate::verdict::sequential::{AnalysisState, Evidence, Hold, Subject};
    use crate::verdict::{Counts, Verdict};

    /// A look 65 s after noon: at 10 % since 25 s, with evidence in this state.
    fn look(verdict: Verdict, state: AnalysisState) -> Event {
        let counts = version_counts((0, 251), (4, 2_260));
        let mut kind = looked(2, 10, verdict, counts, bounded(0.008));
        if let EventKind::Analyzed {
            evidence,
            canary_pods,
            warm_at,
            reasons,
            ..
        } = &mut kind
        {
            let metric = MetricEvidence {
                subject: Subject::Failures,
                evidence: 0.3,
                upper: Some(0.008),
                tolerance: 0.005,
                clamped: false,
            };
            let known = Evidence {
                state,
                evidence: 0.3,
                leader: Subject::Failures,
                operation: None,
                needed: 4.6,
                alone: None,
                confidence: 0.95,
                ratio: 1.5,
                share: None,
                metrics: vec![metric],
                stable: Counts::default(),
                canary: Counts::default(),
            };
            *reasons = known.reasons().into_iter().map(Reason::Analysis).collect();
            *evidence = Some(Box::new(known));
            *canary_pods = Some(pods(1, 2, "registry.example/reviews:1.5.0"));
            *warm_at = Some(event(89, planned()).at);
        }
        event(65, kind)
    }

    fn panel(events: impl IntoIterator<Item = Event>) -> Panel {
        let mut panel = Panel::open(&event(0, planned())).unwrap();
        panel.take(&event(40, step(2, 10, [99, 1], [90, 10])));
        events.into_iter().for_each(|event| panel.take(&event));
        panel
    }

    /// The six states in which somebody looks at it, 25 s into the second step.
    fn states() -> [(&'static str, Panel); 6] {
        let by = || "ada@laptop".to_owned();
        let paused = event(50, EventKind::Paused { by: by() });
        let waiting = EventKind::Waiting {
            exposure: Exposure::Share(crate::plan::Percent::whole(10)),
            reasons: vec![Reason::StepPassed],
        };
        let healthy = || look(Verdict::Healthy, AnalysisState::Comparing);
        let held = |hold| look(Verdict::NotEnoughData, AnalysisState::Held(hold));
        let tripped = every_kind();
        let tripped = tripped
            .into_iter()
            .find(|event| matches!(event.event, EventKind::Tripped { .. }));
        [
            ("analyzing", panel([healthy()])),
            ("warming up", panel([held(Hold::WarmingUp)])),
            ("paused", panel([paused, healthy()])),
            ("waiting", panel([event(50, waiting), healthy()])),
            ("on hold", panel([held(Hold::Incident)])),
            ("suspected", panel([healthy(), tripped.unwrap()])),
        ]
    }

    fn shown(columns: usize) -> String {
        let shown = states().map(|(name, panel)| {
            let now = event(65, planned()).at;
            let rows = panel.rows(Palette::PLAIN, now, columns);
            for row in &rows {
                assert!(row.chars().count() <= columns, "{columns}: {row}");
            }
            format!("{name}{}", rows.join("\n"))
        });
        shown.join("\n\n")
    }

    #[test]
    fn six_states_at_80_columns() {
        insta::assert_snapshot!(shown(79), @"
        analyzing
          shop/reviews   step 2/4   weights 90/10   about 8m left
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                     image     pods  req/s  failed                4xx    p50     p99
          stable v1  1.4.2  was 3/3     90  0.18 %  ▂             1 %  ≤10ms   ≤25ms
          canary v2  1.5.0      1/2     10     0 %  ▁           1.2 %  ≤25ms  ≤250ms
          to promotion ███████░░░░░ 62 %   to rollback ░░░░░░░░░░░░ 6 %
          healthy so far: v2's error rate is at most 1.5x v1's + 0.8 pp (95 %
          confidence); regression evidence 0.3 (rolls back at 4.6)
          next: 50 % when healthy; Ctrl-C rolls back

        warming up
          shop/reviews   step 2/4   weights 90/10   about 8m left
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                     image     pods  req/s  failed                4xx    p50     p99
          stable v1  1.4.2  was 3/3     90  0.18 %  ▂             1 %  ≤10ms   ≤25ms
          canary v2  1.5.0      1/2     10     0 %  ▁           1.2 %  ≤25ms  ≤250ms
          to promotion ███████░░░░░ 62 %   to rollback ░░░░░░░░░░░░ 6 %
          warming up for about 24s more; v2's error rate is at most 1.5x v1's + 0.8 pp
          (95 % confidence); regression evidence 0.3 (rolls back at 4.6)
          next: 50 % when healthy; Ctrl-C rolls back

        paused
          shop/reviews   step 2/4   weights 90/10
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                     image     pods  req/s  failed                4xx    p50     p99
          stable v1  1.4.2  was 3/3     90  0.18 %  ▂             1 %  ≤10ms   ≤25ms
          canary v2  1.5.0      1/2     10     0 %  ▁           1.2 %  ≤25ms  ≤250ms
          to promotion ███████░░░░░ 62 %   to rollback ░░░░░░░░░░░░ 6 %
          paused by ada@laptop; v2's error rate is at most 1.5x v1's + 0.8 pp (95 %
          confidence); regression evidence 0.3 (rolls back at 4.6)
          continues with kubectl canary resume reviews -n shop; Ctrl-C rolls back

        waiting
          shop/reviews   step 2/4   weights 90/10
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                     image     pods  req/s  failed                4xx    p50     p99
          stable v1  1.4.2  was 3/3     90  0.18 %  ▂             1 %  ≤10ms   ≤25ms
          canary v2  1.5.0      1/2     10     0 %  ▁           1.2 %  ≤25ms  ≤250ms
          to promotion ███████░░░░░ 62 %   to rollback ░░░░░░░░░░░░ 6 %
          waiting for promote; v2's error rate is at most 1.5x v1's + 0.8 pp (95 %
          confidence); regression evidence 0.3 (rolls back at 4.6)
          continues with kubectl canary promote reviews -n shop; Ctrl-C rolls back

        on hold
          shop/reviews   step 2/4   weights 90/10   about 8m left
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                     image     pods  req/s  failed                4xx    p50     p99
          stable v1  1.4.2  was 3/3     90  0.18 %  ▂             1 %  ≤10ms   ≤25ms
          canary v2  1.5.0      1/2     10     0 %  ▁           1.2 %  ≤25ms  ≤250ms
          to promotion ███████░░░░░ 62 %   to rollback ░░░░░░░░░░░░ 6 %
          v1 (stable) is failing: analysis on hold; v2's error rate is at most 1.5x
          v1's + 0.8 pp (95 % confidence); regression evidence 0.3 (rolls back at 4.6)
          next: 50 % when healthy; Ctrl-C rolls back

        suspected
          shop/reviews   step 2/4
          ✓ 1 %   ▸ 0 % for 25s of 1m   · 50 %   · 100 %
                     image     pods  req/s  failed                4xx    p50     p99
          stable v1  1.4.2  was 3/3     90  0.11 %  ▂             1 %  ≤10ms   ≤25ms
          canary v2  1.5.0      1/2     10    21 %  ▁           1.2 %  ≤25ms  ≤250ms
          to promotion ███████░░░░░ 62 %   to rollback ░░░░░░░░░░░░ 6 %
          regression suspected; v2 is at 0 % until confirmed
          next: 0 % until the regression is confirmed or a false alarm; Ctrl-C rolls
          back
        ");
    }

    #[test]
    fn six_states_at_60_columns() {
        insta::assert_snapshot!(shown(59), @"
        analyzing
          shop/reviews   step 2/4   weights 90/10   about 8m left
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                        pods  req/s  failed    4xx    p50     p99
          stable v1  was 3/3     90  0.18 %    1 %  ≤10ms   ≤25ms
          canary v2      1/2     10     0 %  1.2 %  ≤25ms  ≤250ms
          to promotion █████░░░ 62 %   to rollback ░░░░░░░░ 6 %
          healthy so far: v2's error rate is at most 1.5x v1's +
          0.8 pp (95 % confidence); regression evidence 0.3 (rolls
          back at 4.6)
          next: 50 % when healthy; Ctrl-C rolls back

        warming up
          shop/reviews   step 2/4   weights 90/10   about 8m left
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                        pods  req/s  failed    4xx    p50     p99
          stable v1  was 3/3     90  0.18 %    1 %  ≤10ms   ≤25ms
          canary v2      1/2     10     0 %  1.2 %  ≤25ms  ≤250ms
          to promotion █████░░░ 62 %   to rollback ░░░░░░░░ 6 %
          warming up for about 24s more; v2's error rate is at most
          1.5x v1's + 0.8 pp (95 % confidence); regression evidence
          0.3 (rolls back at 4.6)
          next: 50 % when healthy; Ctrl-C rolls back

        paused
          shop/reviews   step 2/4   weights 90/10
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                        pods  req/s  failed    4xx    p50     p99
          stable v1  was 3/3     90  0.18 %    1 %  ≤10ms   ≤25ms
          canary v2      1/2     10     0 %  1.2 %  ≤25ms  ≤250ms
          to promotion █████░░░ 62 %   to rollback ░░░░░░░░ 6 %
          paused by ada@laptop; v2's error rate is at most 1.5x
          v1's + 0.8 pp (95 % confidence); regression evidence 0.3
          (rolls back at 4.6)
          continues with kubectl canary resume reviews -n shop;
          Ctrl-C rolls back

        waiting
          shop/reviews   step 2/4   weights 90/10
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                        pods  req/s  failed    4xx    p50     p99
          stable v1  was 3/3     90  0.18 %    1 %  ≤10ms   ≤25ms
          canary v2      1/2     10     0 %  1.2 %  ≤25ms  ≤250ms
          to promotion █████░░░ 62 %   to rollback ░░░░░░░░ 6 %
          waiting for promote; v2's error rate is at most 1.5x v1's
          + 0.8 pp (95 % confidence); regression evidence 0.3
          (rolls back at 4.6)
          continues with kubectl canary promote reviews -n shop;
          Ctrl-C rolls back

        on hold
          shop/reviews   step 2/4   weights 90/10   about 8m left
          ✓ 1 %   ▸ 10 % for 25s of 1m   · 50 %   · 100 %
                        pods  req/s  failed    4xx    p50     p99
          stable v1  was 3/3     90  0.18 %    1 %  ≤10ms   ≤25ms
          canary v2      1/2     10     0 %  1.2 %  ≤25ms  ≤250ms
          to promotion █████░░░ 62 %   to rollback ░░░░░░░░ 6 %
          v1 (stable) is failing: analysis on hold; v2's error rate
          is at most 1.5x v1's + 0.8 pp (95 % confidence);
          regression evidence 0.3 (rolls back at 4.6)
          next: 50 % when healthy; Ctrl-C rolls back

        suspected
          shop/reviews   step 2/4
          ✓ 1 %   ▸ 0 % for 25s of 1m   · 50 %   · 100 %
                        pods  req/s  failed    4xx    p50     p99
          stable v1  was 3/3     90  0.11 %    1 %  ≤10ms   ≤25ms
          canary v2      1/2     10    21 %  1.2 %  ≤25ms  ≤250ms
          to promotion █████░░░ 62 %   to rollback ░░░░░░░░ 6 %
          regression suspected; v2 is at 0 % until confirmed
          next: 0 % until the regression is confirmed or a false
          alarm; Ctrl-C rolls back
        ");
    }

    #[test]
    fn a_command_before_a_step_is_waited_for_through_the_looks() {
        let fifty = Exposure::Share(crate::plan::Percent::whole(50));
        let started = EventKind::HookStarted {
            step: 3,
            exposure: fifty,
        };
        let failed = EventKind::HookFailed {
            step: 3,
            exposure: fifty,
            why: "failed (exit status: 1)".into(),
            policy: OnHookFailure::Hold,
        };
        let healthy = || look(Verdict::Healthy, AnalysisState::Comparing);
        let shown = |panel: Panel| {
            let rows = panel.rows(Palette::PLAIN, event(65, planned()).at, 79);
            rows.join("\n")
        };
        let running = shown(panel([event(50, started), healthy()]));
        for said in [
            "running the command before 50 %",
            "next: 50 % when the command succeeds",
        ] {
            assert!(running.contains(said), "{running}");
        }
        let held = shown(panel([event(50, failed)]));
        for said in [
            "paused by --before-step; the command before 50 % failed",
            "kubectl canary resume",
        ] {
            assert!(held.contains(said), "{held}");
        }
    }

    #[test]
    fn what_does_not_go_on_is_not_called_healthy() {
        for columns in [59, 79, 119, 199] {
            for (name, panel) in states() {
                let rows = panel.rows(Palette::PLAIN, event(65, planned()).at, columns);
                let says = rows.join("\n").contains("healthy so far");
                assert_eq!(says, name == "analyzing", "{name}");
            }
        }
    }

    #[test]
    fn the_longest_names_fit() {
        let long = "n".repeat(63);
        for columns in [39, 59, 79, 119, 199] {
            for (_, mut panel) in states() {
                panel.owner = (long.clone(), long.clone());
                panel.versions.canary.clone_from(&long);
                panel.versions.stable.clone_from(&long);
                for row in panel.rows(Palette::PLAIN, event(65, planned()).at, columns) {
                    assert!(row.chars().count() <= columns, "{columns}: {row}");
                }
            }
        }
    }

    #[test]
    fn time_goes_on_between_two_looks() {
        let [(_, panel), ..] = states();
        let at = |seconds| {
            let now = event(seconds, planned()).at + SignedDuration::from_millis(400);
            panel.rows(Palette::PLAIN, now, 79).join("\n")
        };
        assert!(at(65).contains("▸ 10 % for 25s of 1m "), "{}", at(65));
        assert!(at(102).contains("▸ 10 % for 1m2s "), "{}", at(102));
    }

    #[test]
    fn every_event_leaves_a_whole_panel() {
        let mut panel = Panel::open(&event(0, planned())).unwrap();
        for event in every_kind() {
            panel.take(&event);
            let rows = panel.rows(Palette::PLAIN, event.at, 79);
            assert!(rows.len() >= 7, "{rows:?}");
            assert!(
                rows[1..].iter().all(|row| !row.trim().is_empty()),
                "{rows:?}"
            );
        }
    }
}
