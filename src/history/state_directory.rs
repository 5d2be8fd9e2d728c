//! The records of the runs that this machine drove: `kubectl-canary/history` in the user's state directory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Journal, RunRecord};
use crate::rollout::{Event, ObjectName};

/// Records of one object that are kept; older ones are removed when another begins.
const KEPT: usize = 50;

/// How much of a record is read for its end, in bytes: some dozen events.
const TAIL: u64 = 64 * 1024;

/// Where the records of one cluster are.
#[derive(Clone, Debug)]
pub struct StateDirectory {
    root: PathBuf,
}

impl StateDirectory {
    /// That of `server` in the state directory of this environment, as the XDG specification places it;
    /// `None` where there is no home.
    pub(crate) fn of(server: &str, env: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let state = env("XDG_STATE_HOME")
            .and_then(|path| absolute(path.into()))
            .or_else(|| Some(absolute(env("HOME")?.into())?.join(".local/state")))?;
        Some(Self {
            root: state.join("kubectl-canary/history").join(file_name(server)),
        })
    }

    /// Where the records of an object are, one file a run.
    fn directory(&self, object: &ObjectName) -> PathBuf {
        self.root
            .join(file_name(&object.namespace))
            .join(file_name(&object.name))
    }

    /// Writes events as they come, each to the record of its run.
    pub(crate) fn recorder(self) -> Recorder {
        Recorder {
            directory: self,
            open: BTreeMap::new(),
        }
    }

    /// The records of an object, and why one cannot be read.
    ///
    /// # Errors
    /// If the directory cannot be read. That there is none is no error.
    pub(crate) fn records(
        &self,
        object: &ObjectName,
    ) -> io::Result<Vec<Result<RunRecord, String>>> {
        let files = match records_in(&self.directory(object)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        Ok(files
            .iter()
            .map(|path| read(path).map_err(|why| format!("{}: {why}", path.display())))
            .collect())
    }

    /// The last events of a run, if this machine has a record of it: enough to tell its end, however long
    /// the run was.
    pub(crate) fn end_of(&self, object: &ObjectName, run: &str) -> Option<RunRecord> {
        let mut file = fs::File::open(self.path(object, run)).ok()?;
        let length = file.seek(SeekFrom::End(0)).ok()?;
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
            .ok()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        RunRecord::read(&String::from_utf8_lossy(&text), Some(run)).ok()
    }

    /// The runs of an object that this machine has records of.
    pub(crate) fn runs(&self, object: &ObjectName) -> Vec<String> {
        let files = records_in(&self.directory(object)).unwrap_or_default();
        let name = |path: &PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
        files.iter().filter_map(name).collect()
    }

    fn path(&self, object: &ObjectName, run: &str) -> PathBuf {
        let name = format!("{}.jsonl", file_name(run));
        self.directory(object).join(name)
    }
}

/// Appends events to the records of their runs.
pub(crate) struct Recorder {
    directory: StateDirectory,
    open: BTreeMap<(ObjectName, String), Journal>,
}

impl Recorder {
    /// Appends one event.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        let object = ObjectName {
            namespace: event.namespace.clone(),
            name: event.name.clone(),
        };
        let directory = self.directory.directory(&object);
        let path = self.directory.path(&object, &event.run);
        let journal = match self.open.entry((object, event.run.clone())) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(free) => {
                fs::create_dir_all(&directory)?;
                remove_old(&directory);
                free.insert(Journal::create(&path)?)
            }
        };
        journal.write(event)
    }
}

/// A name as one part of a path: what could be more than that becomes an underscore.
fn file_name(name: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-.".contains(char);
    let name: String = name
        .chars()
        .map(|char| if plain(char) { char } else { '_' })
        .take(200)
        .collect();
    match name.trim_matches('.') {
        "" => "_".into(),
        _ => name,
    }
}

fn read(path: &Path) -> Result<RunRecord, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    RunRecord::read(&String::from_utf8_lossy(&text), None).map_err(|error| error.to_string())
}

fn records_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Makes room for another. Failing costs nothing but room.
fn remove_old(directory: &Path) {
    let changed = |path: &PathBuf| fs::metadata(path).and_then(|about| about.modified()).ok();
    let Ok(mut files) = records_in(directory) else {
        return;
    };
    files.sort_by_key(changed);
    for path in files.iter().rev().skip(KEPT - 1) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;

    fn directory(home: &Path) -> StateDirectory {
        let home = home.as_os_str().to_owned();
        StateDirectory::of("https://[::1]:6443/", |key| {
            (key == "XDG_STATE_HOME").then(|| home.clone())
        })
        .unwrap()
    }

    fn reviews() -> ObjectName {
        "shop/reviews".parse().unwrap()
    }

    #[test]
    fn the_state_directory_is_where_the_environment_says() {
        let of = |pairs: &[(&str, &str)]| {
            let found = StateDirectory::of("https://a:6443", |key| {
                let pair = pairs.iter().find(|(name, _)| *name == key);
                pair.map(|(_, value)| value.into())
            });
            found.map(|found| found.root.display().to_string())
        };
        let server = "kubectl-canary/history/https___a_6443";
        for (pairs, expected) in [
            (
                &[("XDG_STATE_HOME", "/s"), ("HOME", "/h")][..],
                Some(format!("/s/{server}")),
            ),
            // The specification has relative paths ignored.
            (
                &[("XDG_STATE_HOME", "s"), ("HOME", "/h")],
                Some(format!("/h/.local/state/{server}")),
            ),
            (&[], None),
        ] {
            assert_eq!(of(pairs), expected);
        }
    }

    #[test]
    fn events_come_back_as_records_of_their_runs() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(home.path());
        assert!(directory.records(&reviews()).unwrap().is_empty());
        let mut recorder = directory.clone().recorder();
        for event in test_events::regression() {
            recorder.write(&event).unwrap();
            let other = Event {
                run: "../other".into(),
                ..event
            };
            recorder.write(&other).unwrap();
        }
        let records = directory.records(&reviews()).unwrap();
        let runs: Vec<_> = records
            .iter()
            .map(|record| record.as_ref().unwrap().run())
            .collect();
        assert_eq!(runs, ["../other", "0198c0de"]);
        assert_eq!(
            records[1].as_ref().unwrap().events(),
            test_events::regression()
        );
        let path = directory.directory(&reviews()).join("broken.jsonl");
        fs::write(&path, "no event").unwrap();
        let records = directory.records(&reviews()).unwrap();
        let why = records.into_iter().find_map(Result::err).unwrap();
        assert!(
            why.ends_with("broken.jsonl: there is no event in it"),
            "{why}"
        );
    }

    #[test]
    fn only_so_many_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(home.path());
        let event = &test_events::regression()[0];
        for run in 0..KEPT + 20 {
            let mut recorder = directory.clone().recorder();
            let event = Event {
                run: format!("run-{run}"),
                ..event.clone()
            };
            recorder.write(&event).unwrap();
        }
        let records = directory.records(&reviews()).unwrap();
        assert_eq!(records.len(), KEPT);
    }
}
