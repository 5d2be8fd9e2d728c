//! The traffic of the world: requests that follow the weights, and the counters of the proxies.
//!
//! Pure code without a clock: [`TrafficModel::advance`] gets the time to advance to and the routes that
//! the data plane had until then, so a simulator can step it as fast as it likes.

mod behaviour;
mod demand;
mod model;
mod routing;
mod sampling;
mod stream;

pub(crate) use behaviour::BOUNDS;
pub(crate) use model::TrafficModel;
pub(crate) use routing::{Backend, MeshRoute, Pod, Routing, Service, Workload};
pub(crate) use sampling::Sampling;
pub(crate) use stream::{Stream, StreamCounters, target_labels};
