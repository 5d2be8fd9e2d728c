//! What is counted of requests, or of connections: how many there were, and how many failed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::interval::Interval;
use super::operations::Operations;
use super::quality::Readable;
use super::unattributed::{Named, ShareOfWindow, Unattributed};
use super::unit::Unit;
use super::versions::{Reporter, SeriesOwner, Targets};
use super::window_counter::{Classifier, SumPart};
use crate::metrics::source::Labels;
use crate::verdict::{Counts, OfOperation, OfStatus, StatusCode, Window};

/// The bins of requests that succeeded, that failed, and whose labels do not tell. To the first two the
/// number of a status may be added, from [`STATUS`] on in steps of [`KINDS`].
const SUCCEEDED: usize = 0;
const FAILED: usize = 1;
const UNREADABLE: usize = 2;
const KINDS: usize = 4;
const STATUS: usize = KINDS;
/// Where the numbers of gRPC's statuses begin.
const GRPC: usize = 1000;
/// From here on, in steps of as much, stand the same of the operations that are told apart.
const OPERATION: usize = KINDS * 2048;

fn number(status: StatusCode) -> usize {
    KINDS
        * match status {
            StatusCode::Http(code) => usize::from(code),
            StatusCode::Grpc(status) => GRPC + usize::from(status),
        }
}

fn status(bin: usize) -> Option<StatusCode> {
    let number = (bin % OPERATION).checked_sub(STATUS)? / KINDS;
    let code = |number: usize| u16::try_from(number).ok();
    match number.checked_sub(GRPC) {
        Some(grpc) => code(grpc).map(StatusCode::Grpc),
        None => code(number).map(StatusCode::Http),
    }
}

/// What succeeded or failed, whatever the status.
fn sum_of(interval: &Interval, owner: SeriesOwner, kind: usize) -> u64 {
    let bins = interval.sums.keys().filter(|(of, _)| *of == owner);
    let bins = bins.filter(|(_, bin)| bin % KINDS == kind);
    bins.map(|(_, bin)| interval.sum(owner, *bin)).sum()
}

fn by_status(interval: &Interval, kind: usize) -> Vec<OfStatus> {
    let bins = interval.sums.keys().map(|(_, bin)| *bin);
    let bins: BTreeSet<usize> = bins.filter(|bin| bin % KINDS == kind).collect();
    let mut counted: BTreeMap<StatusCode, OfStatus> = BTreeMap::new();
    for bin in bins {
        let Some(status) = status(bin) else {
            continue;
        };
        let of = counted.entry(status).or_insert(OfStatus {
            status,
            stable: 0,
            canary: 0,
        });
        of.stable += interval.sum(SeriesOwner::Stable, bin);
        of.canary += interval.sum(SeriesOwner::Canary, bin);
    }
    counted.into_values().collect()
}

/// What succeeded and failed of one operation.
fn counts_of(interval: &Interval, owner: SeriesOwner, operation: usize) -> Counts {
    let mut counts = Counts::default();
    for (of, bin) in interval.sums.keys() {
        if *of != owner || bin / OPERATION != operation {
            continue;
        }
        let sum = interval.sum(owner, *bin);
        match bin % KINDS {
            SUCCEEDED => counts.requests += sum,
            FAILED => {
                counts += Counts {
                    requests: sum,
                    failures: sum,
                };
            }
            _ => {}
        }
    }
    counts
}

/// Requests and failures of both versions.
#[derive(Debug, Default)]
pub(super) struct Requests {
    unattributed: Unattributed,
    readable: Readable,
    /// Whether what is counted has a status at all.
    has_status: bool,
    operations: Operations,
}

impl Requests {
    /// All of them, and those of these operations by themselves.
    pub fn of(operations: Operations) -> Self {
        Self {
            operations,
            ..Self::default()
        }
    }

    fn by_operation(&self, interval: &Interval) -> Vec<OfOperation> {
        if self.operations.is_empty() {
            return Vec::new();
        }
        let operations = self.operations.numbered();
        let counted = operations.map(|(number, name)| OfOperation {
            operation: name.map(str::to_owned),
            stable: counts_of(interval, SeriesOwner::Stable, number),
            canary: counts_of(interval, SeriesOwner::Canary, number),
        });
        counted.collect()
    }
}

impl Classifier for Requests {
    type Window = Window;

    fn query(&self, targets: &Targets, range: SignedDuration) -> String {
        targets.query(targets.counted().metric(), "", range)
    }

    fn parts(&self, targets: &Targets, _: usize) -> Vec<SumPart<'_>> {
        vec![SumPart {
            metric: targets.counted().metric(),
            more: String::new(),
            dropped: &[],
            kept: &[],
            operations: Some(&self.operations).filter(|operations| !operations.is_empty()),
            newest: true,
        }]
    }

    fn bin(
        &mut self,
        targets: &Targets,
        _: (Reporter, SeriesOwner),
        labels: &Labels,
    ) -> Option<usize> {
        let unit = targets.counted();
        self.has_status = unit == Unit::Requests;
        let is_readable = unit.is_readable(labels);
        self.readable.note(is_readable);
        if let Some(has_status) = unit.has_grpc_status(labels, targets.speaks_grpc()) {
            self.readable.note_grpc(has_status);
        }
        let status = unit
            .status(labels)
            .map_or(0, |status| STATUS + number(status));
        let operation = OPERATION * self.operations.number(labels);
        Some(
            match (is_readable, unit.is_failure(labels, targets.failures())) {
                (false, _) => UNREADABLE,
                (true, true) => FAILED + status,
                (true, false) => SUCCEEDED + status,
            } + operation,
        )
    }

    fn readable(&self) -> Readable {
        self.readable
    }

    fn window(&mut self, interval: &Interval, share: ShareOfWindow) -> Window {
        let counts = |owner| {
            let failures = sum_of(interval, owner, FAILED);
            Counts {
                requests: sum_of(interval, owner, SUCCEEDED) + failures,
                failures,
            }
        };
        let owners = [
            SeriesOwner::Stable,
            SeriesOwner::Canary,
            SeriesOwner::Unknown,
        ];
        let unreadable = owners.map(|owner| sum_of(interval, owner, UNREADABLE));
        let [stable, canary, unknown] = owners.map(counts);
        let readable = stable.requests + canary.requests + unknown.requests;
        self.readable.note_window(readable, unreadable.iter().sum());
        let named = Named {
            stable,
            canary,
            unknown,
        };
        let (stable, canary) = self.unattributed.assign(named, share);
        Window {
            start: interval.start,
            end: interval.end,
            opened: Some(interval.opened),
            share: share.at_end,
            stable,
            canary,
            by_callees: interval.reporter == Reporter::Destination,
            failed_with: by_status(interval, FAILED),
            refused_with: self.has_status.then(|| by_status(interval, SUCCEEDED)),
            operations: self.by_operation(interval),
            ..Window::default()
        }
    }
}
