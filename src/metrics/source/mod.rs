//! Asking Prometheus, directly or through the API server.

mod address;
mod error;
mod http_reply;
mod http_source;
mod query;
mod query_result;
mod service_proxy;

pub use address::{AddressError, DEFAULT_ADDRESS, Endpoint, PrometheusAddress, ServiceAddress};
pub use error::{MetricsError, RefusedBy};
pub use http_source::HttpSource;
pub use query::{MetricSource, Query};
pub use query_result::{Labels, QueryResult, Series};
pub use service_proxy::ServiceProxy;
