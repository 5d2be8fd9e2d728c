//! Asking Prometheus, directly or through the API server; reading what proxies show themselves.

mod access;
mod access_error;
mod access_flags;
mod address;
mod error;
mod exposition;
mod flag_login;
mod gateway;
mod http_client;
mod http_config;
mod http_reply;
mod http_source;
mod oauth2;
mod query;
mod query_result;
mod query_signer;
mod reply_reader;
mod sample_store;
mod service_proxy;
mod token_cache;
mod token_command;
mod traced_source;

pub(crate) use access::PrometheusAccess;
pub(crate) use access_error::AccessError;
pub(crate) use access_flags::{PrometheusFlags, PrometheusLogin};
pub(crate) use address::{DEFAULT_ADDRESS, PrometheusAddress};
pub(crate) use error::{MetricsError, RefusedBy};
pub(crate) use exposition::samples;
pub(crate) use flag_login::take_user;
pub(crate) use http_source::HttpSource;
pub(crate) use query::{Coverage, MetricSource, Query};
pub(crate) use query_result::{Labels, QueryResult, Series};
pub(crate) use sample_store::SampleStore;
pub(crate) use service_proxy::ServiceProxy;
pub(crate) use token_cache::TokenSource;
pub(crate) use traced_source::{Tell, TracedSource};
