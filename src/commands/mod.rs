//! One short file a command: glue between what was asked and what does it.

mod abort;
mod drive;
mod environment;
mod error;
mod pause;
mod prepare;
mod promote;
mod resume;
mod start;
mod state;

pub use abort::{Abort, abort};
pub use drive::{Drive, summary};
pub use environment::Environment;
pub use error::CommandError;
pub use pause::pause;
pub use prepare::{Prepared, RolloutArgs, prepare};
pub use promote::{Promote, promote};
pub use resume::{Resume, resume};
pub use start::{Start, start};
