//! Routes as people have them, shifted under traffic, with the shares counted at the backends.
//!
//! The objects are YAML in `objects/`, in the shapes and with the names of their sources. Some of these
//! names are not a test's own (the namespace `default`), so every test first takes away what an earlier
//! one may have left.

mod added;
mod cookie;
mod demo4;
mod kiali;
mod one_subset;
mod shares;
mod source;
mod staff;
mod sticky;
mod tcp_echo;

pub(crate) use source::{is_of_the_mesh, objects};

/// Steps of three seconds, looked at each second, judged by plain limits.
const BRISK: &str = "--analysis threshold --max-error-rate 5% --margin 5% --min-requests 20 \
                     --dwell 3s --interval 1s";

/// Requests a second.
const RATE: f64 = 300.0;
