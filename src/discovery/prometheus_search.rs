//! Looks for Prometheus where nobody said where it is and the default address is of no use.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::baseline::recent;
use super::prometheus_candidates::{candidates, may_be_one, well_known};
use crate::context::Context;
use crate::metrics::{MetricsError, Targets};
use crate::preflight::{PrometheusSearch, SearchAnswer, TriedAddress};

/// How long a Service may take to answer; all are asked at the same time.
const DEADLINE: Duration = Duration::from_secs(3);
/// The most Services to ask.
const MOST: usize = 24;

/// Asks the Services that look like Prometheus what they have up to `until`, where the `default` address is of
/// no use, which has this `answer`.
///
/// Nothing is asked with a secret: whoever may create a Service could have it sent there.
///
/// RBAC: `list` on `services` in all namespaces, without which well-known names are tried; `get` on
/// `services/proxy` where they are.
pub(super) async fn search(
    context: &Context<'_>,
    targets: &Targets,
    (default, answer): (&str, SearchAnswer),
    until: Timestamp,
) -> Option<PrometheusSearch> {
    let metric = targets.counted().metric();
    let reason = match answer {
        SearchAnswer::HasSeries => return None,
        SearchAnswer::NoSeries => format!("{default} has no {metric} of the route"),
        SearchAnswer::Failed(error) if is_answer(&error) => return None,
        SearchAnswer::Failed(error) => error.what(),
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
    let tried = found.into_iter().map(async |one| TriedAddress {
        answer: ask(context, targets, &one.address, until).await,
        address: one.address,
        looks: one.looks,
    });
    Some(PrometheusSearch {
        default: reason,
        metric,
        tried: join_all(tried).await,
        unlisted,
        skipped,
    })
}

/// The same where the `default` address has not been asked yet.
pub(crate) async fn search_from(
    context: &Context<'_>,
    targets: &Targets,
    default: &str,
    until: Timestamp,
) -> Option<PrometheusSearch> {
    let answer = ask(context, targets, default, until).await;
    search(context, targets, (default, answer), until).await
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
    address: &str,
    until: Timestamp,
) -> SearchAnswer {
    let metrics = match context.metrics(address) {
        Ok(metrics) => metrics,
        Err(error) => {
            return SearchAnswer::Failed(MetricsError::Client {
                at: address.to_owned(),
                cause: error.to_string(),
            });
        }
    };
    let seen = recent(metrics.as_ref(), targets, until);
    match tokio::time::timeout(DEADLINE, seen).await {
        Err(_) => SearchAnswer::Failed(MetricsError::TimedOut {
            at: address.to_owned(),
            after: DEADLINE,
        }),
        Ok(Err(error)) => SearchAnswer::Failed(error),
        Ok(Ok(seen)) if seen.newest.is_some() || seen.flaw.is_some() => SearchAnswer::HasSeries,
        Ok(Ok(_)) => SearchAnswer::NoSeries,
    }
}
