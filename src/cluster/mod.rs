//! Talking to the API server: every call bounded, every failure named.

mod access;
mod autoscalers;
mod call;
mod config_maps;
mod connection;
mod destination_rules;
mod dry_run;
mod exec_plugin;
pub(crate) mod job_manifest;
mod jobs;
mod kubeconfig;
mod lease;
mod list_watch;
mod namespaces;
mod pages;
mod peer_authentications;
mod pod_watch;
mod services;
mod session;
mod trace;
mod virtual_services;
mod visible_scope;
mod watch;
mod workloads;

pub(crate) use access::Permission;
pub(crate) use call::{CallError, ErrorKind};
pub(crate) use connection::{Connected, Connection, ConnectionError, connect, connect_unattended};
pub use dry_run::DryRun;
pub(crate) use job_manifest::JobPlan;
pub(crate) use jobs::JobStanding;
pub(crate) use lease::{Lease, LeaseError, LeaseGuard, LeaseStatus, LeaseWatch, RENEW};
pub(crate) use list_watch::{ListEvent, ListWatch};
pub(crate) use pod_watch::PodWatch;
pub use virtual_services::Cluster;
pub(crate) use visible_scope::VisibleScope;
pub(crate) use watch::{ObjectEvent, Watch};
