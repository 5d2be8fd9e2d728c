//! What the log of a pipeline's job shows beyond lines: a group for each step, and annotations.

use jiff::Timestamp;

use super::escape::escape;
use super::line::Line;
use super::palette::Tone;
use super::pipeline::{Annotation, Pipeline};
use crate::rollout::{Cause, Event, EventKind};

/// The log of a job, with the group that is open and when it was last written to.
pub(super) struct JobLog {
    pipeline: Pipeline,
    open: Option<(String, Timestamp)>,
}

/// A text of the program's own in the log of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JobText {
    /// As these lines, which the pipeline takes for commands.
    Commands(Vec<String>),
    /// As it is.
    Plain,
}

impl JobLog {
    pub(super) fn new(pipeline: Pipeline) -> Self {
        Self {
            pipeline,
            open: None,
        }
    }

    /// What comes before the lines of an event: a step is a group, and what ends the rollout stands outside.
    pub(super) fn group(&mut self, event: &Event) -> Vec<String> {
        let mut commands = Vec::new();
        match &event.event {
            EventKind::StepStarted {
                step,
                step_count,
                exposure,
                ..
            } => {
                commands.extend(self.end_group(Some(event.at)));
                let id = format!("canary_{}_{step}", event.run);
                let title = format!("step {step}/{step_count}: {exposure}");
                if let Some(command) = self.pipeline.begin_group(&id, &title, event.at) {
                    commands.push(command);
                    self.open = Some((id, event.at));
                }
            }
            EventKind::RollingBack { .. }
            | EventKind::RolledBack { .. }
            | EventKind::Finished { .. } => commands.extend(self.end_group(Some(event.at))),
            _ => {
                if let Some((_, last)) = &mut self.open {
                    *last = event.at;
                }
            }
        }
        commands
    }

    fn end_group(&mut self, at: Option<Timestamp>) -> Option<String> {
        let (id, last) = self.open.take()?;
        Some(self.pipeline.end_group(&id, at.unwrap_or(last)))
    }

    /// What stands beside the log: the end, if it was none to be glad of, and what may need a person.
    pub(super) fn annotation(&self, event: &Event, lines: &[Line]) -> Option<String> {
        let is_notable = matches!(
            event.event,
            EventKind::Warning { .. }
                | EventKind::Drifted { .. }
                | EventKind::NoVerdict { .. }
                | EventKind::HookFailed { .. }
                | EventKind::RolledBack { .. }
                | EventKind::Finished { .. }
        );
        let line = lines.first().filter(|line| is_notable && !line.goes_on())?;
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
            Tone::Plain | Tone::Good | Tone::Quiet | Tone::Strong => return None,
        };
        let object = format!("{}/{}", event.namespace, event.name);
        let title = format!("kubectl canary: {}", escape(&object));
        let text = format!("{}: {}", line.word, line.text);
        self.pipeline.annotation(level, &title, &text)
    }

    /// How a text is printed: an error or a warning as an annotation, outside of any group.
    pub(super) fn printed(&mut self, text: &str) -> JobText {
        let levels = [
            ("error: ", Annotation::Error),
            ("warning: ", Annotation::Warning),
        ];
        let level = levels.into_iter().find(|(word, _)| text.starts_with(word));
        let Some((word, level)) = level else {
            return JobText::Plain;
        };
        let said = &text[word.len()..];
        let annotation = self.pipeline.annotation(level, "kubectl canary", said);
        let text = annotation.unwrap_or_else(|| self.pipeline.harmless(text).into_owned());
        JobText::Commands(self.end_group(None).into_iter().chain([text]).collect())
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::report::test_events::{self, poisoned};
    use crate::report::{LineStyle, Lines, Palette, Renderer};
    use crate::rollout::Observer;

    fn in_log(pipeline: Pipeline, write: impl FnOnce(&mut Lines<&mut Vec<u8>>)) -> String {
        let style = LineStyle {
            pipeline: Some(pipeline),
            ..LineStyle::default()
        };
        let mut out = Vec::new();
        write(&mut Lines::new(
            &mut out,
            TimeZone::UTC,
            Palette::PLAIN,
            style,
        ));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pipelines_log_has_dates_groups_and_annotations() {
        let in_log = |pipeline| {
            let text = in_log(pipeline, |lines| {
                let events = test_events::regression();
                events.iter().for_each(|event| lines.see(event));
            });
            let lines = text.lines().map(|line| line.chars().take(72).collect());
            let lines: Vec<String> = lines.collect();
            lines
                .join("\n")
                .replace('\r', "<CR>")
                .replace('\x1b', "<ESC>")
        };
        insta::assert_snapshot!(in_log(Pipeline::GitHub), @"
        2026-01-01T12:00:00+00:00 plan         shop/reviews http[primary] v1 -> 
                                  pods                v1 1.4.2, 3/3 ready; v2 1.
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
        for event in test_events::every_kind() {
            let json = serde_json::to_value(&event.event).unwrap();
            let kind = serde_json::from_value(poisoned(json, &poison)).unwrap();
            let event = Event {
                namespace: poison("shave"),
                event: kind,
                ..event
            };
            for line in in_log(Pipeline::GitHub, |lines| lines.see(&event)).lines() {
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
        let text = in_log(Pipeline::GitHub, |lines| {
            lines.print("error: 50 % of\n::add-mask::x");
            lines.print("first\n  ::add-mask::x\nand ##[add-mask]x");
        });
        assert_eq!(
            text,
            "::error title=kubectl canary::50 %25 of%0A::add-mask::x\nfirst\n  : :add-mask::x\nand # #[add-mask]x\n"
        );
    }
}
