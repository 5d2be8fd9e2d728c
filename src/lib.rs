//! Progressive delivery without a controller.
pub mod clock;
pub mod metrics;
pub mod verdict;
