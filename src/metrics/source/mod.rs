//! Asking Prometheus, directly or through the API server.

mod address;
mod error;
mod http_reply;
mod http_source;
mod query;
mod query_result;
mod service_proxy;

pub(crate) use address::{DEFAULT_ADDRESS, PrometheusAddress};
pub(crate) use error::{MetricsError, RefusedBy};
pub(crate) use http_source::HttpSource;
pub(crate) use query::{MetricSource, Query};
pub(crate) use query_result::{Labels, QueryResult, Series};
pub(crate) use service_proxy::ServiceProxy;
