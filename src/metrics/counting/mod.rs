//! From samples of counters to windows of counts: each request once, however often one asks. Pure.

mod collector;
mod counter_log;
mod interval;
mod interval_end;
mod latency;
mod quality;
mod target;
mod unattributed;
mod unit;
mod versions;
mod window_counter;

pub use collector::{Answers, Collector, USUAL_BOUNDS};
pub use latency::{LatencyCounter, LatencyObservation, LatencyWindow, Slower};
pub use quality::{Newest, Observation, Quality};
pub use unit::Unit;
pub use versions::{FailureRule, Reporter, ServiceKey, Targets, TargetsError, VersionSelector};
pub use window_counter::WindowCounter;

#[cfg(test)]
mod window_counter_tests;
