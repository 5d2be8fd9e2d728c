//! What happens next: a pure machine that decides, and a driver that carries it out.
//!
//! Every road to safety is [`roll_back`].

mod action;
mod blindness;
mod driver;
mod evidence;
mod finish;
mod insistence;
mod intent;
mod machine;
mod rollback;
mod sight;
mod signals;
mod writing;

pub use action::{Action, Horizon};
pub(crate) use action::{enter, next_step};
pub use blindness::Trouble;
pub use driver::{Driver, Equipment};
pub use finish::Finish;
pub use intent::{Intent, WriteError, Written, write};
pub use machine::Machine;
pub use rollback::{Authority, Restored, Road, RollbackError, roll_back};
pub use sight::{Sight, compare};
pub use signals::{Signal, Signals};
