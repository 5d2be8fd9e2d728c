//! What is counted of requests, or of connections: how many there were, and how many failed.

use jiff::SignedDuration;

use super::interval::Interval;
use super::unattributed::{Named, Unattributed};
use super::versions::{Reporter, SeriesOwner, Targets};
use super::window_counter::Classifier;
use crate::metrics::source::Labels;
use crate::verdict::{Counts, Window};

/// The bins of requests that succeeded, and that failed.
const SUCCEEDED: usize = 0;
const FAILED: usize = 1;

/// Requests and failures of both versions.
#[derive(Debug, Default)]
pub(super) struct Requests {
    unattributed: Unattributed,
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
        let failed = targets.counted().is_failure(labels);
        Some(if failed { FAILED } else { SUCCEEDED })
    }

    fn window(&mut self, interval: &Interval, share: f64) -> Window {
        let counts = |owner| {
            let failures = interval.sum(owner, FAILED);
            Counts {
                requests: interval.sum(owner, SUCCEEDED) + failures,
                failures,
            }
        };
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
            share,
            stable,
            canary,
            by_callees: interval.reporter == Reporter::Destination,
            ..Window::default()
        }
    }
}
