//! Progressive delivery without a controller.
pub mod clock;
pub mod simulate;
pub mod verdict;
