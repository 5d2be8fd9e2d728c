//! How a verdict is reached: windows of counts in, decisions out.
//!
//! Pure code. It knows no Kubernetes, no Prometheus and no clock: time is what the windows say.

mod analysis;
mod beside_weights;
mod reason;
pub mod sequential;
mod status_code;
mod threshold;
mod window;
mod with_limit;

pub use analysis::{Analysis, Decision, StepContext, Verdict};
pub use beside_weights::BesideWeights;
pub use reason::AnalysisReason;
pub use status_code::StatusCode;
pub(crate) use threshold::{Limits, ThresholdGate};
pub(crate) use window::PROPAGATION;
pub use window::{Counts, OfOperation, OfStatus, Slow, Window};
pub(crate) use with_limit::WithLimit;
