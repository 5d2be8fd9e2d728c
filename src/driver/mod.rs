//! All that moves traffic: the driver that carries out what the machine of [`crate::rollout`] decides,
//! and every write to an object.
//!
//! Every road to safety is [`roll_back`]; where several objects move together, each takes it.

mod analysis_setup;
mod change_state;
mod companion_watch;
mod drive;
mod drive_loop;
mod finish;
mod first_step;
mod read_companions;
mod rollback;
mod rollback_group;
mod sync_companions;
mod take_over;
mod undo_start;
mod write;
mod writing;

pub use analysis_setup::{analysis, collector};
pub use change_state::{Changed, change};
pub use drive::{DriveInput, drive, emit, left, lock, names_of_routes, unless_interrupted};
pub use drive_loop::{Deps, Driver};
pub use finish::Finish;
pub use first_step::{Begun, begin};
pub use read_companions::companions;
pub use rollback::{Initiator, Restored, RollbackError, RollbackRequest, roll_back};
pub use rollback_group::{GroupNotRestored, NotRestored, roll_back_group};
pub use sync_companions::{SyncError, sync_companions};
pub use take_over::take_over;
pub use undo_start::{rollback_failed, undo_start};
pub use write::{Written, write};
