//! Progressive delivery without a controller.
pub mod clock;
pub mod plan;
pub mod traffic;
pub mod verdict;
