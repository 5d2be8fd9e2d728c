//! One short file a command: glue between what was asked and what does it.

mod abort;
mod analyze;
#[cfg(feature = "demo")]
mod demo;
mod detach;
mod drive;
mod driver_lookup;
mod history;
mod list;
mod pause;
mod plan;
mod prometheus_args;
mod promote;
mod rbac;
mod resume;
mod rollout_args;
mod run_id;
mod scaffold;
mod schema;
mod simulate;
mod start;
mod status;
mod undo;
mod watch;

pub use abort::{Abort, Aborted, abort};
pub use analyze::{Analyze, analyze};
#[cfg(feature = "demo")]
pub(crate) use demo::{Demo, demo};
pub use detach::{Carried, Detached, carry_on, detach};
pub use drive::{Drive, HookArgs};
pub(crate) use history::{HistoryArgs, ReportArgs, history, report, report_of_events};
pub use list::{List, list};
pub use pause::{Pause, pause};
pub use plan::{PlanArgs, plan};
pub use prometheus_args::PrometheusArgs;
pub use promote::{Promote, promote};
pub(crate) use rbac::{Rbac, rbac};
pub use resume::{Resume, resume};
pub use rollout_args::RolloutArgs;
pub use scaffold::{Scaffold, scaffold};
pub(crate) use schema::{SchemaArgs, schema};
pub(crate) use simulate::Simulate;
pub use simulate::simulate;
pub use start::{Detach, Start, start};
pub use status::{Status, StatusAnswer, status};
pub use undo::{Undo, undo};
pub use watch::{Glance, follow, follow_all};
