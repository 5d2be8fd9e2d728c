//! Progressive delivery without a controller.

pub mod clock;
pub mod cluster;
pub mod engine;
pub mod metrics;
pub mod plan;
pub mod record;
pub mod report;
pub mod traffic;
pub mod verdict;
