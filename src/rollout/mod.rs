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

pub use action::{Action, StopAt, enter, next_step};
pub use companion::{Companion, NoObjectName, ObjectName, route_of};
pub use companions::{blocker, changes_of, compare_companion, is_in_place};
pub use driver_report::DriverReport;
pub use event::{Event, EventKind, Observer, RouteChange, VersionCounts};
pub use group::Group;
pub use intent::{Intent, WriteError};
pub use last_rollout::{LAST, LastRollout};
pub use machine::Machine;
pub use metrics_outage::Unusable;
pub use observed::{Observed, compare, is_on_its_way_back};
pub use outcome::{Cause, Outcome, Summary};
pub use reason::Reason;
pub use record::Unreadable;
pub use segment::{Phase, Segment};
pub use state::{ROLLOUT, Rollout, RolloutError};
