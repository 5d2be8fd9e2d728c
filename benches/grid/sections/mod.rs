//! What is measured, section by section; each returns its part of the page.

mod axes;
mod choices;
mod versions;
mod worlds;

pub use choices::{latency, presets, sampling};
pub use versions::{healthy, margin, regressed};
pub use worlds::{bake, disturbed, entry, overload, warmup};
