//! Rollouts on the embedded world, in virtual time: behaviours, one sentence a test name.

mod additions;
mod calls;
mod companions;
mod detach;
mod drift;
mod faults;
mod harness;
mod healthy;
mod input;
mod metrics;
mod mirror;
mod pods;
mod preflight;
mod preflight_findings;
mod regression;
mod route_kinds;
mod signals;
mod sources;
mod status;
mod steps;
mod takeover;
mod testers;
mod trip;
mod watch;
mod wild_metrics;
mod wild_routes;
