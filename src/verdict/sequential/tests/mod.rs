//! What the analysis does, told window by window.

mod rollout;
mod steps;
mod trips;
