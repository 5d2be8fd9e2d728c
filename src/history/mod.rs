//! What is kept of a run after it has ended: its events, on the machine that drove it and in the cluster.
//!
//! There is one format, the events as lines of JSON; whoever reads a record reads those. A record in the
//! cluster has fewer looks at the metrics, so that it stays small.

mod cluster_copy;
mod journal;
mod run_record;
mod state_directory;

pub(crate) use cluster_copy::{copies, copy_of, keep_copy};
pub(crate) use journal::Journal;
pub(crate) use run_record::RunRecord;
pub use state_directory::StateDirectory;
