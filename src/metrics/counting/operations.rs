//! Which operations of a service are told apart, where a label of its series names them.
//!
//! Istio has no such label of its own; a Telemetry resource adds one, under the name `request_operation` if it is as
//! in Istio's documentation. How many values it has is up to that resource, so the most frequent ones are told
//! apart and all others are one.

use super::versions::{Targets, alternatives, label, quoted};
use crate::metrics::source::{Labels, QueryResult};

/// So many operations are told apart.
pub(super) const MOST: usize = 16;
/// Longer ones than this are no names, and would make queries long.
const LONGEST: usize = 128;

/// The operations that are told apart, fixed before a rollout begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Operations {
    label: String,
    /// In alphabetical order; empty where none is named.
    names: Vec<String>,
}

impl Operations {
    /// Those of an answer.
    pub(super) fn of(targets: &Targets, answer: &QueryResult) -> Self {
        let of_label = targets.operation_label();
        let names = answer.series.iter();
        let names = names.map(|series| label(&series.labels, of_label));
        let mut names: Vec<_> = names
            .filter(|name| is_name(name))
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        Self {
            label: of_label.to_owned(),
            names,
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The label that names them.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The number of a series' operation, from 1 on; 0 of all that are not told apart.
    pub(super) fn number(&self, labels: &Labels) -> usize {
        let name = label(labels, &self.label);
        let place = self.names.iter().position(|known| known == name);
        place.map_or(0, |place| place + 1)
    }

    /// The names with their numbers, that of all others first.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, Option<&str>)> {
        let names = self.names.iter().map(|name| Some(name.as_str()));
        std::iter::once(None).chain(names).enumerate()
    }

    /// The matchers of series with one of the names, and of all others, with a comma before them.
    pub(super) fn matchers(&self) -> [String; 2] {
        let names = quoted(&alternatives(self.names.iter().map(String::as_str)));
        ["=~", "!~"].map(|operator| format!(",{}{operator}\"{names}\"", self.label))
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "unknown") && name.len() <= LONGEST
}
