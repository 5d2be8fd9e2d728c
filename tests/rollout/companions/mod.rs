//! Several VirtualServices that move together.

mod deaths;
mod edits;
mod harness;
mod races;
mod refusals;
mod together;
