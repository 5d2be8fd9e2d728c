//! Talking to the API server: every call bounded, every failure named.

mod access;
mod autoscalers;
mod call;
mod connection;
mod destination_rules;
mod dry_run;
mod job_manifest;
mod jobs;
mod lease;
mod list_watch;
mod namespaces;
mod peer_authentications;
mod virtual_services;
mod visible_scope;
mod watch;
mod workloads;

pub use access::Permission;
pub use call::{CallError, ErrorKind};
pub use connection::{Connection, ConnectionError, connect};
pub use dry_run::DryRun;
pub use job_manifest::{FINAL, JobPlan};
pub use jobs::JobStanding;
pub use lease::{Lease, LeaseError, LeaseGuard, LeaseReport, LeaseStatus, LeaseWatch, RENEW};
pub use list_watch::{ListEvent, ListWatch};
pub use virtual_services::Cluster;
pub use visible_scope::VisibleScope;
pub use watch::{ObjectEvent, Watch};
