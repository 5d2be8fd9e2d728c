//! What is read of a cluster and of Prometheus before the first write.

mod baseline;
mod companions;
mod prepare;
mod resolve_object;
mod snapshot;
mod under_way;
mod version_facts;

pub use baseline::{Baseline, Lookback, before, past_of, recent};
pub use companions::Companions;
pub use prepare::{ReadyRollout, RolloutRequest, prepare};
pub use resolve_object::{delegate_with_rollout, lead_of, object_to_change, on_delegate};
pub use snapshot::{ClusterSnapshot, SnapshotScope, subsets_meant};
pub use under_way::{is_tripped, is_under_way, moves_with, under_way};
pub use version_facts::VersionFacts;
