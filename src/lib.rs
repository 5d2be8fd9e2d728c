//! Progressive delivery without a controller: the parts of `kubectl canary`, as tests link against them.
//!
//! # Import order
//!
//! A module imports only modules that stand after it; `tests/architecture.rs` reads the order here.
//!
//! ```text
//! cli → commands → sandbox → report → history → simulate → driver → discovery → context → actor
//!     → error → preflight → cluster → rollout → metrics → istio → plan → verdict → clock → number
//!     → hook → foreign_text → signals
//! ```
//!
//! A command of [`commands`] resolves flags and plan file once into a [`plan::Plan`]. [`discovery`]
//! reads the cluster and [`preflight`] judges what was read. The [`driver`] writes: its loop asks
//! [`rollout::Machine`] what to do, which asks an analysis of [`verdict`] what the windows of
//! [`metrics`] mean. Everything that happens is a [`rollout::Event`], which [`report`] shows.
//! `docs/architecture.md` follows a weight and a sample through all of this.
//!
//! # What keeps it safe
//!
//! - **What chooses is pure.** [`plan`], [`preflight`], [`istio`], [`rollout`], [`verdict`] and the
//!   counting of [`metrics`] know no client, no runtime, no clock and no environment.
//! - **The state is on the object** and moves with the weights ([`rollout::Rollout`]), so it cannot
//!   speak of weights that are not there, and any machine can resume or abort.
//! - **One way to write.** Every write goes through one loop of [`driver`], and a regression, a signal
//!   and `abort` from another laptop all roll back in the same way.
//! - **The patch protects.** Its tests on uid, routes, weights and state fail for a process that is out
//!   of date; the Lease only shows who drives.
//! - **No data is never good news.** [`verdict::Verdict`] has four values, and each has a policy.

// The pages are for maintainers, made with --document-private-items.
#![allow(rustdoc::private_intra_doc_links)]

mod actor;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod commands;
mod context;
mod discovery;
pub mod driver;
mod error;
mod foreign_text;
mod history;
mod hook;
pub mod istio;
pub mod metrics;
pub mod number;
pub mod plan;
mod preflight;
pub mod report;
pub mod rollout;
#[cfg(feature = "demo")]
pub mod sandbox;
mod signals;
pub mod simulate;
pub mod verdict;

pub use actor::Actor;
pub use context::{BeforeStep, Context, StepCheck};
pub use error::CommandError;
pub use history::StateDirectory;
pub use signals::{Signal, Signals};
