//! Routes, weights and the patches that change them.
//!
//! Pure code over JSON. A VirtualService is never parsed into a struct and written back: it is read
//! through views and changed by a guarded JSON Patch that touches the weights of the chosen routes and
//! our annotations only, and, where that was asked for, a canary that is added to them, a mirror or a
//! rule for testers. What a rollout adds it takes away again.

mod delegate;
mod desired;
mod destination;
mod feasibility;
mod patch;
mod route;
pub(crate) mod route_groups;
pub use route_groups::RouteGroup;
mod select_versions;
#[cfg(test)]
mod select_versions_tests;
mod split;
mod subset;
mod tester_rules;
mod version_pair;
mod versions_error;
mod virtual_service;
mod workloads;

pub use delegate::{Delegate, DelegateError, Handover, delegate_of};
pub use desired::{Addition, DesiredRoute, DesiredRoutes, MissingRoutes, Shadow};
pub(crate) use desired::{RouteTarget, TesterTarget};
pub use destination::{Destination, Host};
pub use patch::{AnnotationEdit, Annotations, TooLarge, shift};
pub use route::{Route, RouteId, RouteKind, RouteRef, Target};
pub use select_versions::{Selection, select_versions};
pub(crate) use split::in_force;
pub use split::{Split, SplitError, Weights};
pub use subset::Subset;
pub use tester_rules::TesterRules;
pub use version_pair::VersionQuery;
pub use versions_error::VersionsError;
pub use virtual_service::{FIELD_MANAGER, MalformedObject, VirtualService};
pub use workloads::Workloads;
pub(crate) use workloads::workload_name;
