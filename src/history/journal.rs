//! The events themselves, one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::rollout::Event;

/// Appends every event to a file, and leaves nothing in a buffer.
pub(crate) struct Journal<W = File> {
    out: W,
    /// Whether the last line is incomplete.
    is_torn: bool,
}

impl Journal<File> {
    /// Opens the file for appending and creates it if need be, before anything has moved.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let is_torn = is_torn(&mut file)?;
        Ok(Self { out: file, is_torn })
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
    /// Appends one event.
    ///
    /// # Errors
    /// If it is not in the file, or not whole; the next may be, on a line of its own.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = Vec::new();
        // A process that died in the middle of a line, or a disk that was full for a while, must not
        // spoil the next one.
        if self.is_torn {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, event)?;
        line.push(b'\n');
        // One write a line where the system lets us, so that a reader of the growing file never sees
        // half of one.
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = &rest[written..];
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.flush()
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
                journal.write(event).unwrap();
            }
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
            journal.write(event).unwrap();
            assert_eq!(read(&path).len(), index + 1);
        }
    }

    #[test]
    fn a_killed_process_costs_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let events = test_events::regression();
        let line = serde_json::to_string(&events[0]).unwrap();
        std::fs::write(&path, format!("{line}\n{}", &line[..40])).unwrap();
        Journal::create(&path).unwrap().write(&events[1]).unwrap();
        let found = read(&path);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].as_ref().unwrap(), &events[0]);
        assert!(found[1].is_err(), "the line that was torn");
        assert_eq!(found[2].as_ref().unwrap(), &events[1]);
    }

    #[test]
    fn a_disk_that_was_full_for_a_while_costs_what_did_not_fit() {
        /// Takes so many bytes, and then refuses once.
        struct Filling(usize, Vec<u8>);
        impl Write for Filling {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let fits = bytes.len().min(self.0);
                if fits == 0 {
                    self.0 = usize::MAX;
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.0 -= fits;
                self.1.extend(&bytes[..fits]);
                Ok(fits)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let events = test_events::regression();
        let first = serde_json::to_string(&events[0]).unwrap().len() + 1;
        // In the middle of the second line, and at its very beginning.
        for room in [first + 30, first] {
            let mut journal = Journal {
                out: Filling(room, Vec::new()),
                is_torn: false,
            };
            journal.write(&events[0]).unwrap();
            let error = journal.write(&events[1]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            journal.write(&events[2]).unwrap();
            let text = String::from_utf8(journal.out.1).unwrap();
            let whole = text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            assert_eq!(
                whole.collect::<Vec<Event>>(),
                [&events[0], &events[2]].map(Clone::clone)
            );
            assert_eq!(text.lines().count(), if room > first { 3 } else { 2 });
        }
    }
}
