//! What would go wrong, found before anything moves.
//!
//! [`crate::discovery`] reads a few lists once, whatever the size of the VirtualService, and puts them
//! into [`Facts`]. Everything that is concluded from them is pure, one check a file. Each
//! [`Finding`](crate::plan::Finding) names the object and the field, and gives the command or the
//! YAML that fixes it.

mod additions;
mod ambient;
mod caller_rules;
mod capacity;
mod delegation;
mod facts;
mod guards;
mod host_conflicts;
mod inspection;
mod labels;
mod left_behind;
mod mtls;
mod other_rules;
pub(crate) mod owner;
mod permissions;
mod pod_counters;
mod pods;
mod prometheus;
mod prometheus_search;
mod proposal;
mod protocol;
mod reversal;
mod role;
mod rules;
mod sampled_pods;
mod scaffold;
mod services;
mod session_affinity;
mod subsets;
#[cfg(test)]
mod test_facts;
mod unanalyzed;
mod unreached;
mod unread;
mod version;

pub(crate) use additions::{additions, unseen_copies};
pub(crate) use ambient::{is_bare, waypoint_of};
pub(crate) use delegation::ignored;
pub(crate) use facts::{Facts, Grant, Samples, Source, Unread};
pub(crate) use guards::GuardProbe;
pub(crate) use inspection::{inspect, inspect_companion};
pub(crate) use mtls::is_set;
pub(crate) use other_rules::{has_other_rules, other_rules};
pub(crate) use prometheus_search::{PrometheusSearch, SearchAnswer, TriedAddress};
pub(crate) use proposal::Proposal;
pub(crate) use protocol::speaks_grpc;
pub(crate) use reversal::reversal;
pub(crate) use rules::meant;
pub(crate) use sampled_pods::SampledPods;
pub use scaffold::ScaffoldError;
pub(crate) use scaffold::{Ground, WantedCanary, scaffold, stable_of};
pub(crate) use unanalyzed::unanalyzed;
pub(crate) use unreached::{aborted, unmatched, unreached};
pub(crate) use version::version_selector;
pub(crate) use version::{Role, Version};
pub(crate) use version::{carries, selector};
