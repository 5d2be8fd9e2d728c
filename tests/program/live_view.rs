//! The live view of a real rollout while its terminal changes its size.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::termios::{Winsize, tcsetwinsize};

use crate::blocked_output::terminal;
use crate::harness::PROGRAM;

const ROWS: u16 = 45;
/// Longer than it takes to notice another size.
const SETTLED: Duration = Duration::from_millis(900);

/// The demo in a terminal.
struct Demo {
    child: Child,
    keyboard: OwnedFd,
    output: File,
    screen: vt100::Parser,
}

impl Demo {
    fn begin(columns: u16) -> Self {
        let (output, terminal) = terminal();
        resize(&terminal, columns);
        let child = Command::new(PROGRAM)
            .arg("demo")
            .env("TERM", "xterm-256color")
            .env_remove("CI")
            .stdin(Stdio::null())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal.try_clone().unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            keyboard: terminal,
            output,
            screen: vt100::Parser::new(ROWS, columns, 0),
        }
    }

    fn read(&mut self) {
        let mut part = [0; 4096];
        let read = self.output.read(&mut part).expect("the demo goes on");
        self.screen.process(&part[..read]);
    }

    fn until(&mut self, text: &str) {
        while !self.screen.screen().contents().contains(text) {
            self.read();
        }
    }

    /// What is shown some time after the terminal has become this wide, once the panel stands there whole: a frame is
    /// read in parts. The terminal wraps and joins rows as most do, or cuts them as xterm does.
    fn resized(&mut self, columns: u16, wraps: bool) -> String {
        let screen = self.screen.screen();
        let (row, column) = screen.cursor_position();
        let text = match wraps {
            true => screen.contents_between(0, 0, row, column),
            false => {
                let rows = screen.rows(0, columns).take(row.into());
                rows.map(|row| row + "\n").collect()
            }
        };
        let mut resized = vt100::Parser::new(ROWS, columns, 0);
        resized.process(text.replace('\n', "\r\n").as_bytes());
        self.screen = resized;
        resize(&self.keyboard, columns);
        let begun = Instant::now();
        while begun.elapsed() < SETTLED || !is_panel_whole(&self.screen.screen().contents()) {
            self.read();
        }
        self.screen.screen().contents()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: &OwnedFd, columns: u16) {
    let size = Winsize {
        ws_row: ROWS,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

/// A part of each line of the panel, the last one last.
const OF_PANEL: [&str; 4] = [
    "shop/reviews   step ",
    "▸ ",
    "to promotion ",
    "Ctrl-C rolls back",
];

fn is_panel_whole(shown: &str) -> bool {
    OF_PANEL.iter().all(|part| shown.contains(part)) && shown.trim_end().ends_with(OF_PANEL[3])
}

/// No line stands there twice, and the panel once.
fn assert_tidy(shown: &str, columns: u16) {
    let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
    let is_whole = |line: &&&str| {
        let is_timed = line.as_bytes().get(2) == Some(&b':');
        is_timed || (line.starts_with("  ") && !line.starts_with("   "))
    };
    let mut whole: Vec<_> = lines.iter().filter(is_whole).collect();
    let count = whole.len();
    assert!(count > 5, "{columns}:\n{shown}");
    whole.sort();
    whole.dedup();
    assert_eq!(whole.len(), count, "{columns}:\n{shown}");
    for part in OF_PANEL {
        assert_eq!(shown.matches(part).count(), 1, "{columns}:\n{shown}");
    }
}

#[test]
fn a_resize_leaves_no_debris() {
    let mut demo = Demo::begin(120);
    demo.until("weights 90/10");
    demo.until("canary v2");
    for (columns, wraps) in [(70, true), (130, true), (60, false), (110, false)] {
        let shown = demo.resized(columns, wraps);
        assert_tidy(&shown, columns);
    }
}
