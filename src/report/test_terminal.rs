//! A terminal for the tests of what is drawn in place.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use super::footer::TerminalSize;

/// What was written, as a terminal shows it.
#[derive(Clone)]
pub(super) struct TestTerminal(Arc<Mutex<(vt100::Parser, usize)>>);

fn parser(size: TerminalSize) -> vt100::Parser {
    let small = |count: usize| u16::try_from(count).unwrap();
    vt100::Parser::new(small(size.rows), small(size.columns), 0)
}

impl TestTerminal {
    pub(super) fn new(size: TerminalSize) -> Self {
        Self(Arc::new(Mutex::new((parser(size), 0))))
    }

    pub(super) fn contents(&self) -> String {
        self.0.lock().unwrap().0.screen().contents()
    }

    /// How many bytes were written.
    pub(super) fn written(&self) -> usize {
        self.0.lock().unwrap().1
    }

    /// Changes the size as a terminal does that wraps and joins rows, as tmux and most others, or as xterm, which cuts
    /// them.
    pub(super) fn resize(&self, size: TerminalSize, wraps: bool) {
        let terminal = &mut self.0.lock().unwrap().0;
        let mut resized = parser(size);
        let (row, column) = terminal.screen().cursor_position();
        let columns = terminal.screen().size().1;
        let rows: Vec<_> = terminal.screen().rows(0, columns).collect();
        let text = match wraps {
            true => terminal.screen().contents_between(0, 0, row, column),
            false => {
                let cut = |row: &String| row.chars().take(size.columns).collect::<String>();
                let mut rows: Vec<_> = rows[..usize::from(row)].iter().map(cut).collect();
                rows.push(String::new());
                rows.join("\n")
            }
        };
        resized.process(text.replace('\n', "\r\n").as_bytes());
        *terminal = resized;
    }
}

impl Write for TestTerminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (terminal, written) = &mut *self.0.lock().unwrap();
        // As a terminal has it that is not in raw mode.
        let text = String::from_utf8_lossy(bytes).replace('\n', "\r\n");
        terminal.process(text.as_bytes());
        *written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
