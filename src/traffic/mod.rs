//! Routes, weights and the patches that change them.
//!
//! Pure code over JSON. A VirtualService is never parsed into a struct and written back: it is read
//! through views and changed by a guarded JSON Patch that touches weights and our annotations only.

mod destination;
mod patch;
mod route;
mod split;
mod versions;
mod virtual_service;

pub use destination::{Destination, Host};
pub use patch::{AnnotationEdit, Annotations, TooLarge, shift};
pub use route::{Route, RouteId, RouteKind, RouteRef, Target};
pub(crate) use split::route_alike;
pub use split::{Split, SplitError, Weights};
pub use versions::{Choice, VersionsError, choose};
pub use virtual_service::{MalformedObject, VirtualService};
