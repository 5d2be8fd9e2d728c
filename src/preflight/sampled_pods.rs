//! What came of reading the pods' own counters.

use crate::cluster::{CallError, ErrorKind};
use crate::metrics::MetricsError;

/// What came of reading the pods of one version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampledPods {
    /// The version.
    pub version: String,
    /// How many pods run.
    pub pods: usize,
    /// How many of them are read.
    pub read: usize,
    /// How many of those answered.
    pub answered: usize,
    /// How many series they have.
    pub series: usize,
    /// Why one of them did not answer, or the pods could not be listed.
    pub problem: Option<CallError>,
}

impl SampledPods {
    /// The error, if there should be an answer and is none.
    pub(crate) fn silent(self) -> Option<MetricsError> {
        let problem = self.problem.filter(|_| self.answered == 0)?;
        Some(MetricsError::PodsUnread {
            of: self.version,
            forbidden: problem.kind == ErrorKind::Forbidden,
            why: problem.why,
        })
    }
}
