//! The events themselves, one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::rollout::{Event, Observer};

/// The newest version of an event that this binary reads.
const NEWEST: u32 = 1;

/// Appends every event to a file, and leaves nothing in a buffer.
///
/// A write that fails later, on a full disk for instance, does not stop the rollout; the
/// [`JournalFault`] tells of it.
pub struct Journal<W = File> {
    out: W,
    fault: JournalFault,
}

/// What went wrong while a journal was written; outlives the journal.
#[derive(Clone, Debug, Default)]
pub struct JournalFault(Arc<Mutex<Option<io::Error>>>);

impl JournalFault {
    /// The first error, if there was one; asked again, it is gone.
    pub fn take(&self) -> Option<io::Error> {
        // An error is set in one step, so a panic elsewhere cannot have left half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, error: io::Error) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }
}

/// A journal that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened for writing.
    #[error(
        "cannot write events to {path}: {source} (try: a file in a directory that you may write to)"
    )]
    Create {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read events: {0}")]
    Read(#[from] io::Error),
    /// A newer kubectl canary wrote it.
    #[error(
        "line {line} holds an event of version {found}, this kubectl canary reads up to {NEWEST} (try: the kubectl canary that wrote it)"
    )]
    Newer {
        /// The line, from 1.
        line: usize,
        /// The version found.
        found: u64,
    },
}

/// What a journal holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// The events, in the order in which they were written.
    pub events: Vec<Event>,
    /// Lines that hold no event, from 1: what a process wrote when it died.
    pub damaged: Vec<usize>,
}

impl Journal<File> {
    /// Opens the file for appending and creates it if need be, before anything has moved.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let open = || {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .open(path)?;
            // A process that died in the middle of a line must not spoil the first of this one.
            if is_torn(&mut file)? {
                file.write_all(b"\n")?;
            }
            Ok(file)
        };
        let file = open().map_err(|source| JournalError::Create {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Self::new(file))
    }
}

fn is_torn(file: &mut File) -> io::Result<bool> {
    let about = file.metadata()?;
    // A pipe or /dev/stderr has no end to look at.
    if !about.is_file() || about.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

impl<W: Write> Journal<W> {
    /// A journal on any writer.
    pub fn new(out: W) -> Self {
        Self {
            out,
            fault: JournalFault::default(),
        }
    }

    /// Where to learn of a write that failed.
    pub fn fault(&self) -> JournalFault {
        self.fault.clone()
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        // One write a line, so that a reader of the growing file never sees half of one.
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

impl<W: Write + Send> Observer for Journal<W> {
    fn see(&mut self, event: &Event) {
        if let Err(error) = self.write(event) {
            self.fault.set(error);
        }
    }
}

impl Recording {
    /// Reads a journal back.
    ///
    /// # Errors
    /// If it cannot be read, or is of a newer version. A line that holds no event is no error: it is
    /// what a killed process leaves behind.
    pub fn read(journal: impl BufRead) -> Result<Self, JournalError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let mut recording = Self::default();
        for (index, line) in journal.split(b'\n').enumerate() {
            let (line, number) = (line?, index + 1);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice::<Versioned>(&line) {
                Ok(Versioned { version }) if version > u64::from(NEWEST) => {
                    return Err(JournalError::Newer {
                        line: number,
                        found: version,
                    });
                }
                Ok(_) | Err(_) => match serde_json::from_slice(&line) {
                    Ok(event) => recording.events.push(event),
                    Err(_) => recording.damaged.push(number),
                },
            }
        }
        Ok(recording)
    }

    /// Reads a journal's file back.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::read(io::BufReader::new(File::open(path)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;

    #[test]
    fn every_kind_of_event_comes_back_as_it_went() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let events = test_events::every_kind();
        let (first, second) = events.split_at(7);
        for part in [first, second] {
            let mut journal = Journal::create(&path).unwrap();
            for event in part {
                journal.see(event);
            }
            assert!(journal.fault().take().is_none());
        }
        let recording = Recording::open(&path).unwrap();
        assert_eq!(recording.events, events);
        assert_eq!(recording.damaged, [0; 0]);
    }

    #[test]
    fn each_event_is_in_the_file_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        for (index, event) in test_events::regression().iter().enumerate() {
            journal.see(event);
            assert_eq!(Recording::open(&path).unwrap().events.len(), index + 1);
        }
    }

    #[test]
    fn a_path_that_cannot_be_written_fails_before_the_work() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing").join("events.jsonl");
        let Err(error) = Journal::create(&path) else {
            panic!("a journal in a directory that is not there");
        };
        let text = error.to_string();
        assert!(text.starts_with("cannot write events to "), "{text}");
        assert!(text.contains("(try: "), "{text}");
    }

    #[test]
    fn a_killed_process_costs_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let events = test_events::regression();
        let line = serde_json::to_string(&events[0]).unwrap();
        std::fs::write(&path, format!("{line}\n{}", &line[..40])).unwrap();
        Journal::create(&path).unwrap().see(&events[1]);
        let recording = Recording::open(&path).unwrap();
        assert_eq!(recording.events, events[..2]);
        assert_eq!(recording.damaged, [2]);
    }

    #[test]
    fn a_newer_journal_is_not_half_understood() {
        let text = "{\"version\":2,\"event\":{\"type\":\"unheard-of\"}}\n";
        let error = Recording::read(text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("line 1 holds an event of version 2"),
            "{error}"
        );
    }

    #[test]
    fn a_full_disk_is_told_and_does_not_stop_the_rollout() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut journal = Journal::new(Full);
        let fault = journal.fault();
        for event in test_events::regression() {
            journal.see(&event);
        }
        drop(journal);
        assert_eq!(fault.take().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(fault.take().is_none());
    }
}
