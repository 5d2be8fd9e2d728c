//! What a user's own queries say: values within bounds, and counters of both versions.

mod event_counts;
mod guard_reader;
mod guard_reading;

pub(crate) use guard_reader::{GuardAnswers, GuardReader, ask_guard};
pub(crate) use guard_reading::single_value;
pub use guard_reading::{GuardGap, GuardReading, GuardSeen};
