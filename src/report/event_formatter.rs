//! Formats events as lines, and remembers what has been printed so that nothing is repeated.

use std::mem::Discriminant;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::line::{Line, Place};
use super::palette::Tone;
use super::phrase::{ToldWeights, Versions};
use crate::metrics::MetricsWarning;
use crate::plan::Exposure;
use crate::report::escape;
use crate::rollout::{Event, EventKind, Reason};
use crate::verdict::Verdict;

const TIME_OF_DAY: &str = "%H:%M:%S";
const DATED: &str = "%Y-%m-%dT%H:%M:%S%:z";

/// Formats the events of one rollout after the other.
///
/// Analyses of the metrics are left out until one differs from the last that was printed; weights are
/// compared with the ones that were printed last.
#[derive(Debug)]
pub(super) struct EventFormatter {
    zone: TimeZone,
    time: &'static str,
    heartbeat: Option<SignedDuration>,
    memory: RolloutMemory,
}

/// What has been printed of one rollout.
#[derive(Debug, Default)]
pub(super) struct RolloutMemory {
    pub(super) versions: Versions,
    pub(super) exposure: Option<Exposure>,
    pub(super) told: ToldWeights,
    pub(super) spoke: Option<Timestamp>,
    pub(super) verdict: Option<Verdict>,
    /// The reasons that were given at this step so far.
    pub(super) given: Vec<Vec<Reason>>,
    /// The kinds of warnings about the metrics that were given so far.
    pub(super) warned: Vec<Discriminant<MetricsWarning>>,
    pub(super) tripped: bool,
    pub(super) undecided: bool,
    pub(super) rolled_back: bool,
    pub(super) next: Option<String>,
}

impl EventFormatter {
    /// Times of day are in `zone`; after `heartbeat` without a line, the next analysis is printed.
    pub(super) fn new(zone: TimeZone, heartbeat: Option<SignedDuration>) -> Self {
        Self {
            zone,
            time: TIME_OF_DAY,
            heartbeat,
            memory: RolloutMemory::default(),
        }
    }

    /// Times have their date and zone: a log is read on other days and elsewhere.
    pub(super) fn with_dates(mut self) -> Self {
        self.time = DATED;
        self
    }

    /// The lines for `event`; often none.
    pub(super) fn tell(&mut self, event: &Event) -> Vec<Line> {
        let mut text = EventText {
            event,
            object: escape(&format!("{}/{}", event.namespace, event.name)).into_owned(),
            zone: &self.zone,
            time: self.time,
            heartbeat: self.heartbeat,
            memory: &mut self.memory,
            lines: Vec::new(),
        };
        text.tell();
        let lines = text.lines;
        if !lines.is_empty() {
            self.memory.spoke = Some(event.at);
        }
        // The same stream may show another rollout after this one.
        if matches!(event.event, EventKind::Finished { .. }) {
            self.memory = RolloutMemory::default();
        }
        lines
    }
}

/// One event on its way to lines.
pub(super) struct EventText<'a> {
    pub(super) event: &'a Event,
    pub(super) object: String,
    zone: &'a TimeZone,
    time: &'static str,
    heartbeat: Option<SignedDuration>,
    pub(super) memory: &'a mut RolloutMemory,
    lines: Vec<Line>,
}

impl EventText<'_> {
    /// Whether a look says something that was not said in this step, or silence has lasted too long.
    ///
    /// A step begins without data, so that is no news in itself.
    pub(super) fn is_news(&mut self, verdict: Verdict, reasons: &[Reason]) -> bool {
        let memory = &mut self.memory;
        let expected = memory.verdict.is_none() && verdict == Verdict::NotEnoughData;
        let changed = memory.verdict.replace(verdict) != Some(verdict);
        let new = !memory
            .given
            .iter()
            .any(|given| Reason::are_alike(given, reasons));
        if new {
            memory.given.push(reasons.to_vec());
        }
        let silent_since = |spoke| self.event.at.duration_since(spoke);
        let overdue = match (self.heartbeat, memory.spoke) {
            (Some(heartbeat), Some(spoke)) => silent_since(spoke) >= heartbeat,
            (Some(_), None) => true,
            (None, _) => false,
        };
        overdue || (!expected && (changed || new))
    }

    /// A step begins: what was said of the one before counts no more.
    pub(super) fn begin(&mut self, exposure: Exposure) {
        self.memory.exposure = Some(exposure);
        self.memory.verdict = None;
        self.memory.given.clear();
        self.memory.tripped = false;
        self.memory.undecided = false;
        self.memory.rolled_back = false;
        self.memory.next = None;
    }

    pub(super) fn say(&mut self, word: &str, tone: Tone, exposure: Option<Exposure>, text: String) {
        if exposure.is_some() {
            self.memory.exposure = exposure;
        }
        self.head(word, tone, exposure.map_or(Place::Gap, Place::At), text);
    }

    pub(super) fn head(&mut self, word: &str, tone: Tone, place: Place, text: String) {
        let time = self.time();
        self.push(time, word, tone, place, text);
    }

    pub(super) fn add(&mut self, word: &str, tone: Tone, text: String) {
        let blank = " ".repeat(self.time().len());
        self.push(blank, word, tone, Place::Gap, text);
    }

    /// The command that comes next, unless it is the one that was named last.
    pub(super) fn next(&mut self, command: String) {
        if self.memory.next.as_ref() != Some(&command) {
            self.add("next", Tone::Strong, command.clone());
            self.memory.next = Some(command);
        }
    }

    fn push(&mut self, time: String, word: &str, tone: Tone, place: Place, text: String) {
        self.lines.push(Line {
            time,
            word: word.to_owned(),
            tone,
            place,
            text,
        });
    }

    pub(super) fn command(&self, verb: &str) -> String {
        let (name, namespace) = (escape(&self.event.name), escape(&self.event.namespace));
        format!("kubectl canary {verb} {name} -n {namespace}")
    }

    fn time(&self) -> String {
        let at = self.event.at.to_zoned(self.zone.clone());
        at.strftime(self.time).to_string()
    }
}
