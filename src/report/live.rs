//! A rollout at a terminal: the lines, and below them a panel that is redrawn in place.

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::Palette;
use super::event_formatter::EventFormatter;
use super::footer::{Footer, Printed, TerminalSize};
use super::line::{Line, wrapped};
use super::panel::Panel;
use super::renderer::Renderer;
use crate::rollout::{Event, EventKind, Observer};

/// How often the time in the step is drawn anew, and a terminal of another size is noticed.
const TICK: Duration = Duration::from_millis(250);
/// Of a terminal that does not say.
const USUAL: TerminalSize = TerminalSize {
    columns: 80,
    rows: 24,
};

/// Shows a rollout in place.
///
/// Every line that [`Lines`](super::Lines) would write stands above the panel and stays when it is gone; only the
/// heartbeat is left to the panel. When the rollout has finished, or this value is dropped, the panel is taken away.
pub struct Live<W: Write + Send + 'static> {
    view: Arc<Mutex<LiveView<W>>>,
    formatter: EventFormatter,
    /// Ends the ticks when it is dropped.
    ticks: Option<mpsc::Sender<()>>,
}

/// What is on the screen.
struct LiveView<W> {
    footer: Footer<W>,
    palette: Palette,
    size: fn() -> Option<TerminalSize>,
    /// The panel, with the time of the last event and when that came: between two events only the machine's own clock
    /// can tell the time, and decides nothing.
    shown: Option<(Panel, Timestamp, Instant)>,
}

impl Live<io::Stderr> {
    /// A live view on stderr, with times of day in `zone`.
    pub fn stderr(zone: TimeZone, palette: Palette) -> Self {
        let mut live = Self::new(io::stderr(), zone, palette);
        live.lock().size = || {
            let (rows, columns) = console::Term::stderr().size_checked()?;
            let (rows, columns) = (rows.into(), columns.into());
            Some(TerminalSize { columns, rows })
        };
        let (ticks, stop) = mpsc::channel();
        let view = Arc::downgrade(&live.view);
        let ticking = thread::Builder::new().name("live view".into());
        // Without it the view is drawn at each event.
        if ticking.spawn(move || tick(&view, &stop)).is_ok() {
            live.ticks = Some(ticks);
        }
        live
    }
}

/// Draws the view anew until it is dropped.
fn tick<W: Write>(view: &Weak<Mutex<LiveView<W>>>, stop: &mpsc::Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(TICK) {
        let Some(view) = view.upgrade() else {
            return;
        };
        let mut view = view.lock().unwrap_or_else(PoisonError::into_inner);
        if view.shown.is_some() {
            view.draw(None);
        }
    }
}

impl<W: Write + Send> Live<W> {
    /// A live view on a terminal that is drawn on when something happens.
    pub(super) fn new(out: W, zone: TimeZone, palette: Palette) -> Self {
        let view = LiveView {
            footer: Footer::new(out),
            palette,
            size: || None,
            shown: None,
        };
        Self {
            view: Arc::new(Mutex::new(view)),
            formatter: EventFormatter::new(zone, None),
            ticks: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, LiveView<W>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> LiveView<W> {
    fn draw(&mut self, printed: Option<Printed>) {
        let size = (self.size)().unwrap_or(USUAL);
        let rows = match &self.shown {
            Some((panel, at, since)) => {
                let passed = SignedDuration::try_from(since.elapsed()).unwrap_or_default();
                panel.rows(self.palette, *at + passed, size.room())
            }
            None => Vec::new(),
        };
        self.footer.draw(size, printed, rows);
    }

    fn print_line(&mut self, line: Line) {
        let palette = self.palette;
        self.draw(Some(Box::new(move |columns| {
            line.render_within(palette, columns)
        })));
    }

    fn update(&mut self, event: &Event) {
        match &mut self.shown {
            Some((panel, at, since)) if panel.is_about(event) => {
                panel.take(event);
                (*at, *since) = (event.at, Instant::now());
            }
            Some(_) => return,
            None => {
                let panel = Panel::open(event);
                self.shown = panel.map(|panel| (panel, event.at, Instant::now()));
            }
        }
        self.draw(None);
    }

    fn close(&mut self) {
        if self.shown.take().is_some() {
            self.draw(None);
        }
    }
}

impl<W: Write + Send> Observer for Live<W> {
    fn see(&mut self, event: &Event) {
        let lines = self.formatter.tell(event);
        let mut view = self.lock();
        lines.into_iter().for_each(|line| view.print_line(line));
        let shown = view.shown.as_ref();
        let is_ours = shown.is_some_and(|(panel, ..)| panel.is_about(event));
        if !matches!(event.event, EventKind::Finished { .. }) {
            view.update(event);
        } else if is_ours {
            view.close();
        }
    }
}

impl<W: Write + Send> Renderer for Live<W> {
    fn print(&mut self, text: &str) {
        let text = text.to_owned();
        let printed: Printed = Box::new(move |columns| wrapped(&text, columns));
        self.lock().draw(Some(printed));
    }
}

impl<W: Write + Send> Drop for Live<W> {
    fn drop(&mut self) {
        self.ticks = None;
        self.lock().close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events::{self, told};
    use crate::report::test_terminal::TestTerminal;

    fn terminal() -> (TestTerminal, Live<TestTerminal>) {
        const SIZE: TerminalSize = TerminalSize {
            columns: 141,
            rows: 60,
        };
        let terminal = TestTerminal::new(SIZE);
        let live = Live::new(terminal.clone(), TimeZone::UTC, Palette::PLAIN);
        live.lock().size = || Some(SIZE);
        (terminal, live)
    }

    #[test]
    fn the_panel_stands_below_the_lines() {
        let (terminal, mut live) = terminal();
        for event in &test_events::regression()[..4] {
            live.see(event);
        }
        insta::assert_snapshot!(terminal.contents(), @"
        12:00:00 plan         shop/reviews http[primary] v1 -> v2 at 1, 10, 50, 100 %; about 9m at 212 req/s
                 pods                v1 1.4.2, 3/3 ready; v2 1.5.0, 2/2 ready
                 detects             +1 pp failures in 4m with 9.2 failed requests; from +0.2 pp on
                 metrics             istio-system/prometheus:9090
        12:00:00 step 1/4     1 %    weights 99/1, was 100/0
        12:00:04 traffic      1 %    v2 is receiving traffic: 2 of 214 requests

          shop/reviews   step 1/4   weights 99/1   about 9m left
          ▸ 1 % for 5s of 1m   · 10 %   · 50 %   · 100 %
                     image     pods  requests  req/s  failures  failed                4xx    p50     p99
          stable v1  1.4.2  was 3/3       212     42         0     0 %  ▁           1.4 %  ≤10ms   ≤25ms
          canary v2  1.5.0      2/2         2    0.4         0     0 %  ▁            50 %  ≤10ms  >250ms
          not enough data yet: too few requests to judge v2
          next: 10 % when healthy; Ctrl-C rolls back
        ");
    }

    #[test]
    fn what_remains_on_the_screen_are_the_lines() {
        let (terminal, mut live) = terminal();
        let events = test_events::regression();
        for event in &events {
            live.see(event);
        }
        assert_eq!(terminal.contents(), told(&events).trim_end());
        drop(live);
        assert_eq!(terminal.contents(), told(&events).trim_end());
    }

    #[test]
    fn a_dropped_view_leaves_no_panel_behind() {
        let (terminal, mut live) = terminal();
        let events = &test_events::regression()[..6];
        for event in events {
            live.see(event);
        }
        assert!(terminal.contents().contains("▸ 10 %"));
        drop(live);
        assert_eq!(terminal.contents(), told(events).trim_end());
    }

    #[test]
    fn the_next_rollout_gets_a_panel_of_its_own() {
        let (terminal, mut live) = terminal();
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
                .contains("  shop/ratings   about 9m left\n")
        );
    }

    #[test]
    fn other_text_stands_above_the_panel_too() {
        let (terminal, mut live) = terminal();
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
        assert_eq!(format!("{above}{below}"), told(&events).trim_end());
    }
}
