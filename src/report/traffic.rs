//! Where an object sends requests, what runs there, and why the last rollout ended as it did.

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::discovery::VersionPods;
use crate::history::RunRecord;
use crate::istio::{Destination, Route, VirtualService, Workloads, in_force};
use crate::plan::Percent;
use crate::rollout::{EventKind, LastRollout, Outcome, Reason, VersionCounts};

/// What a route does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteAction {
    /// It sends it to a host.
    Route,
    /// It hands it on to another VirtualService.
    Delegate,
    /// It answers with a redirect.
    Redirect,
    /// It answers itself.
    DirectResponse,
    /// Nothing that is known here.
    None,
}

/// One destination of a route, or a route that has none.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteTraffic {
    /// `http[primary]`.
    pub route: String,
    /// Whether it matches only some requests.
    pub conditional: bool,
    /// What it does with them.
    pub action: RouteAction,
    /// The host, or the VirtualService that it hands on to, as `namespace/name`.
    pub host: Option<String>,
    /// The subset of the host.
    pub subset: Option<String>,
    /// The part of the route's requests, in percent; `null` where it sends to no host.
    pub percent: Option<f64>,
}

/// A version that routes send to, and its pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionStatus {
    /// The host.
    pub host: String,
    /// The subset of the host.
    pub subset: Option<String>,
    /// Pods that are ready; `null` where pods could not be read.
    pub ready: Option<usize>,
    /// Pods there are; `null` where pods could not be read.
    pub pods: Option<usize>,
    /// The images of their containers, without the mesh's proxy.
    pub images: Vec<String>,
    /// The workloads that they belong to.
    pub workloads: Vec<String>,
}

/// How the last rollout ended, and what was counted.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// The run.
    pub run: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub ended: Timestamp,
    /// Why, as far as its record tells.
    pub reasons: Vec<Reason>,
    /// What was counted over all steps, as far as its record tells.
    pub total_counts: Option<VersionCounts>,
}

impl RouteTraffic {
    /// What the routes of `vs` do, in their order.
    pub(super) fn of(vs: &VirtualService) -> Vec<Self> {
        let routes = vs.routes().iter();
        routes.flat_map(|route| Self::of_route(vs, route)).collect()
    }

    fn of_route(vs: &VirtualService, route: &Route) -> Vec<Self> {
        let delegates = vs.delegates();
        let delegate = delegates.iter().find(|(other, _)| other.at == route.at);
        let does = |key: &str| !vs.rule(route.at)[key].is_null();
        let action = match () {
            () if delegate.is_some() => RouteAction::Delegate,
            () if does("redirect") => RouteAction::Redirect,
            () if does("directResponse") => RouteAction::DirectResponse,
            () if !route.targets.is_empty() => RouteAction::Route,
            () => RouteAction::None,
        };
        let row = Self {
            route: route.to_string(),
            conditional: route.has_match,
            action,
            host: delegate.map(|(_, delegate)| delegate.to_string()),
            subset: None,
            percent: None,
        };
        if action != RouteAction::Route {
            return vec![row];
        }
        let weights = in_force(&route.weights());
        let total = weights
            .iter()
            .flatten()
            .fold(0, |sum: i64, weight| sum.saturating_add(*weight));
        let rows = route.targets.iter().zip(weights).map(|(target, weight)| {
            let percent = (total > 0).then(|| Percent::of(weight.unwrap_or(0), total));
            let Destination { host, subset, .. } = &target.destination;
            Self {
                host: Some(host.to_string()),
                subset: subset.clone(),
                percent: percent.map(|percent| 100.0 * percent.share()),
                ..row.clone()
            }
        });
        rows.collect()
    }
}

impl VersionStatus {
    pub(super) fn of(found: &VersionPods) -> Self {
        let pods = found.pods.as_ref().ok();
        let names = |of: fn(&Workloads) -> &BTreeSet<String>| {
            let names = pods.map(of).into_iter().flatten();
            names.cloned().collect()
        };
        Self {
            host: found.version.host.to_string(),
            subset: found.version.subset.clone(),
            ready: pods.map(|pods| pods.ready),
            pods: pods.map(|pods| pods.pods),
            images: names(|pods| &pods.images),
            workloads: names(|pods| &pods.names),
        }
    }
}

impl LastRun {
    /// `last` with what `record`, or the end of it, tells of that run.
    pub(super) fn of(last: &LastRollout, record: Option<&RunRecord>) -> Self {
        let mut run = Self {
            run: last.run.clone(),
            outcome: last.outcome,
            ended: last.at,
            reasons: Vec::new(),
            total_counts: None,
        };
        for event in record.into_iter().flat_map(RunRecord::events) {
            match &event.event {
                EventKind::Finished {
                    total_counts,
                    reasons,
                    ..
                } => {
                    run.reasons.clone_from(reasons);
                    run.total_counts = total_counts.or(run.total_counts);
                }
                EventKind::RolledBack { total_counts, .. } => {
                    run.total_counts = total_counts.or(run.total_counts);
                }
                _ => {}
            }
        }
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_route_says_where_its_requests_go() {
        let vs = VirtualService::new(json!({
            "metadata": {"namespace": "shop", "name": "reviews", "uid": "1"},
            "spec": {"hosts": ["reviews"], "http": [
                {"name": "old", "match": [{"uri": {"prefix": "/v1"}}], "redirect": {"uri": "/"}},
                {"directResponse": {"status": 503}},
                {"delegate": {"name": "inner"}},
                {"route": [{"destination": {"host": "alone"}}]},
                {"route": [
                    {"destination": {"host": "a", "subset": "x"}, "weight": 1},
                    {"destination": {"host": "a", "subset": "y"}, "weight": 2},
                    {"destination": {"host": "b"}},
                ]},
                {"route": [{"destination": {"host": "a"}, "weight": 0}, {"destination": {"host": "b"}}]},
            ], "tcp": [{"route": [{"destination": {"host": "db.example"}, "weight": 100}]}]},
        }))
        .unwrap();
        let rows = RouteTraffic::of(&vs).into_iter().map(|row| {
            let words = [
                row.route,
                row.host.unwrap_or_default(),
                row.subset.unwrap_or_default(),
            ];
            (words.join(" "), row.action, row.percent.map(f64::round))
        });
        let rows: Vec<_> = rows.collect();
        let host = |route: &str, name: &str, subset: &str, percent: Option<f64>| {
            let text = format!("{route} {name}.shop.svc.cluster.local {subset}");
            (text, RouteAction::Route, percent)
        };
        assert_eq!(
            rows,
            [
                ("http[old]  ".into(), RouteAction::Redirect, None),
                ("http[1]  ".into(), RouteAction::DirectResponse, None),
                ("http[2] shop/inner ".into(), RouteAction::Delegate, None),
                host("http[3]", "alone", "", Some(100.0)),
                host("http[4]", "a", "x", Some(33.0)),
                host("http[4]", "a", "y", Some(67.0)),
                host("http[4]", "b", "", Some(0.0)),
                host("http[5]", "a", "", None),
                host("http[5]", "b", "", None),
                ("tcp[0] db.example ".into(), RouteAction::Route, Some(100.0)),
            ]
        );
        let conditional = RouteTraffic::of(&vs).into_iter().map(|row| row.conditional);
        assert_eq!(conditional.filter(|conditional| *conditional).count(), 1);
    }
}
