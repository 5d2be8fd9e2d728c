//! Rollouts on the embedded world, in virtual time: behaviours, one sentence a test name.

mod healthy;
mod stage;
