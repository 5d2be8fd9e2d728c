//! How a rollout is shown: renderers of the one stream of events, and views of what stands still.
//!
//! Events become lines in one place, the narrator; [`Lines`] writes them one below the other,
//! [`Live`] writes the same ones above a panel that is redrawn in place, and [`Journal`] keeps the
//! events themselves. [`Tee`] feeds several of them.
//!
//! What stands still (a status, a plan) is a value that can be serialized, and a [`View`] that a
//! person can read. [`print()`] chooses between the two.

mod age;
mod analysis_view;
mod description;
mod document;
mod driver_status;
mod escape;
mod event_formatter;
mod event_text;
mod forecast;
mod format;
mod journal;
mod ladder;
mod line;
mod lines;
mod live;
mod palette;
mod panel;
mod phrase;
mod plan_together;
mod plan_view;
mod reason_text;
mod simulation;
mod simulation_chart;
mod simulation_page;
mod status;
mod status_list;
mod summary_view;
mod table;
mod tee;
#[cfg(test)]
mod test_events;

pub use age::age;
pub use analysis_view::{AnalysisView, Period};
pub use document::Document;
pub use driver_status::DriverStatus;
pub use escape::escape;
pub use format::{Format, Layout, PrintError, View, object, print};
pub use journal::{Journal, JournalError, JournalFault, Recording};
pub use lines::Lines;
pub use live::Live;
pub use palette::{ColorChoice, Palette, Terminal, Tone};
pub use plan_view::{PlanView, PlannedRoute};
pub use simulation::Simulation;
pub use status::{RouteState, RouteStatus, Standing, StatusRow};
pub use status_list::StatusList;
pub use table::Table;
pub use tee::Tee;
