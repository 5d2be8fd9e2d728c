//! What both versions did, as Prometheus saw it.
//!
//! A [`MetricSource`] answers one [`Query`] at a time: [`HttpSource`] over HTTP, [`ServiceSource`] through the API
//! server, or a simulated one. The [`Collector`] says what to ask and turns the answers into
//! [windows](crate::verdict::Window) of counts with their [`Quality`]. What it counts is pure: raw samples in,
//! counts out, the same however often and whenever it asks.
//!
//! # RBAC
//!
//! [`ServiceSource`] needs `get` on `services/proxy` in Prometheus' namespace, or what a port-forward takes;
//! [`HttpSource`] needs nothing.

mod counting;
mod guards;
mod source;

pub use counting::*;
pub(crate) use guards::{GuardAnswers, GuardReader, ask_guard, single_value};
pub use guards::{GuardGap, GuardReading, GuardSeen};
pub(crate) use source::*;
