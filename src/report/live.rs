//! A rollout at a terminal: the lines, and below them a panel that is redrawn in place.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use jiff::SignedDuration;
use jiff::tz::TimeZone;

use super::Palette;
use super::event_formatter::EventFormatter;
use super::lines::HEARTBEAT;
use super::panel::Panel;
use super::renderer::Renderer;
use crate::plan::HumanDuration;
use crate::rollout::{Event, EventKind, Observer};

/// How often the time in the step is drawn anew.
const TICK: Duration = Duration::from_millis(250);
/// Columns before a row of the panel.
const INDENT: usize = 2;

/// Shows a rollout in place.
///
/// Every line that [`Lines`](super::Lines) would write stands above the panel and stays when it is
/// gone; only the heartbeat is left to the panel. Where nothing can be redrawn there is no panel, and
/// the lines go to the other writer. When the rollout has finished, or this value is dropped, the
/// panel is taken away.
pub struct Live<W> {
    multi: MultiProgress,
    otherwise: W,
    formatter: EventFormatter,
    palette: Palette,
    /// The terminal's columns, where lines are wrapped.
    width: fn() -> Option<usize>,
    shown: Option<Shown>,
}

/// A panel on the screen.
struct Shown {
    panel: Panel,
    time: StepTime,
    title: ProgressBar,
    ladder: ProgressBar,
    sides: [ProgressBar; 2],
    bars: ProgressBar,
    note: ProgressBar,
    next: ProgressBar,
    blank: ProgressBar,
}

/// The time in the step: what the last event said, and what has passed since.
///
/// Between two events only the machine's own clock can tell; it decides nothing.
#[derive(Clone)]
struct StepTime(Arc<Mutex<(SignedDuration, Instant)>>);

impl StepTime {
    fn starting_at(elapsed: SignedDuration) -> Self {
        Self(Arc::new(Mutex::new((elapsed, Instant::now()))))
    }

    fn set(&self, elapsed: SignedDuration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (elapsed, Instant::now());
    }

    fn now(&self) -> HumanDuration {
        let (elapsed, since) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = elapsed
            .as_secs()
            .saturating_add_unsigned(since.elapsed().as_secs());
        SignedDuration::from_secs(seconds).into()
    }
}

impl Live<io::Stderr> {
    /// A live view on stderr, with times of day in `zone`.
    pub fn stderr(zone: TimeZone, palette: Palette) -> Self {
        let mut live = Self::new(ProgressDrawTarget::stderr(), io::stderr(), zone, palette);
        live.width = || {
            let (_, columns) = console::Term::stderr().size_checked()?;
            Some(columns.into())
        };
        live
    }
}

impl<W: Write + Send> Live<W> {
    /// A live view on `target`; where that cannot be drawn on, lines to `otherwise`.
    pub fn new(target: ProgressDrawTarget, otherwise: W, zone: TimeZone, palette: Palette) -> Self {
        let multi = MultiProgress::with_draw_target(target);
        let heartbeat = multi.is_hidden().then_some(HEARTBEAT);
        Self {
            multi,
            otherwise,
            formatter: EventFormatter::new(zone, heartbeat),
            palette,
            width: || None,
            shown: None,
        }
    }

    /// Prints a line above the panel, or without one.
    ///
    /// indicatif swallows lines while it hides, so it is asked each time.
    fn print_line(&mut self, line: &str) {
        let drawn = !self.multi.is_hidden() && self.multi.println(line).is_ok();
        if !drawn {
            let _ = writeln!(self.otherwise, "{line}");
            let _ = self.otherwise.flush();
        }
    }

    fn update(&mut self, event: &Event) {
        match &mut self.shown {
            Some(shown) if shown.panel.is_about(event) => shown.panel.take(event),
            Some(_) => return,
            None if self.multi.is_hidden() => return,
            None => {
                let panel = Panel::open(event);
                self.shown = panel.map(|panel| Shown::on(&self.multi, panel, event));
            }
        }
        if let Some(shown) = &self.shown {
            shown.draw(event, self.palette, (self.width)());
        }
    }
}

impl<W> Live<W> {
    fn close(&mut self) {
        if let Some(shown) = self.shown.take() {
            shown.clear();
            // Whatever is printed next must begin on a clean line; a terminal that is gone needs none.
            let _ = self.multi.clear();
        }
    }
}

impl<W: Write + Send> Observer for Live<W> {
    fn see(&mut self, event: &Event) {
        for line in self.formatter.tell(event) {
            let line = match (self.width)() {
                Some(width) => line.render_within(self.palette, width),
                None => line.render(self.palette),
            };
            self.print_line(&line);
        }
        let ours = |shown: &Shown| shown.panel.is_about(event);
        if !matches!(event.event, EventKind::Finished { .. }) {
            self.update(event);
        } else if self.shown.as_ref().is_some_and(ours) {
            self.close();
        }
    }
}

impl<W: Write + Send> Renderer for Live<W> {
    fn print(&mut self, text: &str) {
        if self.shown.is_some() {
            text.split('\n').for_each(|line| self.print_line(line));
        } else {
            let _ = writeln!(self.otherwise, "{text}");
            let _ = self.otherwise.flush();
        }
    }
}

impl<W> Drop for Live<W> {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shown {
    fn on(multi: &MultiProgress, panel: Panel, event: &Event) -> Self {
        let row = |template: &str| {
            let style = ProgressStyle::with_template(template)
                .expect("the templates of the panel are constants that parse");
            ProgressBar::no_length().with_style(style)
        };
        let time = StepTime::starting_at(panel.in_step(event.at));
        let shown_time = time.clone();
        let ladder = row("  {prefix}{in_step}{msg}");
        ladder.set_style(ladder.style().with_key(
            "in_step",
            move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}", shown_time.now());
            },
        ));
        let shown = Self {
            blank: multi.add(row("{wide_msg}")),
            title: multi.add(row("  {wide_msg}")),
            ladder: multi.add(ladder),
            sides: [
                multi.add(row("  {wide_msg}")),
                multi.add(row("  {wide_msg}")),
            ],
            note: multi.add(row("  {wide_msg}")),
            next: multi.add(row("  {wide_msg}")),
            bars: multi.add(row("  {wide_msg}")),
            panel,
            time,
        };
        // indicatif's own thread draws the ladder anew, so that no task of the rollout has to.
        shown.ladder.enable_steady_tick(TICK);
        shown
    }

    fn draw(&self, event: &Event, palette: Palette, width: Option<usize>) {
        self.time.set(self.panel.in_step(event.at));
        self.blank.set_message("");
        self.title.set_message(self.panel.title(palette, event.at));
        let ladder = self.panel.ladder(palette);
        self.ladder.set_prefix(ladder.before);
        self.ladder
            .set_message(self.panel.held_of(event.at) + &ladder.after);
        for (bar, side) in self.sides.iter().zip(self.panel.sides()) {
            bar.set_message(side);
        }
        self.bars.set_message(self.panel.bars(palette));
        let room = width.map(|width| width.saturating_sub(INDENT));
        self.note.set_message(self.panel.note_row(palette, room));
        self.next.set_message(self.panel.next(palette));
    }

    fn clear(&self) {
        self.ladder.disable_steady_tick();
        let rows = [
            &self.blank,
            &self.title,
            &self.ladder,
            &self.bars,
            &self.note,
            &self.next,
        ];
        for bar in rows.into_iter().chain(&self.sides) {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;
    use crate::report::{LineStyle, Lines};
    use indicatif::InMemoryTerm;

    fn live(terminal: &InMemoryTerm, palette: Palette) -> Live<io::Sink> {
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        Live::new(target, io::sink(), TimeZone::UTC, palette)
    }

    fn lines(events: &[Event]) -> String {
        let mut out = Vec::new();
        let mut lines = Lines::new(
            &mut out,
            TimeZone::UTC,
            Palette::PLAIN,
            LineStyle::default(),
        );
        for event in events {
            lines.see(event);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_panel_stands_below_the_lines() {
        let terminal = InMemoryTerm::new(40, 140);
        let mut live = live(&terminal, Palette::PLAIN);
        for event in &test_events::regression()[..4] {
            live.see(event);
        }
        insta::assert_snapshot!(terminal.contents(), @"
        12:00:00 plan         shop/reviews http[primary] v1 -> v2 at 1, 10, 50, 100 %; about 9m at 212 req/s
                 detects             +1 pp failures in 4m with 9.2 failed requests; from +0.2 pp on
                 metrics             istio-system/prometheus:9090
        12:00:00 step 1/4     1 %    weights 99/1, was 100/0
        12:00:04 traffic      1 %    v2 is receiving traffic: 2 of 214 requests

          shop/reviews   v1 -> v2   step 1/4   about 9m left
          ▸ 1 % for 5s of 1m   · 10 %   · 50 %   · 100 %
          v1   212 requests    42/s   0 failed   0 %   ▁
          v2     2 requests   0.4/s   0 failed   0 %   ▁
          not enough data yet: too few requests to judge v2
          next: 10 % when healthy; Ctrl-C rolls back
        ");
    }

    #[test]
    fn what_remains_on_the_screen_are_the_lines() {
        let terminal = InMemoryTerm::new(40, 160);
        let mut live = live(&terminal, Palette::PLAIN);
        let events = test_events::regression();
        for event in &events {
            live.see(event);
        }
        assert_eq!(terminal.contents(), lines(&events).trim_end());
        drop(live);
        assert_eq!(terminal.contents(), lines(&events).trim_end());
    }

    #[test]
    fn a_dropped_view_leaves_no_panel_behind() {
        let terminal = InMemoryTerm::new(40, 160);
        let events = &test_events::regression()[..6];
        let mut live = live(&terminal, Palette::PLAIN);
        for event in events {
            live.see(event);
        }
        assert!(terminal.contents().contains("▸ 10 %"));
        drop(live);
        assert_eq!(terminal.contents(), lines(events).trim_end());
    }

    #[test]
    fn the_next_rollout_gets_a_panel_of_its_own() {
        let terminal = InMemoryTerm::new(60, 160);
        let mut live = live(&terminal, Palette::PLAIN);
        for event in test_events::regression() {
            live.see(&event);
        }
        let mut next = test_events::event(300, test_events::planned());
        next.name = "ratings".into();
        live.see(&next);
        assert!(
            terminal
                .contents()
                .contains("  starting\n  Ctrl-C rolls back")
        );
        assert!(
            terminal
                .contents()
                .contains("  shop/ratings   v1 -> v2   about 9m left\n")
        );
    }

    #[test]
    fn other_text_stands_above_the_panel_too() {
        let terminal = InMemoryTerm::new(60, 160);
        let mut live = live(&terminal, Palette::PLAIN);
        let events = test_events::regression();
        let (before, after) = events.split_at(4);
        for event in before {
            live.see(event);
        }
        live.print("warning: one\n\nwarning: two");
        for event in after {
            live.see(event);
        }
        let contents = terminal.contents();
        let (above, below) = contents
            .split_once("warning: one\n\nwarning: two\n")
            .unwrap();
        assert_eq!(format!("{above}{below}"), lines(&events).trim_end());
    }

    #[test]
    fn without_a_terminal_no_line_is_lost() {
        let mut out = Vec::new();
        let hidden = ProgressDrawTarget::hidden();
        let mut live = Live::new(hidden, &mut out, TimeZone::UTC, Palette::PLAIN);
        let events = test_events::every_kind();
        for event in &events {
            live.see(event);
        }
        drop(live);
        assert_eq!(String::from_utf8(out).unwrap(), lines(&events));
    }

    #[test]
    fn a_narrow_terminal_truncates_the_panel() {
        let terminal = InMemoryTerm::new(60, 40);
        let mut live = live(&terminal, Palette::COLORED);
        for event in &test_events::regression()[..4] {
            live.see(event);
        }
        let contents = terminal.contents();
        assert!(
            contents.contains("  not enough data yet: too few requests\n"),
            "{contents}"
        );
        drop(live);
        assert!(!terminal.contents().contains("not enough data yet"));
    }

    #[test]
    fn time_in_the_step_is_the_time_of_the_events() {
        let time = StepTime::starting_at(SignedDuration::from_secs(72));
        assert_eq!(time.now().to_string(), "1m12s");
        time.set(SignedDuration::ZERO);
        assert_eq!(time.now().to_string(), "0s");
    }
}
