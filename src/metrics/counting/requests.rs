//! What is counted of requests, or of connections: how many there were, and how many failed.

use jiff::SignedDuration;

use super::interval::Interval;
use super::quality::Readable;
use super::unattributed::{Named, ShareOfWindow, Unattributed};
use super::versions::{Reporter, SeriesOwner, Targets};
use super::window_counter::Classifier;
use crate::metrics::source::Labels;
use crate::verdict::{Counts, Window};

/// The bins of requests that succeeded, that failed, and of which nobody can say.
const SUCCEEDED: usize = 0;
const FAILED: usize = 1;
const UNREADABLE: usize = 2;

/// Requests and failures of both versions.
#[derive(Debug, Default)]
pub(super) struct Requests {
    unattributed: Unattributed,
    readable: Readable,
}

impl Classifier for Requests {
    type Window = Window;

    fn query(&self, targets: &Targets, range: SignedDuration) -> String {
        targets.query(targets.counted().metric(), "", range)
    }

    fn bin(
        &mut self,
        targets: &Targets,
        _: (Reporter, SeriesOwner),
        labels: &Labels,
    ) -> Option<usize> {
        let unit = targets.counted();
        let is_readable = unit.is_readable(labels);
        self.readable.note(is_readable);
        Some(match (is_readable, unit.is_failure(labels)) {
            (false, _) => UNREADABLE,
            (true, true) => FAILED,
            (true, false) => SUCCEEDED,
        })
    }

    fn readable(&self) -> Readable {
        self.readable
    }

    fn window(&mut self, interval: &Interval, share: ShareOfWindow) -> Window {
        let counts = |owner| {
            let failures = interval.sum(owner, FAILED);
            Counts {
                requests: interval.sum(owner, SUCCEEDED) + failures,
                failures,
            }
        };
        let owners = [
            SeriesOwner::Stable,
            SeriesOwner::Canary,
            SeriesOwner::Unknown,
        ];
        let unreadable = owners.map(|owner| interval.sum(owner, UNREADABLE));
        let readable = owners.map(|owner| counts(owner).requests);
        self.readable
            .note_window(readable.iter().sum(), unreadable.iter().sum());
        let named = Named {
            stable: counts(SeriesOwner::Stable),
            canary: counts(SeriesOwner::Canary),
            unknown: counts(SeriesOwner::Unknown),
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
            ..Window::default()
        }
    }
}
