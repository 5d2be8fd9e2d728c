//! What happens next: a pure machine that decides, and a driver that carries it out.
//!
//! Every road to safety is [`roll_back`].

mod blindness;
mod driver;
mod evidence;
mod intent;
mod machine;
mod rollback;
mod sight;
mod signals;

pub use blindness::Trouble;
pub use driver::{Driver, Equipment, Finish};
pub use intent::{Intent, WriteError, Written, write};
pub use machine::{Action, Horizon, Machine};
pub(crate) use machine::{enter, next_step};
pub use rollback::{Authority, Restored, Road, RollbackError, roll_back};
pub use sight::{Sight, compare};
pub use signals::{Signal, Signals};
