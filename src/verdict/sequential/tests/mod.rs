//! What the analysis does, told window by window.

mod operations;
mod rollout;
mod statuses;
mod steps;
mod trips;
