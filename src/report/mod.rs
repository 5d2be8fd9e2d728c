//! How a rollout is shown: renderers of the one stream of events, and views of what stands still.
//!
//! Events become lines in one place, the narrator; [`Lines`] writes them one below the other,
//! [`Live`] writes the same ones above a panel that is redrawn in place; a run that is over is a
//! [`RunReport`]. Each of them writes on a thread of its own, behind an [`OutputQueue`].
//!
//! What stands still (a status, a plan) is a value that can be serialized, and a [`View`] that a
//! person can read. [`print()`] chooses between the two.

mod age;
mod analysis_view;
mod bulletin;
mod chart;
mod config_view;
mod description;
mod document;
mod driver_status;
mod escape;
mod event_formatter;
mod event_text;
mod footer;
mod forecast;
mod format;
mod guard_text;
mod job_log;
mod json_lines;
mod ladder;
mod line;
mod lines;
mod live;
mod output_queue;
mod page;
mod palette;
mod panel;
mod panel_rows;
mod phrase;
mod pipeline;
mod plan_together;
mod plan_view;
mod reason_text;
mod recent_traffic;
mod renderer;
mod row;
mod run_list;
mod run_page;
mod run_report;
mod run_report_view;
mod run_summary;
mod run_words;
mod simulation;
mod simulation_page;
mod sparkline;
mod status;
mod status_list;
mod summary_view;
mod table;
#[cfg(test)]
pub(crate) mod test_events;
#[cfg(test)]
mod test_terminal;
mod traffic;

pub(crate) use age::age;
pub use analysis_view::AnalysisView;
pub(crate) use analysis_view::Period;
pub(crate) use bulletin::{Bulletin, Bulletins};
pub use config_view::ConfigView;
pub use document::Document;
pub(crate) use driver_status::DriverStatus;
pub(crate) use escape::escape;
pub(crate) use format::{Format, PrintError, object, to_json, to_yaml};
pub use format::{Layout, View, print};
pub(crate) use json_lines::JsonLines;
pub(crate) use lines::{LineStyle, Lines};
pub(crate) use live::Live;
pub(crate) use output_queue::{Delivered, Message, OutputQueue};
pub(crate) use palette::{ColorChoice, Palette, Terminal, Tone};
pub(crate) use pipeline::Pipeline;
pub use plan_view::PlanView;
pub(crate) use reason_text::reasons_in_words;
pub(crate) use renderer::Renderer;
pub use run_list::RunList;
pub use run_report::RunReport;
pub use simulation::Simulation;
pub(crate) use status::Standing;
pub use status::StatusRow;
pub(crate) use status_list::StatusList;
pub(crate) use table::Table;
