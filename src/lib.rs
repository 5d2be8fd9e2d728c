//! Progressive delivery without a controller.

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod engine;
pub mod metrics;
pub mod plan;
pub mod preflight;
pub mod record;
pub mod report;
pub mod sandbox;
pub mod simulate;
pub mod traffic;
pub mod verdict;
