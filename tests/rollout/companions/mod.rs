//! Several VirtualServices that move together.

mod deaths;
mod doors;
mod edits;
mod races;
mod refusals;
mod together;
