//! One bounded call, and what its failure means.
//!
//! kube retries nothing here and has no read timeout, so both are decided in this one place: a call
//! gets a deadline, and its failure a [`ErrorKind`] from which the caller knows whether anything may
//! have happened.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::kubeconfig::client_problem;
use crate::foreign_text::foreign_text;
use crate::plan::HumanDuration;

/// How long a read may take that can be made again.
const SOON: Duration = Duration::from_secs(3);

/// What a failed call means for the one who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such object.
    Missing,
    /// The server does not know this kind or version at all.
    Unserved,
    /// We may not.
    Forbidden,
    /// The server does not know who we are.
    Unauthorized,
    /// The object has changed (a failed `test`, or a conflict): read it again, then decide.
    Precondition,
    /// The rest of a list cannot be had any more (410): it has to be begun anew.
    Expired,
    /// The object already exists.
    Exists,
    /// The server or a webhook says the change itself is wrong.
    Refused,
    /// The server cannot do it for the moment; nothing happened.
    Busy {
        /// How long the server asks us to wait, in seconds.
        seconds: Option<u32>,
    },
    /// No answer, or one that leaves it open whether the change was made.
    Unknown,
}

/// A call that did not work: what was attempted on which object, and why it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What it means.
    pub kind: ErrorKind,
    /// What was attempted: `get virtualservice shop/reviews`.
    pub attempted: String,
    /// What the server or the network said.
    pub why: String,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.attempted, self.why)?;
        let fix = match self.kind {
            ErrorKind::Unauthorized => "log in again, or use another --context or --user",
            ErrorKind::Forbidden => "a role that allows it, or another --context or --as",
            ErrorKind::Unserved => "a cluster with Istio installed, or another --context",
            ErrorKind::Unknown => "kubectl version, to check that the API server is reachable",
            ErrorKind::Missing
            | ErrorKind::Precondition
            | ErrorKind::Exists
            | ErrorKind::Refused => return Ok(()),
            ErrorKind::Expired | ErrorKind::Busy { .. } => "the same command again in a moment",
        };
        write!(f, " (try: {fix})")
    }
}

impl Error for CallError {}

/// Why a call was made with credentials that the server refuses: no others could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not accept the credentials (401), and there are no others: {0}")]
pub(super) struct LoginError(pub String);

impl CallError {
    /// What the server or a library says goes through the filter for such texts here.
    pub(super) fn new(kind: ErrorKind, attempted: &str, why: impl AsRef<str>) -> Self {
        Self {
            kind,
            attempted: attempted.to_owned(),
            why: foreign_text(why.as_ref()),
        }
    }

    /// An answer that is not what it should be.
    pub(super) fn unreadable(attempted: &str, error: serde_json::Error) -> Self {
        Self::from_kube(attempted, &kube::Error::SerdeError(error))
    }

    /// The same, with the API server that did not answer.
    #[must_use]
    pub fn on_server(mut self, server: &str) -> Self {
        if self.kind == ErrorKind::Unknown {
            self.why = format!("{server}: {}", self.why);
        }
        self
    }

    /// Whether trying the same again can help without anybody doing something first.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Busy { .. } | ErrorKind::Expired | ErrorKind::Unknown
        )
    }

    fn from_kube(attempted: &str, error: &kube::Error) -> Self {
        let status = match error {
            kube::Error::Api(status) => status,
            kube::Error::Service(error) if error.is::<LoginError>() => {
                return Self::new(ErrorKind::Unauthorized, attempted, error.to_string());
            }
            other => return Self::new(ErrorKind::Unknown, attempted, client_problem(other)),
        };
        let details = status.details.as_ref();
        let named = details.is_some_and(|details| !details.name.is_empty());
        let webhook = status.message.contains("failed calling webhook");
        let kind = match status.code {
            // The server asks the webhook before it stores anything.
            _ if webhook => ErrorKind::Busy { seconds: None },
            404 if named => ErrorKind::Missing,
            404 => ErrorKind::Unserved,
            401 => ErrorKind::Unauthorized,
            // Admission plugins say 403 as well; for the caller both mean "not as you are".
            403 => ErrorKind::Forbidden,
            409 if status.reason == "AlreadyExists" => ErrorKind::Exists,
            409 => ErrorKind::Precondition,
            410 => ErrorKind::Expired,
            // A failed `test` has no causes; a violation of the schema lists them.
            422 if details.is_none_or(|details| details.causes.is_empty()) => {
                ErrorKind::Precondition
            }
            429 => ErrorKind::Busy {
                seconds: details
                    .map(|details| details.retry_after_seconds)
                    .filter(|seconds| *seconds > 0),
            },
            code if (400..500).contains(&code) => ErrorKind::Refused,
            _ => ErrorKind::Unknown,
        };
        let why = match status.message.trim() {
            "" => format!("HTTP {} {}", status.code, status.reason),
            page if page.starts_with('<') => {
                format!(
                    "HTTP {} with a web page, not from a Kubernetes API",
                    status.code
                )
            }
            message => message.to_owned(),
        };
        Self::new(kind, attempted, why)
    }
}

pub(super) fn spoken(duration: Duration) -> HumanDuration {
    HumanDuration::from(jiff::SignedDuration::try_from(duration).unwrap_or_default())
}

/// Waits for `call` no longer than `deadline`.
///
/// # Errors
/// Whatever failed, classified; a call that ran into its deadline has an unknown outcome.
pub(super) async fn bounded<T>(
    attempted: &str,
    deadline: Duration,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(CallError::from_kube(attempted, &error)),
        Err(_) => Err(CallError::new(
            ErrorKind::Unknown,
            attempted,
            format!("no response within {}", spoken(deadline)),
        )),
    }
}

/// Waits for a read no longer than a moment: it is made again rather than waited for, since the connection
/// that it was sent on may be lost.
///
/// # Errors
/// As `read` does; without an answer the outcome is unknown.
pub(super) async fn soon<T>(
    attempted: &str,
    read: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let elapsed = |_| {
        let why = format!("no response within {}", spoken(SOON));
        CallError::new(ErrorKind::Unknown, attempted, why)
    };
    tokio::time::timeout(SOON, read).await.map_err(elapsed)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use serde_json::json;

    fn kind(status: serde_json::Value) -> ErrorKind {
        let status: Status = serde_json::from_value(status).unwrap();
        CallError::from_kube("patch", &kube::Error::Api(status.boxed())).kind
    }

    #[test]
    fn every_answer_has_a_class() {
        for (status, expected) in [
            (
                json!({"code": 404, "details": {"name": "reviews"}}),
                ErrorKind::Missing,
            ),
            (
                json!({"code": 404, "message": "404 page not found"}),
                ErrorKind::Unserved,
            ),
            (json!({"code": 403}), ErrorKind::Forbidden),
            (
                json!({"code": 409, "reason": "Conflict"}),
                ErrorKind::Precondition,
            ),
            (
                json!({"code": 409, "reason": "AlreadyExists"}),
                ErrorKind::Exists,
            ),
            (
                json!({"code": 410, "reason": "Expired"}),
                ErrorKind::Expired,
            ),
            (json!({"code": 422, "details": {}}), ErrorKind::Precondition),
            (
                json!({"code": 422, "details": {"causes": [{"field": "spec"}]}}),
                ErrorKind::Refused,
            ),
            (
                json!({"code": 400, "message": "admission webhook denied the request"}),
                ErrorKind::Refused,
            ),
            (
                json!({"code": 429, "details": {"retryAfterSeconds": 3}}),
                ErrorKind::Busy { seconds: Some(3) },
            ),
            (
                json!({"code": 500, "message": "failed calling webhook \"rev\""}),
                ErrorKind::Busy { seconds: None },
            ),
            (json!({"code": 504}), ErrorKind::Unknown),
        ] {
            assert_eq!(kind(status.clone()), expected, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_ends_with_an_unknown_outcome() {
        let hang = std::future::pending::<kube::Result<()>>();
        let error = bounded(
            "get virtualservice shop/reviews",
            Duration::from_secs(5),
            hang,
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown);
        assert!(
            error
                .to_string()
                .starts_with("cannot get virtualservice shop/reviews: no response within 5s")
        );
    }
}
