//! The API server of the world: paths, verbs, objects, and answers in the words of the real one.

pub(crate) mod access;
mod change_log;
mod discovery;
mod dispatch;
pub(crate) mod kinds;
mod list_page;
mod ownership;
mod patch;
pub(crate) mod route;
pub(crate) mod selector;
pub(crate) mod status;
pub(crate) mod store;
mod table;
mod validation;
mod watch_stream;

pub(crate) use access::AccessAttempt;
pub use access::Denial;
pub(crate) use dispatch::{Reply, Request, perform, verb};
pub(crate) use kinds::{ResourceKind, split_version};
pub(crate) use route::{ApiRoute, ProxyTarget, QueryParams};
pub(crate) use selector::ObjectSelector;
pub(crate) use status::ApiStatus;
pub(crate) use store::Write;
pub(crate) use watch_stream::{WatchLine, WatchStream, expired};
