//! What holds of every rollout on every VirtualService: promises 1 and 2, over generated objects.

mod additions;
mod companions;
mod fuzz;
#[expect(
    dead_code,
    reason = "the stage of the behaviours has more than is needed here"
)]
#[path = "../rollout/harness.rs"]
mod harness;
mod printed;
mod route_kinds;
mod seed;
#[expect(
    dead_code,
    reason = "the shapes of the behaviours are more than are needed here"
)]
#[path = "../rollout/wild.rs"]
mod wild;
mod world;
