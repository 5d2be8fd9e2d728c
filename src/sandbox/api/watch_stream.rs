//! Watches: what has happened since a revision, line by line.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::kinds::{ResourceKind, shown};
use super::route::{QueryParams, ResourcePath};
use super::selector::ObjectSelector;
use super::status::ApiStatus;
use super::table;
use crate::sandbox::state::WorldState;

/// How long a watch lasts when the client does not say.
const DEFAULT_TIMEOUT: i64 = 1800;

/// A running watch.
#[derive(Debug)]
pub(crate) struct WatchStream {
    kind: &'static ResourceKind,
    version: String,
    namespace: Option<String>,
    selector: ObjectSelector,
    table: bool,
    bookmarks: bool,
    /// Everything up to this revision has been sent.
    revision: u64,
    epoch: u64,
    /// When the server ends the watch.
    pub ends: Timestamp,
    ready: VecDeque<Value>,
    over: bool,
}

/// What a watch has next.
#[derive(Debug, PartialEq)]
pub(crate) enum WatchLine {
    /// An event.
    Event(String),
    /// Nothing for now.
    Nothing,
    /// Nothing any more.
    End,
}

/// The line that says that the revision is too old.
pub(crate) fn expired(asked: u64, oldest: u64) -> String {
    let status = ApiStatus::expired(asked, oldest).text();
    format!(r#"{{"type":"ERROR","object":{status}}}"#)
}

impl WatchStream {
    pub(crate) fn open(
        state: &WorldState,
        target: &ResourcePath<'_>,
        query: &QueryParams,
        table: bool,
    ) -> Result<Self, ApiStatus> {
        let selector =
            ObjectSelector::parse(query.get("labelSelector"), query.get("fieldSelector"))
                .and_then(|selector| selector.checked(target.kind))
                .map_err(ApiStatus::bad_request)?;
        let seconds = query.get("timeoutSeconds").parse();
        let ends = state.at + SignedDuration::from_secs(seconds.unwrap_or(DEFAULT_TIMEOUT));
        let mut watch = Self {
            kind: target.kind,
            version: target.version.to_owned(),
            namespace: target.namespace.map(str::to_owned),
            selector,
            table,
            bookmarks: query.is_set("allowWatchBookmarks"),
            revision: state.store.revision(),
            epoch: state.watch_epoch,
            ends,
            ready: VecDeque::new(),
            over: false,
        };
        let from = match query.get("resourceVersion") {
            "" | "0" => None,
            text => Some(text.parse::<u64>().map_err(|_| {
                ApiStatus::bad_request(format!("invalid resource version: {text:?}"))
            })?),
        };
        // A stream that starts with a list tells what there is, whatever revision it names.
        let streamed = query.is_set("sendInitialEvents");
        match from {
            Some(from) if !streamed => {
                // A revision that is too old gets an error as the first line of a normal response.
                watch.revision = from;
            }
            _ => {
                let found: Vec<Value> = state
                    .store
                    .list(target.kind, target.namespace, &watch.selector)
                    .cloned()
                    .collect();
                for object in &found {
                    watch.tell("ADDED", object, state.at);
                }
            }
        }
        if streamed && watch.bookmarks {
            let initial = json!({"annotations": {"k8s.io/initial-events-end": "true"}});
            watch.bookmark(initial);
        }
        Ok(watch)
    }

    /// The next line. The state must have caught up with the present.
    pub(crate) fn next(&mut self, state: &WorldState) -> WatchLine {
        if let Some(event) = self.ready.pop_front() {
            return WatchLine::Event(event.to_string());
        }
        if self.over || self.epoch != state.watch_epoch {
            return WatchLine::End;
        }
        if self.revision < state.store.history.oldest() {
            self.over = true;
            return WatchLine::Event(expired(self.revision, state.store.history.oldest()));
        }
        self.collect(state);
        if let Some(event) = self.ready.pop_front() {
            return WatchLine::Event(event.to_string());
        }
        if state.at >= self.ends {
            self.over = true;
            if self.bookmarks {
                self.bookmark(json!({}));
                return self.next(state);
            }
            return WatchLine::End;
        }
        WatchLine::Nothing
    }

    fn collect(&mut self, state: &WorldState) {
        let (plural, namespace) = (self.kind.plural, self.namespace.clone());
        let changes: Vec<_> = state
            .store
            .history
            .since(self.revision)
            .filter(|change| {
                change.key.0 == plural
                    && namespace
                        .as_ref()
                        .is_none_or(|place| *place == change.key.1)
            })
            .cloned()
            .collect();
        for change in changes {
            let matches = |object: &Option<Value>| {
                object
                    .as_ref()
                    .is_some_and(|object| self.selector.matches(object))
            };
            match (matches(&change.before), matches(&change.after)) {
                (false, true) => self.tell("ADDED", &change.object, state.at),
                (true, true) => self.tell("MODIFIED", &change.object, state.at),
                (true, false) => self.tell("DELETED", &change.object, state.at),
                (false, false) => {}
            }
        }
        self.revision = state.store.revision();
    }

    fn tell(&mut self, what: &str, object: &Value, now: Timestamp) {
        let object = if self.table {
            table::of(self.kind, [object].into_iter(), self.revision, now)
        } else {
            shown(self.kind, &self.version, object)
        };
        self.ready
            .push_back(json!({"type": what, "object": object}));
    }

    fn bookmark(&mut self, metadata: Value) {
        let mut metadata = metadata;
        metadata["resourceVersion"] = json!(self.revision.to_string());
        metadata["creationTimestamp"] = Value::Null;
        self.ready.push_back(json!({"type": "BOOKMARK", "object": {
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(&self.version),
            "metadata": metadata,
        }}));
    }
}
