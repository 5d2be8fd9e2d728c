//! How a rollout is shown: renderers of the one stream of events, and views of what stands still.
//!
//! Events become lines in one place, the narrator; [`Lines`] writes them one below the other,
//! [`Live`] writes the same ones above a panel that is redrawn in place, and [`Journal`] keeps the
//! events themselves. [`Fan`] feeds several of them.
//!
//! What stands still (a status, a plan) is a value that can be serialized, and a [`View`] that a
//! person can read. [`print()`] chooses between the two.

mod age;
mod analysis;
mod description;
mod driver_status;
mod escape;
mod fan;
mod forecast;
mod format;
mod journal;
mod ladder;
mod line;
mod lines;
mod live;
mod narrator;
mod palette;
mod panel;
mod phrase;
mod plan_together;
mod plan_view;
#[cfg(test)]
mod rehearsal;
mod simulation;
mod simulation_chart;
mod simulation_page;
mod status;
mod status_list;
mod summary_view;
mod table;
mod tale;

pub use age::age;
pub use analysis::{AnalysisView, Period};
pub use driver_status::DriverStatus;
pub use escape::escape;
pub use fan::Fan;
pub use format::{Format, Layout, PrintError, View, object, print};
pub use journal::{Journal, JournalError, JournalFault, Recording};
pub use lines::Lines;
pub use live::Live;
pub use palette::{ColorChoice, Palette, Terminal, Tone};
pub use plan_view::{PlanView, PlannedRoute, PlannedStep};
pub use simulation::Simulation;
pub use status::{RouteState, RouteStatus, Standing, StatusRow, StepOf};
pub use status_list::StatusList;
pub use table::Table;
