//! A rollout as values: its state on the object, the stream of events, and the machine that decides
//! what happens next. Pure: no client, no clock, no environment.

mod action;
mod assessment;
mod companion;
mod companions;
mod desired;
mod drift;
mod driver_report;
mod event;
mod foreign_change;
mod group;
mod intent;
mod last_rollout;
mod machine;
mod metrics_outage;
mod mirror;
mod observed;
mod outcome;
mod reason;
mod reassert_limit;
mod record;
mod segment;
mod state;
mod stuck;

pub use action::{Action, StopAt};
pub(crate) use action::{enter, next_step};
pub(crate) use companion::{Companion, ObjectName, route_of};
pub(crate) use companions::{blocker, changes_of, compare_companion, is_in_place};
pub(crate) use driver_report::DriverReport;
pub use event::{Event, EventKind, VersionCounts};
pub(crate) use event::{Observer, RouteChange};
pub use foreign_change::{Drift, ForeignChange};
pub(crate) use group::Group;
pub use intent::Intent;
pub(crate) use intent::WriteError;
pub use last_rollout::{LAST, LastRollout};
pub use machine::Machine;
pub use metrics_outage::Unusable;
pub(crate) use observed::is_on_its_way_back;
pub use observed::{Observed, compare};
pub(crate) use outcome::Summary;
pub use outcome::{Cause, Outcome};
pub use reason::Reason;
pub use segment::{Phase, Segment};
pub(crate) use state::RolloutError;
pub use state::{ROLLOUT, Rollout};
