//! Progressive delivery without a controller: the parts of `kubectl canary`, as tests link against them.
//!
//! # One way through the house
//!
//! ```text
//! cli → commands → plan → cluster → traffic → metrics → verdict → engine → record → report
//! ```
//!
//! A command resolves flags and plan file once into a [`plan::Plan`], reads the VirtualService through
//! [`cluster`] into the read-only views of [`traffic`], and hands both to the [`engine`]. Its
//! [`engine::Machine`] decides and its [`engine::Driver`] acts: it asks [`metrics`] for windows of
//! counts, an analysis of [`verdict`] says what they mean, and whatever follows is one guarded patch
//! of weights and state together. Everything that happens is an event of [`record`], which [`report`]
//! shows as lines, as a live view or as JSON.
//!
//! # What keeps it safe
//!
//! - **What chooses is pure.** [`plan`], [`traffic`], [`verdict`] and [`engine::Machine`] know no
//!   client, no clock and no environment; what is async only carries out and reports.
//! - **The state is on the object** and moves with the weights ([`record::Rollout`]), so it cannot
//!   speak of weights that are not there, and any machine can go on or go back.
//! - **One road back.** A regression, a signal and `abort` from another laptop all call
//!   [`engine::roll_back`].
//! - **The fence is the patch.** Its tests on uid, route, weights and state fail for whoever believes
//!   something that is no longer so; the lease is only a courtesy.
//! - **No data is never good news.** [`verdict::Verdict`] has four values, and each has a policy.
//!
//! The [`sandbox`] is an embedded API server, mesh and Prometheus: `demo` plays on it, and the tests
//! live on it in virtual time. It is held against a real API server by the contract tests.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod commands;
mod context;
pub mod discovery;
pub mod driver;
mod error;
pub mod istio;
pub mod metrics;
mod number;
pub mod plan;
pub mod preflight;
pub mod report;
pub mod rollout;
#[cfg(feature = "demo")]
pub mod sandbox;
mod signals;
pub mod simulate;
pub mod verdict;

pub use context::Context;
pub use error::CommandError;
pub use signals::{Signal, Signals};
