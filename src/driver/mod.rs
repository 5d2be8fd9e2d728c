//! All that moves traffic: the driver that carries out what the machine of [`crate::rollout`] decides,
//! and every write to an object.
//!
//! Every write goes through the one loop of [`apply`], and every road to safety is [`roll_back_group`].

mod analysis_setup;
mod announce;
mod apply;
mod canary_pods;
mod change_state;
mod drive;
mod driver_write;
mod ending;
mod finish;
mod first_step;
mod guard_poll;
mod lock;
mod read_companions;
mod rollback;
mod rollback_group;
mod sight;
mod standby;
mod step_gate;
mod steps;
mod sync_companions;
mod take_over;
mod undo_promotion;
mod undo_start;
mod unreadable_state;
mod until_read;
mod watched_group;

pub(crate) use analysis_setup::collector;
pub use analysis_setup::{analysis, analysis_of};
pub(crate) use announce::announce_start;
pub(crate) use change_state::{Changed, change};
pub(crate) use drive::{DriveInput, drive};
pub use finish::Finish;
pub(crate) use first_step::{Begun, begin};
pub(crate) use lock::lock;
pub(crate) use rollback::{Initiator, RollbackError, RollbackRequest};
pub(crate) use rollback_group::{GroupNotRestored, NotRestored, read_to_restore, roll_back_group};
pub(crate) use take_over::take_over;
pub(crate) use undo_promotion::undo_promotion;
pub(crate) use undo_start::rollback_failed;
pub(crate) use unreadable_state::state_unreadable;
pub(crate) use until_read::until_read;
