//! Talking to the API server: every call bounded, every failure named.

mod access;
mod around;
mod autoscalers;
mod call;
mod connection;
mod destination_rules;
mod dry_run;
mod feed;
mod jobs;
mod lease;
mod namespaces;
mod peer_authentications;
mod virtual_services;
mod watch;
mod workloads;

pub use access::Permission;
pub use around::Around;
pub use call::{CallError, Class};
pub use connection::{Connection, ConnectionError, connect};
pub use destination_rules::Subset;
pub use dry_run::DryRun;
pub use feed::{Feed, News};
pub use jobs::JobStanding;
pub use lease::{Board, Keeper, Lease, LeaseError, LeaseWatch, Pulse, RENEW};
pub use virtual_services::{Cluster, FIELD_MANAGER};
pub use watch::{Seen, Watch};
pub use workloads::Workloads;
pub(crate) use workloads::workload_name;
