//! One line an event, for pipelines and logs.

use std::io::Write;

use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::event_formatter::EventFormatter;
use super::job_log::{JobLog, JobText};
use super::line::{Line, wrapped};
use super::palette::{Palette, Tone};
use super::pipeline::Pipeline;
use super::renderer::Renderer;
use crate::rollout::{Event, EventKind, Observer};

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
    /// What the pipeline shows beyond lines.
    job: Option<JobLog>,
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
            job: style.pipeline.map(JobLog::new),
        }
    }

    fn write_line(&mut self, line: &str) {
        let _ = match self.style.pipeline {
            Some(pipeline) => writeln!(self.out, "{}", pipeline.harmless(line)),
            None => writeln!(self.out, "{line}"),
        };
    }

    /// Writes what is meant for the pipeline itself.
    fn command(&mut self, commands: impl IntoIterator<Item = String>) {
        for command in commands {
            let _ = writeln!(self.out, "{command}");
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
        if let (Some(job), false) = (&mut self.job, self.style.is_quiet) {
            let commands = job.group(event);
            self.command(commands);
        }
        for line in &lines {
            let text = match self.style.width {
                Some(width) => line.render_within(self.palette, width),
                None => line.render(self.palette),
            };
            self.write_line(&text);
        }
        let job = self.job.as_ref();
        let annotation = job.and_then(|job| job.annotation(event, &lines));
        self.command(annotation);
        let _ = self.out.flush();
    }
}

impl<W: Write + Send> Renderer for Lines<W> {
    fn print(&mut self, text: &str) {
        let commands = self.job.as_mut().map(|job| job.printed(text));
        match commands {
            Some(JobText::Commands(commands)) => self.command(commands),
            Some(JobText::Plain) | None => match self.style.width {
                Some(width) => self.write_line(&wrapped(text, width)),
                None => self.write_line(text),
            },
        }
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events::{self, told, told_in};

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
