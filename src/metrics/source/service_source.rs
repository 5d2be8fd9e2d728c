//! Prometheus behind a Service: through the API server's proxy, or by port-forward where that does not do.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::access::PrometheusAccess;
use super::access_error::AccessError;
use super::address::ServiceAddress;
use super::error::{MetricsError, RefusedBy};
use super::http_source::HttpSource;
use super::port_forward::{Forward, PortForward};
use super::query::{MetricSource, Query};
use super::query_result::QueryResult;
use super::service_proxy::ServiceProxy;

/// Asks a Service in the cluster over the connection that the API server already gives.
///
/// The proxy is tried first, as most may use it and it takes no pod. It passes no login on and checks no
/// certificate: with either, and where it is forbidden, the Service is asked by port-forward to one of its pods.
/// Once that has answered it is kept.
///
/// # RBAC
///
/// `get` on `services/proxy`; or `get` on `services`, `list` on `pods`, and `get` and `create` on
/// `pods/portforward`.
pub struct ServiceSource {
    proxy: Option<ServiceProxy>,
    forward: OnceLock<HttpSource>,
    is_forwarded: AtomicBool,
    address: ServiceAddress,
    access: PrometheusAccess,
    by: Arc<dyn PortForward>,
}

impl ServiceSource {
    /// A source that asks the Service at `address` through `client`, or over connections that `by` opens.
    ///
    /// # Errors
    /// If a setting of the login would have no effect, or cannot be used as it is now.
    pub fn new(
        client: kube::Client,
        address: &ServiceAddress,
        access: PrometheusAccess,
        by: Arc<dyn PortForward>,
    ) -> Result<Self, AccessError> {
        let proxy = ServiceProxy::new(client, address, access.clone()).ok();
        let source = Self {
            is_forwarded: AtomicBool::new(proxy.is_none()),
            proxy,
            forward: OnceLock::new(),
            address: address.clone(),
            access,
            by,
        };
        if source.proxy.is_none() {
            source.forward()?;
        }
        Ok(source)
    }

    /// The source that asks by port-forward.
    fn forward(&self) -> Result<&HttpSource, AccessError> {
        if let Some(made) = self.forward.get() {
            return Ok(made);
        }
        let forward = Forward::new(&self.address, Arc::clone(&self.by));
        let made = HttpSource::forwarded(&self.address, self.access.clone(), forward)?;
        Ok(self.forward.get_or_init(|| made))
    }

    async fn answer(&self, query: &Query) -> Result<QueryResult, MetricsError> {
        let proxy = self.proxy.as_ref();
        let proxy = proxy.filter(|_| !self.is_forwarded.load(Ordering::Relaxed));
        let begun = Instant::now();
        let refusal = match proxy {
            None => None,
            Some(proxy) => match proxy.ask(query).await {
                Err(error) if error.is_forbidden_by_api_server() => Some(error),
                answer => return answer,
            },
        };
        let forward = self.forward().map_err(|error| MetricsError::NoAccess {
            at: self.address.to_string(),
            error,
        })?;
        let query = Query {
            within: query.within.saturating_sub(begun.elapsed()),
            ..query.clone()
        };
        match (forward.ask(&query).await, refusal) {
            (Err(error), Some(refusal)) if is_of_the_way(&error) => Err(refusal.or_by(error)),
            (answer, _) => {
                self.is_forwarded.store(true, Ordering::Relaxed);
                answer
            }
        }
    }
}

/// Whether it says nothing of what is at the other end.
fn is_of_the_way(error: &MetricsError) -> bool {
    matches!(
        error,
        MetricsError::Unreachable { .. }
            | MetricsError::TimedOut { .. }
            | MetricsError::NotFound { .. }
            | MetricsError::Forbidden {
                by: RefusedBy::PortForward,
                ..
            }
            | MetricsError::Unauthorized {
                by: RefusedBy::ApiServer,
                ..
            }
    )
}

impl MetricSource for ServiceSource {
    fn ask<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<QueryResult, MetricsError>> {
        self.answer(query).boxed()
    }

    fn name(&self) -> String {
        match (&self.proxy, self.forward.get()) {
            (_, Some(forward)) if self.is_forwarded.load(Ordering::Relaxed) => forward.name(),
            (Some(proxy), _) => proxy.name(),
            (None, _) => self.address.to_string(),
        }
    }
}

impl fmt::Debug for ServiceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceSource({})", self.address)
    }
}
