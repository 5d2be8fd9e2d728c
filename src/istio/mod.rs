//! Routes, weights and the patches that change them.
//!
//! Pure code over JSON. A VirtualService is never parsed into a struct and written back: it is read
//! through views and changed by a guarded JSON Patch that touches the weights of the chosen routes and
//! our annotations only, and, where that was asked for, a canary that is added to them, a mirror, a cookie
//! or a rule for testers and sticky users. What a rollout adds it takes away again.

mod canary_rules;
mod delegate;
mod delegate_match;
mod desired;
mod destination;
mod difference;
mod empty_workload;
mod export;
mod feasibility;
mod match_cover;
mod mesh_config;
mod patch;
mod relevance;
mod route;
pub(crate) mod route_groups;
pub(crate) use route_groups::RouteGroup;
mod select_versions;
#[cfg(test)]
mod select_versions_tests;
mod service_entry;
mod split;
mod sticky_cookie;
mod subset;
mod version_pair;
mod versions_error;
mod virtual_service;
mod workloads;

pub(crate) use canary_rules::HeaderMatch;
pub(crate) use delegate::{Delegate, DelegateError, delegate_of};
pub(crate) use delegate_match::is_ignored_below;
pub(crate) use desired::{DesiredRoutes, MissingRoutes, is_mirrored};
pub(crate) use desired::{RouteTarget, RuleTarget};
pub(crate) use destination::{Destination, Host, USUAL_DOMAIN};
pub use difference::RouteDifference;
pub use empty_workload::EmptyWorkload;
pub(crate) use export::Export;
pub(crate) use mesh_config::{MeshConfig, ROOT};
pub(crate) use patch::{AnnotationEdit, TooLarge, shift, shift_as_it_is};
pub(crate) use relevance::Relevance;
pub(crate) use route::{Route, RouteKind, Target};
pub use select_versions::{Selection, select_versions};
pub(crate) use service_entry::{ExternalHost, ServiceEntry};
pub(crate) use split::in_force;
pub(crate) use split::{Split, SplitError, Weights};
pub(crate) use sticky_cookie::{CookieEdit, StickyCookie};
pub(crate) use subset::Subset;
pub use version_pair::VersionQuery;
pub(crate) use version_pair::versions;
pub(crate) use versions_error::VersionsError;
pub use virtual_service::VirtualService;
pub(crate) use virtual_service::{FIELD_MANAGER, MESH};
pub(crate) use workloads::Workloads;
pub(crate) use workloads::{template_owner, workload_names};
