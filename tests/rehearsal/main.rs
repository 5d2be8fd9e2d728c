//! Rehearsals: plans played against imagined canaries, and pasts judged again.

mod analyze;
mod forecast;
mod past;
mod simulate;
#[path = "../rollout/stage.rs"]
#[expect(dead_code, reason = "the stage has what the rollouts need, too")]
mod stage;
