//! Routes, weights and the patches that change them.
//!
//! Pure code over JSON. A VirtualService is never parsed into a struct and written back: it is read
//! through views and changed by a guarded JSON Patch that touches the weights of the chosen routes and
//! our annotations only, and, where that was asked for, a canary that is added to them, a mirror or a
//! rule for testers. What a rollout adds it takes away again.

pub(crate) mod chosen;
mod delegate;
mod destination;
mod fit;
mod pairing;
mod patch;
mod route;
mod shape;
mod split;
mod tester_rules;
mod versions;
mod versions_error;
#[cfg(test)]
mod versions_tests;
mod virtual_service;

pub use delegate::{Delegate, DelegateError, Handover, delegate_of};
pub use destination::{Destination, Host};
pub use patch::{AnnotationEdit, Annotations, TooLarge, shift};
pub use route::{Route, RouteId, RouteKind, RouteRef, Target};
pub use shape::{Addition, Form, MissingRoutes, Shadow, Shape};
pub(crate) use shape::{Mirroring, Outline, TesterOutline};
pub(crate) use split::in_force;
pub use split::{Split, SplitError, Weights};
pub use tester_rules::TesterRules;
pub use versions::{Choice, Wanted, choose};
pub use versions_error::VersionsError;
pub use virtual_service::{MalformedObject, VirtualService};
