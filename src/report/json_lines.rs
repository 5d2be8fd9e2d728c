//! Events as lines of JSON on a stream, for programs that read logs.

use std::io::Write;

use serde::Serialize;

use super::escape::escape_json;
use super::renderer::Renderer;
use crate::rollout::{Event, Observer};

/// The version of the form of [`LogMessage`].
const VERSION: u32 = 1;

/// Text that is no event: an error, a warning.
#[derive(Serialize)]
struct LogMessage<'a> {
    version: u32,
    message: &'a str,
}

/// Writes every event, and whatever else there is to say, as a line of JSON.
///
/// A line that cannot be written is lost, as in [`Lines`](super::Lines).
pub struct JsonLines<W> {
    out: W,
}

impl<W: Write + Send> JsonLines<W> {
    /// Lines to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    fn write(&mut self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            let _ = writeln!(self.out, "{}", harmless(&text));
            let _ = self.out.flush();
        }
    }
}

/// JSON that is no command to a terminal or to GitHub's runner.
fn harmless(json: &str) -> String {
    escape_json(json).replace("##[", "#\\u0023[")
}

impl<W: Write + Send> Observer for JsonLines<W> {
    fn see(&mut self, event: &Event) {
        self.write(event);
    }
}

impl<W: Write + Send> Renderer for JsonLines<W> {
    fn print(&mut self, text: &str) {
        self.write(&LogMessage {
            version: VERSION,
            message: text,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;

    #[test]
    fn every_line_is_one_document_that_says_the_same() {
        let mut out = Vec::new();
        let mut lines = JsonLines::new(&mut out);
        let events = test_events::every_kind();
        for event in &events {
            lines.see(event);
        }
        let text = "error: \u{9b}2J ##[add-mask]\nsecond";
        lines.print(text);
        let out = String::from_utf8(out).unwrap();
        let read: Vec<serde_json::Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (message, read) = read.split_last().unwrap();
        let written = events
            .iter()
            .map(|event| serde_json::to_value(event).unwrap());
        assert_eq!(read, written.collect::<Vec<_>>());
        assert_eq!(message["message"], text);
        assert!(!out.contains("##[") && !out.contains('\u{9b}'), "{out}");
    }
}
