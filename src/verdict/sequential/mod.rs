//! The sequential verdict.

pub mod alignment;
mod analysis;
pub mod baseline;
pub mod block;
pub mod dispersion;
mod dispute;
pub mod evidence;
pub mod exposure;
pub mod forecast;
pub mod guard;
pub mod history;
mod incident;
pub mod latency;
mod metric;
pub mod mixture;
pub mod policy;
pub mod promotion;
pub mod regression;
mod step;
#[cfg(test)]
mod vectors;

pub use analysis::Sequential;
pub use evidence::{Evidence, Hold, MetricEvidence, State};
pub use forecast::Traffic;
pub use history::{History, Past};
pub use metric::Subject;
pub use policy::{Blast, Policy, Preset, Tolerance};
