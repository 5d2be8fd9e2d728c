//! What this program relies on in an API server, held against the sandbox.
//!
//! The behaviours know nothing of the sandbox: they take a client and a namespace, make their own
//! objects and clean up. The tests on a real cluster include the same folder, so a behaviour the
//! sandbox invented fails there.

mod behaviours;

use jiff::Timestamp;
use kubectl_canary::clock::Clock;
use kubectl_canary::sandbox::World;
use serde_json::json;

const NAMESPACE: &str = "contract";

fn world() -> World {
    let origin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let world = World::new(Clock::starting_at(origin));
    world.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
    world
}

macro_rules! on_the_sandbox {
    ($topic:ident $behaviour:ident) => {
        #[tokio::test(start_paused = true)]
        async fn $behaviour() {
            let client = world().client(NAMESPACE);
            behaviours::$topic::$behaviour(client, NAMESPACE).await;
        }
    };
}

behaviours::each!(on_the_sandbox);
