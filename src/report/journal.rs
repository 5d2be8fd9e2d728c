//! The events themselves, one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::rollout::{Event, Observer};

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

/// A journal that cannot be opened for writing.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write events to {path}: {source} (try: a file in a directory that you may write to)"
)]
pub struct JournalError {
    path: String,
    source: io::Error,
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
        let file = open().map_err(|source| JournalError {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;

    /// The events of a journal, line by line.
    fn read(path: &Path) -> Vec<serde_json::Result<Event>> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(serde_json::from_str).collect()
    }

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
        let found: Vec<_> = read(&path).into_iter().map(Result::unwrap).collect();
        assert_eq!(found, events);
    }

    #[test]
    fn each_event_is_in_the_file_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut journal = Journal::create(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
        for (index, event) in test_events::regression().iter().enumerate() {
            journal.see(event);
            assert_eq!(read(&path).len(), index + 1);
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
        let found = read(&path);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].as_ref().unwrap(), &events[0]);
        assert!(found[1].is_err(), "the line that was torn");
        assert_eq!(found[2].as_ref().unwrap(), &events[1]);
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
