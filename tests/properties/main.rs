//! What holds of every rollout on every VirtualService: promises 1 and 2, over generated objects.

mod additions;
mod moves;
mod seed;
mod shapes;
#[expect(
    dead_code,
    reason = "the stage of the behaviours has more than is needed here"
)]
#[path = "../rollout/stage.rs"]
mod stage;
mod world;
