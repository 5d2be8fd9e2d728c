//! Plans run against simulated canaries, and histories judged again.

mod analyze;
mod baseline;
mod forecast;
#[path = "../rollout/harness.rs"]
#[expect(dead_code, reason = "the stage has what the rollouts need, too")]
mod harness;
mod simulate;
