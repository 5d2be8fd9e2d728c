//! Rollouts on the embedded world, in virtual time: behaviours, one sentence a test name.

mod calls;
mod drift;
mod faults;
mod healthy;
mod input;
mod metrics;
mod regression;
mod signals;
mod stage;
mod steps;
mod suspicion;
mod takeover;
