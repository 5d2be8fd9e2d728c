//! The way to a Service by port-forward, under the HTTP client of a direct address.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::ServiceAddress;
use super::error::{MetricsError, RefusedBy};

/// Opens connections to a pod behind a Service, through the API server.
pub trait PortForward: Send + Sync {
    /// An address on the loopback that takes one connection and leads it to the Service's port of a ready pod.
    /// `failed` is told why, where the pod's side breaks later.
    ///
    /// # Errors
    /// Why there is none.
    fn open(
        &self,
        service: ServiceAddress,
        failed: ForwardFailed,
    ) -> BoxFuture<'_, Result<SocketAddr, ForwardError>>;
}

/// Is told why a connection broke.
pub type ForwardFailed = Arc<dyn Fn(String) + Send + Sync>;

/// Why no connection can be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct ForwardError {
    /// What is wrong.
    pub kind: ForwardErrorKind,
    /// In words.
    pub why: String,
}

/// What keeps a connection from being opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardErrorKind {
    /// There is no such Service, or it has no such port.
    Missing,
    /// A right is missing.
    Forbidden,
    /// The API server does not know who asks.
    Unauthorized,
    /// Anything else, as no ready pod.
    Unreachable,
}

/// A Service that is reached by port-forward.
#[derive(Clone)]
pub(super) struct Forward {
    service: ServiceAddress,
    by: Arc<dyn PortForward>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Forward {
    pub(super) fn new(service: &ServiceAddress, by: Arc<dyn PortForward>) -> Self {
        Self {
            service: service.clone(),
            by,
            failure: Arc::default(),
        }
    }

    /// What an error of the client means, if it is about the port-forward.
    pub(super) fn error(&self, problem: &(dyn Error + 'static)) -> Option<MetricsError> {
        let mut cause = Some(problem);
        while let Some(problem) = cause {
            if let Some(error) = problem.downcast_ref::<ForwardError>() {
                return Some(self.told(error));
            }
            cause = problem.source();
        }
        let failure = self.failure.lock();
        let failure = failure.unwrap_or_else(PoisonError::into_inner).take();
        failure.map(|cause| MetricsError::Unreachable {
            at: self.shown(),
            cause,
        })
    }

    /// The address with the way to it.
    pub(super) fn shown(&self) -> String {
        format!("{} by port-forward", self.service)
    }

    fn told(&self, error: &ForwardError) -> MetricsError {
        let (at, message) = (self.service.to_string(), error.why.clone());
        match error.kind {
            ForwardErrorKind::Missing => MetricsError::NotFound { at, message },
            ForwardErrorKind::Forbidden => MetricsError::Forbidden {
                at,
                by: RefusedBy::PortForward,
                message,
            },
            ForwardErrorKind::Unauthorized => MetricsError::Unauthorized {
                at,
                by: RefusedBy::ApiServer,
                message,
            },
            ForwardErrorKind::Unreachable => MetricsError::Unreachable {
                at: self.shown(),
                cause: message,
            },
        }
    }
}

/// The host of the URL is not looked up: each connection is one port-forward.
impl Resolve for Forward {
    fn resolve(&self, _: Name) -> Resolving {
        let Self {
            service,
            by,
            failure,
        } = self.clone();
        Box::pin(async move {
            let slot = Arc::clone(&failure);
            let failed: ForwardFailed = Arc::new(move |why| {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            });
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
            let address = by.open(service, failed).await?;
            Ok(Box::new(std::iter::once(address)) as Addrs)
        })
    }
}

impl PartialEq for Forward {
    fn eq(&self, other: &Self) -> bool {
        self.service == other.service && Arc::ptr_eq(&self.by, &other.by)
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forward({})", self.service)
    }
}
