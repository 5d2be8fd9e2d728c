//! One short file a command: glue between what was asked and what does it.

mod abort;
mod additions;
mod begin;
mod demo;
mod drive;
mod environment;
mod error;
mod handover;
mod judge;
mod list;
mod pause;
mod plan;
mod prepare;
mod promote;
mod resume;
mod simulate;
mod start;
mod state;
mod status;

pub use abort::{Abort, abort};
pub use demo::{Demo, demo};
pub use drive::{Drive, summary};
pub use environment::Environment;
pub use error::CommandError;
pub use judge::Before;
pub use list::{List, list};
pub use pause::{Pause, pause};
pub use plan::{PlanArgs, plan};
pub use prepare::{Prepared, RolloutArgs, prepare};
pub use promote::{Promote, promote};
pub use resume::{Resume, resume};
pub use simulate::{Simulate, simulate};
pub use start::{Start, start};
pub use status::{Status, StatusAnswer, status};
