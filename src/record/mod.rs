//! What is kept of a rollout: its state on the object, and the stream of events.

mod companion;
mod drawing;
mod ending;
mod event;
mod look;
mod outcome;
mod rollout;
mod stage;

pub use companion::{Companion, NoObjectName, ObjectName, route_of};
pub use ending::{Ending, LAST};
pub use event::{Event, EventKind, Observer, RouteChange, Tally};
pub use look::Look;
pub use outcome::{Cause, Outcome, Summary};
pub use rollout::{ROLLOUT, Rollout, RolloutError};
pub use stage::{Phase, Stage};
