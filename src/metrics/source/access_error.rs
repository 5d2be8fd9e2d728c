//! What keeps a login at Prometheus from being used.

use thiserror::Error;

/// A setting that cannot be followed, or a file or token that cannot be had. Quotes no value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} (try: {fix})")]
pub struct AccessError {
    /// Which setting, and what is wrong with it.
    pub what: String,
    /// What to write instead.
    pub fix: String,
}
