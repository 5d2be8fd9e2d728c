//! Progressive delivery without a controller.
pub mod clock;
pub mod sandbox;
pub mod verdict;
