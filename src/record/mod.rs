//! What is kept of a rollout: its state on the object, and the stream of events.

mod companion;
mod ending;
mod event;
mod outcome;
mod rollout;

pub use companion::{Companion, NoObjectName, ObjectName, route_of};
pub use ending::{Ending, LAST};
pub use event::{Event, EventKind, Observer, RouteChange, Tally};
pub use outcome::{Cause, Outcome, Summary};
pub use rollout::{Phase, ROLLOUT, Rollout, RolloutError, Stage};
