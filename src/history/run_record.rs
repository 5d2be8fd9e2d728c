//! The events of one run of one rollout.

use jiff::Timestamp;

use crate::istio::Weights;
use crate::plan::{Exposure, Percent};
use crate::rollout::{
    Event, EventKind, LastRollout, ObjectName, Outcome, Reason, RouteChange, Segment,
};

/// The version of the events that this program writes, and the newest that it can read.
const VERSION: u32 = 1;

/// Looks at the metrics that a record in memory holds at most; beyond, every second one is dropped.
const LOOKS: usize = 600;

/// What happened in a run, in order. There is at least one event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunRecord {
    events: Vec<Event>,
}

/// Why a text is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// There is no event in it.
    #[error("there is no event in it")]
    Empty,
    /// A newer program wrote it.
    #[error("it is of version {0}, which this version cannot read (try: a newer kubectl canary)")]
    Newer(u32),
    /// It holds several runs.
    #[error("it holds events of {0} runs (try: --run with one of {1})")]
    SeveralRuns(usize, String),
}

impl RunRecord {
    /// Begins with an event.
    pub fn begin(event: Event) -> Self {
        Self {
            events: vec![event],
        }
    }

    /// Reads lines of JSON, of `run` alone where one is named. Lines that are no events are left out: a
    /// process that was killed leaves half of one.
    ///
    /// # Errors
    /// If nothing is left, a newer program wrote it, or it is of several runs and none was named.
    pub fn read(text: &str, run: Option<&str>) -> Result<Self, RecordError> {
        let mut events = Vec::new();
        for line in text.lines() {
            match serde_json::from_str::<Event>(line) {
                Ok(event) if run.is_none_or(|run| run == event.run) => events.push(event),
                Ok(_) => {}
                Err(_) => newer(line).map_or(Ok(()), |version| Err(RecordError::Newer(version)))?,
            }
        }
        let mut runs: Vec<_> = events.iter().map(|event| event.run.as_str()).collect();
        runs.sort_unstable();
        runs.dedup();
        match runs.len() {
            0 => Err(RecordError::Empty),
            1 => Ok(Self { events }),
            several => Err(RecordError::SeveralRuns(several, runs.join(", "))),
        }
    }

    /// Adds an event of the same run.
    pub fn push(&mut self, event: Event) {
        self.events.push(event);
        if is_look(self.events.last()) && self.looks() > LOOKS {
            self.thin();
        }
    }

    /// Adds what another process saw of the same run.
    pub fn merge(&mut self, other: Self) {
        for event in other.events {
            if !self.events.contains(&event) {
                self.events.push(event);
            }
        }
        self.events.sort_by_key(|event| event.at);
    }

    /// Drops every second look at the metrics, but none that follows another event or comes before one:
    /// those show what a decision rested on. Whether any could be dropped.
    pub fn thin(&mut self) -> bool {
        let before = self.events.len();
        let mut kept = Vec::with_capacity(before);
        let mut dropped_last = false;
        for (index, event) in self.events.iter().enumerate() {
            let neighbour = |at: Option<usize>| is_look(at.and_then(|at| self.events.get(at)));
            let is_inner = is_look(Some(event))
                && neighbour(index.checked_sub(1))
                && neighbour(index.checked_add(1));
            dropped_last = is_inner && !dropped_last;
            if !dropped_last {
                kept.push(event.clone());
            }
        }
        self.events = kept;
        self.events.len() < before
    }

    /// Whether an event belongs to this run of this object.
    pub fn is_of(&self, event: &Event) -> bool {
        let first = self.first();
        (&first.run, &first.namespace, &first.name) == (&event.run, &event.namespace, &event.name)
    }

    /// The events, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whose rollout it was.
    pub fn object(&self) -> ObjectName {
        ObjectName {
            namespace: self.first().namespace.clone(),
            name: self.first().name.clone(),
        }
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.first().run
    }

    /// When the first event happened.
    pub fn began(&self) -> Timestamp {
        self.first().at
    }

    /// How it ended, and when; `None` while it is under way, or where no process saw its end.
    ///
    /// A process that left it was not its end if another went on with it. What ended on the object has
    /// ended, whatever a process that noticed it later says of its own part.
    pub fn end(&self) -> Option<(Timestamp, Outcome)> {
        let mut end: Option<(Timestamp, Outcome)> = None;
        for event in &self.events {
            let is_over = end.is_some_and(|(_, outcome)| outcome.ends_rollout());
            match event.event {
                EventKind::RolledBack { cause, .. } => {
                    end = Some((event.at, Outcome::RolledBack(cause)));
                }
                // Said once more by the process that did it, or by one that noticed.
                EventKind::Finished { outcome, .. }
                    if is_over && end.is_some_and(|(_, known)| known == outcome) => {}
                EventKind::Finished { outcome, .. }
                    if !is_over || outcome.ends_rollout() || outcome == Outcome::RollbackFailed =>
                {
                    end = Some((event.at, outcome));
                }
                EventKind::Planned { .. }
                | EventKind::StepStarted { .. }
                | EventKind::Promoted { .. }
                | EventKind::Paused { .. }
                | EventKind::Resumed { .. }
                    if !is_over =>
                {
                    end = None;
                }
                _ => {}
            }
        }
        end
    }

    /// What the canary got from when on: first what it had before, then each change that was seen.
    pub fn exposures(&self) -> Vec<Segment> {
        let share = |routes: &[RouteChange], weights: fn(&RouteChange) -> &Weights| {
            let mut shares = routes
                .iter()
                .filter_map(|change| change.canary_share(weights(change)));
            Exposure::Share(shares.next().unwrap_or_default())
        };
        let mut segments: Vec<Segment> = Vec::new();
        for event in &self.events {
            let exposure = match &event.event {
                EventKind::StepStarted {
                    exposure, routes, ..
                } => {
                    if segments.is_empty() {
                        segments.push(Segment {
                            exposure: share(routes, |change| &change.before),
                            since: self.began(),
                        });
                    }
                    *exposure
                }
                EventKind::Tripped { .. } => Exposure::NONE,
                EventKind::FalseAlarm { exposure, .. } | EventKind::Promoted { exposure, .. } => {
                    *exposure
                }
                EventKind::RolledBack { routes, .. } => share(routes, |change| &change.after),
                _ => continue,
            };
            if segments.last().is_none_or(|last| last.exposure != exposure) {
                segments.push(Segment {
                    exposure,
                    since: event.at,
                });
            }
        }
        segments
    }

    /// Stable and canary, where the record knows them.
    pub fn versions(&self) -> Option<(&str, &str)> {
        self.events.iter().find_map(|event| match &event.event {
            EventKind::Planned { stable, canary, .. } => Some((stable.as_str(), canary.as_str())),
            EventKind::Finished { stable, canary, .. } => {
                Some((stable.as_deref()?, canary.as_deref()?))
            }
            _ => None,
        })
    }

    /// Adds the end that stands on the object, where no process whose record this is saw it.
    pub fn add_end(&mut self, last: &LastRollout) {
        let is_over = self
            .end()
            .is_some_and(|(_, outcome)| outcome.ends_rollout());
        if last.run != self.run() || is_over {
            return;
        }
        let event = Event {
            at: last.at,
            event: EventKind::Finished {
                outcome: last.outcome,
                stable: Some(last.stable.clone()),
                canary: Some(last.canary.clone()),
                exposure: match last.outcome {
                    Outcome::Promoted | Outcome::AlreadyPromoted => {
                        Exposure::Share(Percent::HUNDRED)
                    }
                    _ => {
                        let before = self.exposures().first().map(|before| before.exposure);
                        before.unwrap_or(Exposure::NONE)
                    }
                },
                took: last.at.duration_since(self.began()).into(),
                total_counts: None,
                reasons: vec![Reason::Ended {
                    outcome: last.outcome,
                    by: last.changed_by.clone(),
                }],
                next: None,
            },
            ..self.first().clone()
        };
        self.events.push(event);
        self.events.sort_by_key(|event| event.at);
    }

    /// One line of JSON an event.
    pub fn to_lines(&self) -> String {
        let mut text = String::new();
        for event in &self.events {
            // An event that was read or made has a form in JSON.
            if let Ok(line) = serde_json::to_string(event) {
                text += &line;
                text.push('\n');
            }
        }
        text
    }

    fn first(&self) -> &Event {
        self.events.first().expect("a record has an event")
    }

    fn looks(&self) -> usize {
        let looks = self.events.iter().filter(|event| is_look(Some(event)));
        looks.count()
    }
}

fn is_look(event: Option<&Event>) -> bool {
    event.is_some_and(|event| matches!(event.event, EventKind::Analyzed { .. }))
}

/// The version of a line that cannot be read because it is newer.
fn newer(line: &str) -> Option<u32> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    let version = u32::try_from(value.get("version")?.as_u64()?).ok()?;
    (version > VERSION).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;

    fn regression() -> RunRecord {
        let lines: Vec<_> = test_events::regression()
            .iter()
            .map(|event| serde_json::to_string(event).unwrap())
            .collect();
        RunRecord::read(&lines.join("\n"), None).unwrap()
    }

    #[test]
    fn a_record_is_read_back_from_its_lines_whatever_stands_between_them() {
        let record = regression();
        let text = record
            .to_lines()
            .replacen('\n', "\n{\"version\":1,\"at\n\n", 1);
        assert_eq!(RunRecord::read(&text, None).unwrap(), record);
        assert!(record.end().is_some());
    }

    #[test]
    fn a_newer_record_none_and_several_runs_are_told_apart() {
        let record = regression();
        let newer = record.to_lines() + "{\"version\":2,\"event\":{\"kind\":\"new\"}}\n";
        assert_eq!(RunRecord::read(&newer, None), Err(RecordError::Newer(2)));
        assert_eq!(RunRecord::read("", None), Err(RecordError::Empty));
        let other = record.to_lines().replace(record.run(), "other");
        let both = record.to_lines() + &other;
        let error = RunRecord::read(&both, None).unwrap_err();
        assert!(matches!(error, RecordError::SeveralRuns(2, _)), "{error}");
        assert_eq!(
            RunRecord::read(&both, Some("other")).unwrap().run(),
            "other"
        );
    }

    #[test]
    fn what_two_processes_saw_is_one_story() {
        let whole = regression();
        let part = |range: std::ops::Range<usize>| RunRecord {
            events: whole.events[range].to_vec(),
        };
        let count = whole.events.len();
        let mut merged = part(2..count);
        merged.merge(part(0..4));
        assert_eq!(merged, whole);
    }

    /// The regression's record up to its second step, and what follows in another process.
    fn left_and_then(events: impl IntoIterator<Item = EventKind>) -> RunRecord {
        let whole = regression();
        let is_end = |event: &Event| {
            matches!(
                event.event,
                EventKind::Tripped { .. } | EventKind::Regressed { .. }
            )
        };
        let until = whole.events.iter().position(is_end).unwrap();
        let mut events_before = whole.events[..until].to_vec();
        let at = events_before.last().unwrap().at;
        let more = events.into_iter().zip(1..).map(|(event, second)| Event {
            at: at + jiff::SignedDuration::from_secs(second),
            event,
            ..whole.first().clone()
        });
        events_before.extend(more);
        RunRecord {
            events: events_before,
        }
    }

    fn finished(outcome: Outcome) -> EventKind {
        EventKind::Finished {
            outcome,
            stable: Some("v1".into()),
            canary: Some("v2".into()),
            exposure: Exposure::Share(Percent::HUNDRED),
            took: "1m".parse().unwrap(),
            total_counts: None,
            reasons: Vec::new(),
            next: None,
        }
    }

    #[test]
    fn a_run_ends_with_the_process_that_ended_it() {
        let promoted = || EventKind::Promoted {
            by: "bob@desk".into(),
            exposure: Exposure::Share(Percent::HUNDRED),
        };
        let rolled_back = regression()
            .events
            .into_iter()
            .map(|event| event.event)
            .find(|event| matches!(event, EventKind::RolledBack { .. }))
            .unwrap();
        let regressed = Outcome::RolledBack(crate::rollout::Cause::Regression);
        for (events, expected) in [
            (vec![], None),
            (vec![finished(Outcome::Held)], Some(Outcome::Held)),
            (vec![finished(Outcome::Held), promoted()], None),
            (
                vec![
                    finished(Outcome::Held),
                    promoted(),
                    finished(Outcome::Promoted),
                ],
                Some(Outcome::Promoted),
            ),
            // The displaced driver says so when the other is done.
            (
                vec![finished(Outcome::Promoted), finished(Outcome::TakenOver)],
                Some(Outcome::Promoted),
            ),
            // `abort` of a version that did not say the end.
            (vec![rolled_back.clone()], Some(regressed)),
            (
                vec![rolled_back, finished(Outcome::RollbackFailed)],
                Some(Outcome::RollbackFailed),
            ),
        ] {
            let record = left_and_then(events);
            let outcome = record.end().map(|(_, outcome)| outcome);
            assert_eq!(outcome, expected, "{:#?}", record.events.last());
        }
    }

    #[test]
    fn an_end_that_nobody_recorded_is_the_one_on_the_object() {
        let mut last = LastRollout {
            version: 1,
            run: regression().run().to_owned(),
            stable: "v1".into(),
            canary: "v2".into(),
            outcome: Outcome::Promoted,
            at: "2026-01-01T13:00:00Z".parse().unwrap(),
            changed_by: "bob@desk".into(),
            plan_hash: "h".into(),
            lead: None,
            baseline: None,
            before: None,
        };
        let mut record = left_and_then([]);
        record.add_end(&last);
        assert_eq!(record.end(), Some((last.at, Outcome::Promoted)));
        let mut ended = regression();
        ended.add_end(&last);
        assert_eq!(ended, regression(), "it knows better");
        last.run = "another".into();
        let mut other = left_and_then([]);
        other.add_end(&last);
        assert_eq!(other.end(), None);
    }

    #[test]
    fn only_looks_between_looks_are_dropped() {
        let look = test_events::regression()
            .into_iter()
            .find(|event| is_look(Some(event)))
            .unwrap();
        let mut record = regression();
        for _ in 0..3 * LOOKS {
            record.push(look.clone());
        }
        assert!(record.looks() <= LOOKS, "{}", record.looks());
        let others = |record: &RunRecord| {
            let events = record.events.iter();
            events
                .filter(|event| !is_look(Some(event)))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(others(&record), others(&regression()));
        while record.thin() {}
        assert_eq!(others(&record), others(&regression()));
        assert_eq!(record.events.last(), Some(&look));
    }
}
