//! Rows that stay at the bottom of a terminal, below lines that pass by.

use std::collections::VecDeque;
use std::io::Write;

use console::measure_text_width;

/// How many texts are kept to be printed anew.
const KEPT: usize = 256;

/// What a terminal has room for, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TerminalSize {
    pub columns: usize,
    pub rows: usize,
}

/// A text as it is printed into so many columns, without the last line break.
pub(super) type Printed = Box<dyn Fn(usize) -> String + Send>;

/// Rows at the bottom, redrawn in place.
///
/// Each ends with a line break and is shorter than the terminal is wide, so that none is wrapped, and none is joined
/// to another where the terminal grows. Where it shrinks, some terminals wrap what no longer fits and others cut it,
/// and a program cannot tell: then all that was printed is printed anew on the whole screen.
pub(super) struct Footer<W> {
    out: W,
    above: VecDeque<Printed>,
    rows: Vec<String>,
    size: Option<TerminalSize>,
    /// Whether nothing but what was printed here is on the screen.
    is_ours: bool,
}

impl TerminalSize {
    /// The columns that a row may take: one in the last column leaves some terminals on it and others on the next row.
    pub(super) fn room(self) -> usize {
        self.columns.saturating_sub(1)
    }
}

impl<W: Write> Footer<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            above: VecDeque::new(),
            rows: Vec::new(),
            size: None,
            is_ours: false,
        }
    }

    /// Prints a text above the rows, if there is one, and draws the rows, of which the first are left out where they
    /// are too many. Nothing is written where nothing has changed.
    pub(super) fn draw(
        &mut self,
        size: TerminalSize,
        printed: Option<Printed>,
        mut rows: Vec<String>,
    ) {
        let room = size.rows.saturating_sub(1);
        rows.drain(..rows.len().saturating_sub(room));
        if printed.is_none() && self.size == Some(size) && self.rows == rows {
            return;
        }
        let before = self.size.replace(size);
        let shrank = before.is_some_and(|before| size.columns < before.columns);
        // Rows of others may have come back from above the screen.
        self.is_ours &= before.is_some_and(|before| size.rows <= before.rows);
        let frame = if shrank && !self.rows.is_empty() {
            self.above.extend(printed);
            self.repainted(size, &rows)
        } else {
            let mut frame = match self.rows.len() {
                0 => String::new(),
                rows => format!("\r\x1b[{rows}A\x1b[J"),
            };
            if let Some(printed) = printed {
                frame += &format!("{}\n", printed(size.room()));
                self.above.push_back(printed);
            }
            for row in &rows {
                frame += &format!("{row}\n");
            }
            frame
        };
        self.above.drain(..self.above.len().saturating_sub(KEPT));
        self.rows = rows;
        // A terminal that is gone is no reason to leave a rollout half done.
        let _ = self.out.write_all(frame.as_bytes());
        let _ = self.out.flush();
    }

    /// The whole screen: what was printed last, and the rows.
    fn repainted(&mut self, size: TerminalSize, rows: &[String]) -> String {
        let mut left = size.rows.saturating_sub(1 + rows.len());
        let mut above = Vec::new();
        for printed in self.above.iter().rev() {
            let text = printed(size.room());
            let rows = text.split('\n').map(|row| {
                let width = measure_text_width(row);
                width.div_ceil(size.columns.max(1)).max(1)
            });
            let rows: usize = rows.sum();
            if rows > left {
                break;
            }
            left -= rows;
            above.push(text);
        }
        above.reverse();
        let mut frame = String::new();
        if !self.is_ours && above.len() == self.above.len() {
            // What stands above is others' and moves up, out of sight.
            frame = format!("\x1b[{}B{}", size.rows, "\n".repeat(size.rows));
        }
        self.is_ours = true;
        // Row by row: some terminals keep a screen that is cleared as a whole, above themselves, and a row that is only
        // written over stays joined to the next.
        frame += "\x1b[H";
        for row in above.iter().flat_map(|text| text.split('\n')) {
            frame += &format!("\x1b[2K{row}\x1b[K\n");
        }
        for row in rows {
            frame += &format!("\x1b[2K{row}\x1b[K\n");
        }
        frame + "\x1b[J"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::row::flow_words;
    use crate::report::test_terminal::TestTerminal;
    use crate::report::{Palette, Tone};

    const WIDE: TerminalSize = TerminalSize {
        columns: 60,
        rows: 14,
    };

    fn printed(text: &'static str) -> Option<Printed> {
        Some(Box::new(move |columns| {
            flow_words(Palette::PLAIN, Tone::Plain, text, columns).join("\n")
        }))
    }

    fn rows(columns: usize) -> Vec<String> {
        let rows = ["shop/reviews at ten percent of all the requests", "healthy"];
        let rows = rows.map(|row| crate::report::row::shortened(row, columns));
        rows.to_vec()
    }

    /// A terminal with something of others', lines and a footer.
    fn begun() -> (TestTerminal, Footer<TestTerminal>) {
        let terminal = TestTerminal::new(WIDE);
        let mut footer = Footer::new(terminal.clone());
        footer.draw(WIDE, printed("$ kubectl get pods"), vec![]);
        for line in [
            "12:00:00 step 1 of 4, the weights are 99/1, were 100/0",
            "12:00:05 v2 is receiving traffic: 2 of 214 requests",
        ] {
            footer.draw(WIDE, printed(line), rows(WIDE.room()));
        }
        (terminal, footer)
    }

    #[test]
    fn rows_stand_below_what_is_printed() {
        let (terminal, mut footer) = begun();
        insta::assert_snapshot!(terminal.contents(), @"
        $ kubectl get pods
        12:00:00 step 1 of 4, the weights are 99/1, were 100/0
        12:00:05 v2 is receiving traffic: 2 of 214 requests
        shop/reviews at ten percent of all the requests
        healthy
        ");
        footer.draw(WIDE, None, vec![]);
        insta::assert_snapshot!(terminal.contents(), @"
        $ kubectl get pods
        12:00:00 step 1 of 4, the weights are 99/1, were 100/0
        12:00:05 v2 is receiving traffic: 2 of 214 requests
        ");
    }

    #[test]
    fn no_terminal_keeps_debris_when_it_is_resized() {
        for wraps in [true, false] {
            for sizes in [
                &[(30, 14)][..],
                &[(90, 14)],
                &[(30, 14), (90, 14)],
                &[(40, 9), (25, 14), (60, 20), (59, 20)],
            ] {
                let (terminal, mut footer) = begun();
                for &(columns, rows_) in sizes {
                    let size = TerminalSize {
                        columns,
                        rows: rows_,
                    };
                    terminal.resize(size, wraps);
                    footer.draw(size, None, rows(size.room()));
                    footer.draw(size, printed("12:00:09 on it goes"), rows(size.room()));
                    let shown = terminal.contents();
                    let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
                    let footer = rows(size.room());
                    assert!(
                        lines.ends_with(&[&footer[0], "healthy"]),
                        "{sizes:?}, {wraps}:\n{shown}"
                    );
                    for row in &footer {
                        let times = lines.iter().filter(|line| *line == row).count();
                        assert_eq!(times, 1, "{sizes:?}, {wraps}:\n{shown}");
                    }
                    assert_eq!(
                        shown.matches("12:00:05").count(),
                        1,
                        "{sizes:?}, {wraps}:\n{shown}"
                    );
                    assert_eq!(
                        shown.matches("shop/").count(),
                        1,
                        "{sizes:?}, {wraps}:\n{shown}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_still_terminal_is_not_written_to() {
        let (terminal, mut footer) = begun();
        let before = terminal.written();
        footer.draw(WIDE, None, rows(WIDE.room()));
        assert_eq!(terminal.written(), before);
    }

    #[test]
    fn a_low_terminal_shows_the_last_rows() {
        let low = TerminalSize {
            columns: 60,
            rows: 2,
        };
        let terminal = TestTerminal::new(low);
        Footer::new(terminal.clone()).draw(low, printed("above"), rows(low.room()));
        assert_eq!(terminal.contents(), "healthy");
    }
}
