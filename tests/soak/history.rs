//! What stood on the objects, version by version, and who wrote it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::routes::{RouteWeights, weights};

/// Who wrote a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The set-up, or another client than ours.
    Other,
    /// One of our processes, by its number.
    Process(usize),
}

/// An object as it stood from some time on.
#[derive(Clone, Debug)]
pub struct Version {
    pub at: Timestamp,
    /// Its resourceVersion.
    pub revision: u64,
    pub author: Author,
    /// `None` once it was deleted.
    pub object: Option<Value>,
}

impl Version {
    /// Its weights; `None` once it was deleted.
    pub fn weights(&self) -> Option<BTreeMap<String, RouteWeights>> {
        self.object.as_ref().map(weights)
    }
}

/// All versions of all objects.
#[derive(Debug, Default)]
pub struct History(BTreeMap<String, Vec<Version>>);

impl History {
    pub fn add(&mut self, name: &str, version: Version) {
        self.0.entry(name.to_owned()).or_default().push(version);
    }

    pub fn of(&self, name: &str) -> &[Version] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn last(&self, name: &str) -> &Version {
        self.of(name).last().expect("every object is set up")
    }

    /// The version that a process had read when this was the newest that it knew of.
    pub fn at_revision(&self, name: &str, revision: u64) -> Option<&Version> {
        let mut versions = self.of(name).iter().rev();
        versions.find(|version| version.revision <= revision)
    }
}

/// The resourceVersion of an object, or of a list of them.
pub fn revision_of(object: &Value) -> Option<u64> {
    object["metadata"]["resourceVersion"].as_str()?.parse().ok()
}
