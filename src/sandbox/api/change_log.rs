//! What happened to the objects, as far back as a watch may ask.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::sync::watch;

/// The first resourceVersion is not 1, so that no client takes it for a count.
const FIRST_REVISION: u64 = 1000;

/// How many changes a watch can go back.
const REMEMBERED: usize = 4096;

/// Plural, namespace (empty at the cluster scope) and name.
pub(crate) type Key = (&'static str, String, String);

/// What happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct ObjectChange {
    pub revision: u64,
    pub key: Key,
    /// The object before, if there was one.
    pub before: Option<Value>,
    /// The object after, if there still is one.
    pub after: Option<Value>,
    /// The object as a watch shows it: as it is, or as it last was, at this revision.
    pub object: Value,
}

/// The changes of the past and the revision of the present.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    revision: u64,
    /// A watch from a revision before this one gets 410 Gone.
    oldest: u64,
    changes: VecDeque<ObjectChange>,
    moved: watch::Sender<u64>,
}

impl ChangeLog {
    pub(crate) fn new() -> Self {
        Self {
            revision: FIRST_REVISION,
            oldest: FIRST_REVISION,
            changes: VecDeque::new(),
            moved: watch::Sender::new(FIRST_REVISION),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Begins the next revision; what is written in it is remembered afterwards.
    pub(crate) fn advance(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Remembers a change of this revision and wakes the watches.
    pub(crate) fn remember(&mut self, change: ObjectChange) {
        self.changes.push_back(change);
        if self.changes.len() > REMEMBERED
            && let Some(forgotten) = self.changes.pop_front()
        {
            self.oldest = forgotten.revision;
        }
        self.moved.send_replace(self.revision);
    }

    /// Changes after a revision, oldest first.
    pub(crate) fn since(&self, revision: u64) -> impl Iterator<Item = &ObjectChange> {
        let from = self
            .changes
            .partition_point(|change| change.revision <= revision);
        self.changes.range(from..)
    }

    /// Wakes watches whenever something changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Wakes every watch although nothing changed, so that it checks its deadline again.
    pub(crate) fn nudge(&self) {
        self.moved.send_modify(|_| {});
    }

    /// Forgets the past: a watch from before now is gone, as after a compaction of etcd.
    pub(crate) fn compact(&mut self) {
        self.changes.clear();
        self.oldest = self.advance();
        self.moved.send_replace(self.revision);
    }
}
