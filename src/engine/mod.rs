//! What happens next: a pure machine that decides, and a driver that carries it out.
//!
//! Every road to safety is [`roll_back`]; where several objects move together, each takes it.

mod action;
mod blindness;
mod companions;
mod driver;
mod encounter;
mod escort;
mod evidence;
mod finish;
mod follow;
mod impasse;
mod insistence;
mod intent;
mod machine;
mod rollback;
mod shadow;
mod sight;
mod signals;
mod together;
mod writing;

pub use action::{Action, Horizon};
pub(crate) use action::{enter, next_step};
pub use blindness::Trouble;
pub use companions::{companions, compare_companion, hindrance};
pub use driver::{Driver, Equipment};
pub use finish::Finish;
pub use follow::{FollowError, follow};
pub use intent::{Intent, WriteError, Written, write};
pub use machine::Machine;
pub use rollback::{Authority, Restored, Road, RollbackError, roll_back};
pub use sight::{Sight, compare};
pub use signals::{Signal, Signals};
pub use together::{Left, Unrestored, roll_back_together};
