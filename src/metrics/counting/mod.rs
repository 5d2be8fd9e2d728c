//! From samples of counters to windows of counts: each request once, however often one asks. Pure.

mod collector;
mod counter_log;
mod flaw;
mod grid;
mod increase_query;
mod interval;
mod interval_end;
mod mixed_stores;
mod operations;
mod quality;
mod reading;
mod replicas;
mod requests;
mod slow_requests;
mod summed_counter;
mod target;
mod unattributed;
mod unit;
mod versions;
mod warning;
mod window_counter;

pub(crate) use collector::{Answers, Collector, USUAL_BOUNDS};
pub use flaw::{Flaw, Unclaimed};
pub(crate) use mixed_stores::MixedLabel;
pub use quality::{Newest, Observation, Quality};
pub use reading::MetricsReading;
pub(crate) use unattributed::{Named, ShareOfWindow, Unattributed};
pub(crate) use unit::Unit;
pub(crate) use versions::{Reporter, ServiceKey, Targets, TargetsError, VersionSelector};
pub use warning::MetricsWarning;

#[cfg(test)]
mod window_counter_tests;
