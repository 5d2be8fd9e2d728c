//! Under which names requests are counted where Istio's own metric has nothing of a route.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::metrics::{MetricSource, Query, Targets, Unit};
use crate::plan::Finding;

/// How long the question may take: without an answer the rest is known all the same.
const DEADLINE: Duration = Duration::from_secs(3);
/// What Istio calls the destination of requests that it knows no Service for.
const NO_SERVICE: &str = "PassthroughCluster";
/// Who reports, in Istio's words.
const SIDES: [&str; 3] = ["source", "destination", "waypoint"];
/// At most so many names are told.
const NAMED: usize = 3;

/// What is wrong with the names, if anything looks like Istio's requests there.
///
/// Collectors of OpenTelemetry drop `_total` and add prefixes, and a label that is dropped leaves no report whose
/// side is known.
pub(super) async fn misnamed(
    metrics: &dyn MetricSource,
    targets: &Targets,
    at: Timestamp,
) -> Option<Finding> {
    let counted = targets.counted();
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
        let sides: BTreeSet<&str> = of("reporter").filter(|side| !side.is_empty()).collect();
        if sides.iter().any(|side| SIDES.contains(side)) {
            return match without_service(metrics, wanted, at).await {
                None => under_another_name(metrics, targets, at).await,
                finding => finding,
            };
        }
        if !sides.is_empty() {
            let sides: Vec<_> = sides.into_iter().take(NAMED).collect();
            return Some(Finding::warn(
                format!(
                    "the label reporter of {wanted} in {source} is {}",
                    sides.join(", ")
                ),
                "only reports of the sides that Istio names are read: source, destination and waypoint",
                "keep the label reporter as Istio gives it: Telemetry tagOverrides, metric_relabel_configs",
            ));
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

/// Whether the Service's requests may be there under another spelling, or as those of no Service.
async fn under_another_name(
    metrics: &dyn MetricSource,
    targets: &Targets,
    at: Timestamp,
) -> Option<Finding> {
    let wanted = targets.service_names();
    if wanted.is_empty() {
        return None;
    }
    let (source, metric) = (metrics.name(), targets.counted().metric());
    let query = Query {
        text: targets.alike(metric, NO_SERVICE),
        at,
        within: DEADLINE,
    };
    let answer = metrics.ask(&query).await.ok()?;
    let names = answer.series.iter();
    let names = names.filter_map(|series| series.labels.get("destination_service_name"));
    let names: BTreeSet<&str> = names.map(String::as_str).collect();
    if names.iter().any(|name| wanted.contains(name)) {
        return None;
    }
    let service = Vec::from_iter(wanted).join(", ");
    let spelt = names.iter().find(|name| **name != NO_SERVICE);
    Some(match spelt {
        Some(name) => Finding::warn(
            format!("{source} has {metric} of {name}, and the Service is {service}"),
            "names are compared letter by letter",
            "keep the label destination_service_name as Istio gives it: Telemetry tagOverrides, metric_relabel_configs",
        ),
        None if names.contains(NO_SERVICE) => Finding::warn(
            format!("{source} has {metric} of {NO_SERVICE}, and none of {service}"),
            "requests to addresses that the caller's proxy knows no Service for are counted so, and follow no route",
            "callers that ask for the Service by its name, and egress.hosts of their Sidecar with it",
        ),
        None => return None,
    })
}
