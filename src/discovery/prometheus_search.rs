//! Looks for Prometheus where nobody said where it is and the default address is of no use.

use std::time::Duration;

use futures::future::join_all;

use super::baseline::recent;
use super::prometheus_candidates::{PrometheusCandidate, candidates, may_be_one, well_known};
use crate::context::Context;
use crate::metrics::{MetricsError, Targets};
use crate::preflight::{PrometheusSearch, Samples, SearchAnswer, TriedAddress};

/// How long a Service may take to answer; all are asked at the same time.
const DEADLINE: Duration = Duration::from_secs(3);
/// The most Services to ask.
const MOST: usize = 24;

/// Asks the Services that look like Prometheus, where `samples` of the `default` address are of no use.
///
/// Nothing is asked with a secret: whoever may create a Service could have it sent there.
///
/// RBAC: `list` on `services` in all namespaces, without which well-known names are tried; `get` on
/// `services/proxy` where they are.
pub(super) async fn search(
    context: &Context<'_>,
    targets: &Targets,
    default: &str,
    samples: &Result<Samples, MetricsError>,
) -> Option<PrometheusSearch> {
    let metric = targets.counted().metric();
    let reason = match samples {
        Ok(samples) if samples.series > 0 || samples.flaw.is_some() => return None,
        Ok(_) => format!("{default} has no {metric} of the route"),
        Err(error) if is_answer(error) => return None,
        Err(error) => error.what(),
    };
    if context.prometheus.secret_setting().is_some() {
        return None;
    }
    let (mut found, unlisted) = match context.cluster.services(may_be_one).await {
        Ok(services) => (candidates(&services), None),
        Err(error) => (well_known(), Some(error.why)),
    };
    found.retain(|candidate| candidate.address != default);
    let skipped = found.len().saturating_sub(MOST);
    found.truncate(MOST);
    let tried = found.into_iter().map(|one| ask(context, targets, one));
    Some(PrometheusSearch {
        default: reason,
        metric,
        tried: join_all(tried).await,
        unlisted,
        skipped,
    })
}

/// Whether it is Prometheus that says so: then it is there, and what it says is the thing to know.
fn is_answer(error: &MetricsError) -> bool {
    matches!(
        error,
        MetricsError::BadQuery { .. }
            | MetricsError::QueryFailed { .. }
            | MetricsError::TooLarge { .. }
            | MetricsError::NativeHistogram { .. }
            | MetricsError::NoAccess { .. }
            | MetricsError::Client { .. }
    )
}

async fn ask(
    context: &Context<'_>,
    targets: &Targets,
    candidate: PrometheusCandidate,
) -> TriedAddress {
    let PrometheusCandidate { address, looks } = candidate;
    let answer = match context.metrics(&address) {
        Err(error) => SearchAnswer::Failed(MetricsError::Client {
            at: address.clone(),
            cause: error.to_string(),
        }),
        Ok(metrics) => {
            let seen = recent(metrics.as_ref(), targets, context.clock.now());
            match tokio::time::timeout(DEADLINE, seen).await {
                Err(_) => SearchAnswer::Failed(MetricsError::TimedOut {
                    at: address.clone(),
                    after: DEADLINE,
                }),
                Ok(Err(error)) => SearchAnswer::Failed(error),
                Ok(Ok(seen)) if seen.newest.is_some() || seen.flaw.is_some() => {
                    SearchAnswer::HasSeries
                }
                Ok(Ok(_)) => SearchAnswer::NoSeries,
            }
        }
    };
    TriedAddress {
        address,
        looks,
        answer,
    }
}
