//! What both versions did, as Prometheus saw it.
//!
//! A [`MetricSource`] answers one [`Query`] at a time: [`Direct`] over HTTP, [`ServiceProxy`] through the API
//! server, or an imagined world. The [`Ledger`] says what to ask and turns the answers into
//! [windows](crate::verdict::Window) of counts with their [`Quality`]. All that chooses is pure: raw samples
//! in, counts out, the same however often and when one looks.
//!
//! # RBAC
//!
//! [`ServiceProxy`] needs `get` on `services/proxy` in Prometheus' namespace; [`Direct`] needs nothing.

mod address;
mod answer;
mod books;
mod counted;
mod cuts;
mod direct;
mod error;
mod istio;
mod latency;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod missing;
mod quality;
mod reply;
mod round;
mod service_proxy;
mod source;
mod tape;
mod target;

pub use address::{AddressError, DEFAULT_ADDRESS, Endpoint, PrometheusAddress, ServiceAddress};
pub use answer::{Answer, Labels, Series};
pub use books::{Answers, Books, USUAL_BOUNDS};
pub use counted::Counted;
pub use direct::Direct;
pub use error::MetricsError;
pub use istio::{Arm, FailureRule, ServiceKey, Side, Targets, TargetsError};
pub use latency::{LatencyLedger, LatencyObservation, LatencyWindow, Slower};
pub use ledger::Ledger;
pub use quality::{Newest, Observation, Quality, Reporter};
pub use service_proxy::ServiceProxy;
pub use source::{MetricSource, Query};
