//! How a verdict is reached: windows of counts in, decisions out.
//!
//! Pure code. It knows no Kubernetes, no Prometheus and no clock: time is what the windows say.

mod guarded;
mod seat;
pub mod sequential;
mod threshold;
mod window;

pub use guarded::Guarded;
pub use seat::{Analysis, Decision, Reason, StepContext, Verdict};
pub use threshold::{Limits, ThresholdGate};
pub use window::{Counts, Slow, Window};
