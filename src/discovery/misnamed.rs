//! Under which names requests are counted where Istio's own metric has nothing of a route.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::metrics::{MetricSource, Query, Unit};
use crate::plan::Finding;

/// How long the question may take: without an answer the rest is known all the same.
const DEADLINE: Duration = Duration::from_secs(3);
/// At most so many names are told.
const NAMED: usize = 3;

/// What is wrong with the names, if anything looks like Istio's requests there.
///
/// Collectors of OpenTelemetry drop `_total` and add prefixes, and a label that is dropped leaves no report whose
/// side is known.
pub(super) async fn misnamed(
    metrics: &dyn MetricSource,
    counted: Unit,
    at: Timestamp,
) -> Option<Finding> {
    if counted != Unit::Requests {
        return None;
    }
    let query = Query {
        text: "count by (__name__,reporter) ({__name__=~\".*istio_requests.*\"})".to_owned(),
        at,
        within: DEADLINE,
    };
    let answer = metrics.ask(&query).await.ok()?;
    let (source, wanted) = (metrics.name(), counted.metric());
    let of = |name| {
        let labels = answer.series.iter().map(|series| &series.labels);
        labels.map(move |labels| labels.get(name).map_or("", String::as_str))
    };
    let names: BTreeSet<&str> = of("__name__").filter(|name| !name.is_empty()).collect();
    if names.contains(wanted) {
        let is_sided = of("reporter").any(|reporter| !reporter.is_empty());
        if is_sided {
            return without_service(metrics, wanted, at).await;
        }
        return Some(Finding::warn(
            format!("no series of {wanted} in {source} has the label reporter"),
            "what callers and what the versions' own proxies report is the same requests, and cannot be told apart",
            "keep the label reporter: Telemetry tagOverrides, metric_relabel_configs",
        ));
    }
    let names: Vec<_> = names.into_iter().take(NAMED).collect();
    (!names.is_empty()).then(|| {
        Finding::warn(
            format!("{source} has {} in place of {wanted}", names.join(", ")),
            "only the names that Istio gives are read",
            "the names of Istio: add_metric_suffixes of the collector, metric_relabel_configs, or a recording rule; or --prometheus with the store that has them",
        )
    })
}

/// Whether a label is missing by which the requests of a Service are found.
async fn without_service(
    metrics: &dyn MetricSource,
    wanted: &str,
    at: Timestamp,
) -> Option<Finding> {
    for label in ["destination_service_name", "destination_service_namespace"] {
        let query = Query {
            text: format!("count({wanted}{{{label}!=\"\"}})"),
            at,
            within: DEADLINE,
        };
        if metrics.ask(&query).await.ok()?.series.is_empty() {
            return Some(Finding::warn(
                format!(
                    "no series of {wanted} in {} has the label {label}",
                    metrics.name()
                ),
                "the requests of a Service are found by its name and namespace",
                format!("keep the label {label}: Telemetry tagOverrides, metric_relabel_configs"),
            ));
        }
    }
    None
}
