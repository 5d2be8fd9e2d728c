//! The sequential verdict.

pub mod alignment;
pub mod baseline;
pub mod block;
pub mod dispersion;
pub mod exposure;
pub mod guard;
pub mod mixture;
pub mod promotion;
pub mod regression;
#[cfg(test)]
mod vectors;
