//! What shows a run while it happens: lines or a live view on stderr, and a file of events.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;

use super::arguments::{LogFormat, Output};
use super::publisher::Publisher;
use crate::error::CommandError;
use crate::foreign_text::root_cause;
use crate::history::{Journal, RunRecord, StateDirectory};
use crate::plan::HumanDuration;
use crate::report::{
    Format, JsonLines, Layout, LineStyle, Lines, Live, Message, OutputQueue, Palette, Pipeline,
    Renderer, RunReport, Terminal, View,
};
use crate::rollout::{Event, Observer};

/// How long the end of the process waits for a stream on which nothing moves.
pub(super) const PATIENCE: Duration = Duration::from_secs(SECONDS as u64);
const SECONDS: u32 = 2;

/// Shows events, and text among them; each stream on a thread of its own.
pub(super) struct Screen {
    stderr: OutputQueue<ToStderr>,
    journal: Option<(PathBuf, OutputQueue<Event>)>,
    history: Option<OutputQueue<Event>>,
    publisher: Option<Publisher>,
    /// What was seen, thinned out: one run as a rule.
    records: Vec<RunRecord>,
}

/// The summary of what was seen, in one piece.
struct SummaryText(String);

impl Message for SummaryText {
    fn is_repeatable(&self) -> bool {
        false
    }
}

/// Something for a person.
enum ToStderr {
    Event(Box<Event>),
    Text(String),
}

impl From<Event> for ToStderr {
    fn from(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

impl Message for ToStderr {
    fn is_repeatable(&self) -> bool {
        match self {
            Self::Event(event) => event.is_repeatable(),
            Self::Text(_) => false,
        }
    }
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

/// At a terminal a live view, elsewhere (and in pipelines that pretend to be one) one line an event.
fn renderer(output: &Output) -> Box<dyn Renderer> {
    if output.log_format == LogFormat::Json {
        return Box::new(JsonLines::new(io::stderr()));
    }
    let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
    let stderr = terminal(&io::stderr(), no_color.as_deref(), term.as_deref());
    let palette = Palette::choose(output.color, stderr);
    let zone = TimeZone::system();
    if redraws(&io::stderr()) && !output.quiet {
        return Box::new(Live::stderr(zone, palette));
    }
    let pipeline = pipeline();
    let columns = || Some(usize::from(console::Term::stderr().size_checked()?.1));
    let style = LineStyle {
        width: (stderr.is_terminal && pipeline.is_none())
            .then(columns)
            .flatten(),
        is_quiet: output.quiet,
        pipeline,
    };
    Box::new(Lines::new(io::stderr(), zone, palette, style))
}

/// The pipeline in whose job this runs.
fn pipeline() -> Option<Pipeline> {
    Pipeline::detect(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

impl Screen {
    /// Begins to show on stderr.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn open(output: &Output) -> io::Result<Self> {
        let output = output.clone();
        let stderr = OutputQueue::start("stderr", move || {
            let mut renderer = renderer(&output);
            Ok(move |message: ToStderr| -> io::Result<()> {
                match message {
                    ToStderr::Event(event) => renderer.see(&event),
                    ToStderr::Text(text) => renderer.print(&text),
                }
                Ok(())
            })
        })?;
        Ok(Self {
            stderr,
            journal: None,
            history: None,
            publisher: None,
            records: Vec::new(),
        })
    }

    /// Writes the events to this file too.
    ///
    /// # Errors
    /// If it cannot be written: before anything has moved.
    pub fn record(&mut self, path: &Path) -> Result<(), CommandError> {
        let theirs = path.to_owned();
        let open = move || {
            let mut journal = Journal::create(&theirs)?;
            Ok(move |event: Event| journal.write(&event))
        };
        let queue = OutputQueue::start("events", open).map_err(|error| {
            CommandError::Usage(format!(
                "--events: cannot write events to {}: {} (try: a file in a directory that you may write to)",
                path.display(),
                root_cause(&error)
            ))
        })?;
        self.journal = Some((path.to_owned(), queue));
        Ok(())
    }

    /// Keeps a record of the run in the user's state directory.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn keep(&mut self, directory: StateDirectory) -> io::Result<()> {
        let open = move || {
            let mut recorder = directory.recorder();
            Ok(move |event: Event| recorder.write(&event))
        };
        self.history = Some(OutputQueue::start("history", open)?);
        Ok(())
    }

    /// Ends the record in the state directory; why it is not whole.
    pub async fn end_history(&self) -> Option<String> {
        let history = self.history.as_ref()?;
        history.finish(Some(PATIENCE)).await;
        let delivery = history.delivery();
        (delivery.lost > 0).then(|| match &delivery.error {
            Some(error) => root_cause(error),
            None => "the disk was too slow".to_owned(),
        })
    }

    /// Tells others, too, from now on.
    pub fn publish(&mut self, publisher: Publisher) {
        self.publisher = Some(publisher);
    }

    /// Ends telling others; what they were not told.
    pub async fn end_publishing(&mut self) -> Vec<String> {
        match self.publisher.take() {
            Some(publisher) => publisher.finish(PATIENCE).await,
            None => Vec::new(),
        }
    }

    /// What was seen of each run.
    pub fn records(&self) -> &[RunRecord] {
        &self.records
    }

    /// Appends what was seen to a file, as Markdown; why that did not work.
    ///
    /// The file may be a pipe that nobody reads or on a disk that is away, so nobody waits for it for long.
    pub async fn summarize(&self, path: &Path) -> Option<String> {
        let reports = self.records.iter().map(RunReport::of);
        let texts = reports.filter_map(|report| report.document(Format::Markdown));
        let text: String = texts.collect();
        let theirs = path.to_owned();
        // Opened where it is written: that may take as long.
        let open = move || {
            Ok(move |SummaryText(text): SummaryText| {
                let mut file = OpenOptions::new().append(true).create(true).open(&theirs)?;
                file.write_all(text.as_bytes())?;
                file.flush()
            })
        };
        let why = match OutputQueue::start("summary", open) {
            Err(error) => root_cause(&error),
            Ok(queue) => {
                queue.push(SummaryText(text));
                queue.finish(Some(PATIENCE)).await;
                let delivery = queue.delivery();
                match delivery.error {
                    Some(error) => root_cause(&error),
                    None if delivery.lost == 0 => return None,
                    None => format!("it took nothing for {}", patience()),
                }
            }
        };
        Some(format!(
            "warning: --summary: cannot write {}: {why}",
            path.display()
        ))
    }

    /// Prints text on stderr; it is never dropped.
    pub fn print(&self, text: impl Into<String>) {
        self.stderr.push(ToStderr::Text(text.into()));
    }

    /// Prints text among the events that another shows.
    pub fn printer(&self) -> impl Fn(&str) + use<> {
        let stderr = self.stderr.clone();
        move |text| stderr.push(ToStderr::Text(text.to_owned()))
    }

    /// Waits until all is shown on stderr, if anything moves there; says whether it is.
    pub async fn is_shown(&self) -> bool {
        self.stderr.flushed(PATIENCE).await
    }

    /// Ends the file of events; says what is not in it.
    pub async fn end_record(&self) -> Option<String> {
        let (path, journal) = self.journal.as_ref()?;
        journal.finish(Some(PATIENCE)).await;
        let delivery = journal.delivery();
        (delivery.lost > 0).then(|| {
            format!(
                "warning: {} of {} events could not be written to {}: {}",
                delivery.lost,
                delivery.pushed,
                path.display(),
                match &delivery.error {
                    Some(error) => root_cause(error),
                    None if delivery.is_stalled => format!("it took none for {}", patience()),
                    None => "it was too slow".to_owned(),
                }
            )
        })
    }

    /// Waits for the last lines, and gives up when nothing moves for so long.
    pub async fn finish(self, patience: Duration) {
        self.stderr.finish(Some(patience)).await;
    }
}

impl Observer for Screen {
    fn see(&mut self, event: &Event) {
        self.stderr.see(event);
        if let Some((_, journal)) = &mut self.journal {
            journal.see(event);
        }
        if let Some(publisher) = &mut self.publisher {
            publisher.see(event);
        }
        if let Some(history) = &mut self.history {
            history.see(event);
        }
        let mut records = self.records.iter_mut();
        match records.find(|record| record.is_of(event)) {
            Some(record) => record.push(event.clone()),
            None => self.records.push(RunRecord::begin(event.clone())),
        }
    }
}

/// [`PATIENCE`], for people.
pub(super) fn patience() -> HumanDuration {
    HumanDuration::seconds(SECONDS)
}

/// Whether a stream is a terminal on which something can stand in place.
pub(super) fn redraws(stream: &impl IsTerminal) -> bool {
    let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
    let stream = terminal(stream, no_color.as_deref(), term.as_deref());
    stream.can_redraw() && std::env::var_os("CI").is_none() && pipeline().is_none()
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
