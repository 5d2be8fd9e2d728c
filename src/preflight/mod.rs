//! What would go wrong, found before anything moves.
//!
//! A few lists are fetched once, whatever the size of the VirtualService ([`Surroundings`], then
//! [`Facts`]); everything that is concluded from them is pure, one file a theme. Each
//! [`Finding`](crate::plan::Finding) names the object and the field, and gives the command or the
//! YAML that mends it.

mod ambient;
mod capacity;
mod encryption;
mod facts;
mod inspection;
mod labels;
mod left_behind;
mod lookup;
mod neighbours;
pub(crate) mod owner;
mod permissions;
mod pods;
mod prometheus;
mod proposal;
mod protocol;
mod rules;
mod stickiness;
mod subsets;
mod surroundings;
#[cfg(test)]
mod table;
mod unread;
mod version;

pub use facts::{Facts, Grant, Samples};
pub use inspection::{inspect, inspect_companion};
pub use proposal::Proposal;
pub(crate) use surroundings::subsets_meant;
pub use surroundings::{Question, Surroundings};
pub use unread::{Source, Unread};
pub(crate) use version::arm;
pub use version::{Role, Version};
