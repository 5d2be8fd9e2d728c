//! An embedded cluster: an API server in memory, a mesh with traffic, and the Prometheus that sees it.
//!
//! It serves `kubectl canary demo` and the tests (feature `demo`): under tokio's paused clock an hour
//! passes in milliseconds. It is a stand-in, not a second Kubernetes: what it answers is held against
//! the real API server by the contract tests, and what it does not know it refuses.
//!
//! ```
//! use kubectl_canary::{clock::Clock, sandbox::{World, fixtures}};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let world = World::new(Clock::System);
//! world.set(fixtures::shop);
//! world.traffic().version("shop", "reviews-v2").fails(0.2);
//! let served = world.serve().await?;
//! println!("{}", served.kubeconfig());
//! # Ok(())
//! # }
//! ```

mod api;
mod faults;
pub mod fixtures;
mod handler;
mod mesh;
mod port_forward;
mod prometheus;
mod request_log;
mod resolve;
mod served;
mod setup;
mod state;
pub(crate) mod traffic;
mod workloads;
mod world;

#[cfg(test)]
mod tests;

pub use api::Denial;
pub use faults::{ApiFault, Rule};
pub use prometheus::PrometheusFault;
pub use request_log::Call;
pub use served::Served;
pub use setup::Setup;
pub use workloads::Deployment;
pub use world::World;
