//! The API server of the world: paths, verbs, objects, and answers in the words of the real one.

pub(crate) mod access;
mod discovery;
mod dispatch;
mod history;
pub(crate) mod kinds;
mod ownership;
mod patch;
pub(crate) mod route;
pub(crate) mod selector;
pub(crate) mod status;
pub(crate) mod store;
mod table;
mod validation;
mod watching;

pub(crate) use access::Attempt;
pub use access::Denial;
pub(crate) use dispatch::{Reply, Request, perform, verb};
pub(crate) use kinds::{Kind, split_version};
pub(crate) use route::{ProxyTarget, Query, Route};
pub(crate) use selector::Selector;
pub(crate) use status::ApiStatus;
pub(crate) use store::Write;
pub(crate) use watching::{Line, Watch, expired};
