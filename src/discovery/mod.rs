//! What is read of a cluster and of Prometheus before the first write.

mod baseline;
mod companions;
mod early_reads;
mod guard_probes;
mod misnamed;
mod pod_sampler;
mod prepare;
mod prometheus_candidates;
mod prometheus_search;
mod resolve_object;
mod snapshot;
mod under_way;
mod version_facts;
mod version_pods;

pub(crate) use baseline::{Baseline, Lookback, PastTime, before, past_of, recent};
pub(crate) use companions::Companions;
pub(crate) use pod_sampler::live_metrics;
pub(crate) use prepare::{ReadyRollout, RolloutRequest, prepare};
pub(crate) use prometheus_search::search_from;
pub(crate) use resolve_object::{delegate_with_rollout, lead_of, object_to_change, on_delegate};
pub(crate) use snapshot::{ClusterSnapshot, SnapshotScope};
pub(crate) use under_way::{is_tripped, is_unchanged, is_under_way, moves_with, under_way};
pub(crate) use version_facts::VersionFacts;
pub(crate) use version_pods::{VersionPods, version_pods};
