//! Tests against the real stack: Kubernetes' API server, istiod with its webhook,
//! Envoy and Prometheus.
//!
//! ```text
//! scripts/cluster up
//! cargo test --test cluster --no-run
//! scripts/cluster run cargo test --offline --test cluster -- --include-ignored --test-threads=1
//! ```
//!
//! Every test here is ignored unless asked for, and fails without a stack: one
//! that passed because there was nothing to test against would be worth nothing.
//! A test makes an application of its own ([`app::App`]), in a namespace of its
//! own, and shares with the others only what it names: a part that it stops.

mod app;
mod call_proxy;
mod companions;
mod contract;
mod control_plane;
mod credentials;
mod detached;
mod drift;
#[path = "../program/fences.rs"]
mod fences;
mod full_disk;
mod guards;
mod history;
mod kills;
mod load;
mod meddler;
mod metrics;
mod mirror;
mod operator;
mod outage;
mod output;
mod permissions;
mod plugin;
mod pod_samples;
mod printed;
mod program;
mod promotion;
mod regression;
mod scaffold;
mod signals;
mod silence;
mod smoke;
mod sources;
mod stack;
mod stranger;
mod takeover;
mod verdicts;
mod webhook;
mod wild;
mod wire;
