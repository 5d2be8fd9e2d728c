//! Rollouts on the embedded world, in virtual time: behaviours, one sentence a test name.

mod additions;
mod calls;
mod companions;
mod concerns;
mod detach;
mod drift;
mod faults;
mod follow;
mod healthy;
mod input;
mod metrics;
mod mirror;
mod onlooker;
mod preflight;
mod regression;
mod shapes;
mod signals;
mod sources;
mod stage;
mod steps;
mod suspicion;
mod takeover;
mod testers;
