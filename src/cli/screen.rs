//! Which renderers listen to a run.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;

use super::arguments::Output;
use crate::error::CommandError;
use crate::report::{Journal, JournalFault, Layout, Lines, Live, Palette, Tee, Terminal};

/// The renderers on stderr and, if asked for, in a file.
pub(super) struct Screen {
    pub tee: Tee,
    fault: Option<JournalFault>,
}

fn terminal<'a>(
    stream: &impl IsTerminal,
    no_color: Option<&'a std::ffi::OsStr>,
    term: Option<&'a std::ffi::OsStr>,
) -> Terminal<'a> {
    Terminal {
        is_terminal: stream.is_terminal(),
        no_color,
        term,
    }
}

impl Screen {
    /// At a terminal a live view, elsewhere (and in pipelines that pretend to be one) one line an event.
    ///
    /// # Errors
    /// If the file for events cannot be created: before anything has moved.
    pub fn new(output: &Output) -> Result<Self, CommandError> {
        let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
        let stderr = terminal(&io::stderr(), no_color.as_deref(), term.as_deref());
        let palette = Palette::choose(output.color, stderr);
        let zone = TimeZone::system();
        let mut tee = Tee::new();
        if redraws(&io::stderr()) {
            tee.push(Box::new(Live::stderr(zone, palette)));
        } else {
            tee.push(Box::new(Lines::new(io::stderr(), zone, palette)));
        }
        let mut fault = None;
        if let Some(path) = &output.events {
            let journal = Journal::create(path)
                .map_err(|error| CommandError::Usage(format!("--events: {error}")))?;
            fault = Some(journal.fault());
            tee.push(Box::new(journal));
        }
        Ok(Self { tee, fault })
    }

    /// No renderer at all.
    pub fn silent() -> Self {
        Self {
            tee: Tee::new(),
            fault: None,
        }
    }

    /// What went wrong with the file meanwhile; a rollout does not end for it.
    pub fn fault(&self) -> Option<io::Error> {
        self.fault.as_ref().and_then(JournalFault::take)
    }
}

/// Whether a stream is a terminal on which something can stand in place.
pub(super) fn redraws(stream: &impl IsTerminal) -> bool {
    let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
    let stream = terminal(stream, no_color.as_deref(), term.as_deref());
    stream.can_redraw() && std::env::var_os("CI").is_none()
}

/// How far many rollouts are, on stderr; only where a person looks.
pub(super) fn progress(rollouts: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{pos} of {len} rollouts {wide_bar}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(rollouts), ProgressDrawTarget::stderr()).with_style(style)
}

/// How results look on stdout.
pub(super) fn layout(output: &Output, namespaced: bool) -> Layout {
    let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
    let stdout = terminal(&io::stdout(), no_color.as_deref(), term.as_deref());
    Layout {
        wide: false,
        namespaced,
        without_headers: output.no_headers,
        palette: Palette::choose(output.color, stdout),
    }
}
