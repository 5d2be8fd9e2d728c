//! Whether the chosen routes can carry what a plan asks of them, and on which scale.

use std::collections::HashMap;

use super::canary_rules::CanaryRules;
use super::desired::is_mirrored;
use super::route::RouteKind;
use super::select_versions::Selection;
use super::split::SplitError;
use super::sticky_cookie::StickyCookie;
use super::virtual_service::VirtualService;
use crate::plan::{Percent, Plan};

impl Selection {
    /// The choice with its weights on the scale that `plan` needs: a larger one where `fine` allows it,
    /// else the route's own.
    ///
    /// # Errors
    /// If a route cannot be divided so finely, or has no place for a mirror, a cookie or a rule for testers.
    pub fn fitted(self, vs: &VirtualService, plan: &Plan, fine: bool) -> Result<Self, SplitError> {
        let steps: Vec<Percent> = plan
            .steps
            .as_slice()
            .iter()
            .map(|step| step.exposure.share())
            .collect();
        self.check_twins(vs)?;
        let mut splits = Vec::with_capacity(self.splits.len());
        let (mut http, mut other) = (false, None);
        for split in self.splits {
            let Some(route) = split.find(vs) else {
                continue;
            };
            if route.at.kind == RouteKind::Http {
                http = true;
                if plan.mirrors() && is_mirrored(vs.rule(route.at)) {
                    return Err(SplitError::Mirrors {
                        route: route.to_string(),
                    });
                }
                if let Some(testers) = &plan.testers {
                    CanaryRules::check(vs, route, testers)?;
                }
                if plan.sticky.is_some() {
                    StickyCookie::check(vs, route, &split)?;
                }
            } else {
                other = other.or_else(|| Some(route.to_string()));
            }
            splits.push(if fine {
                split.refined(route, &steps)?
            } else {
                split
            });
        }
        if let (false, Some(route)) = (http, other) {
            let needs = [
                (plan.testers.is_some(), "--match"),
                (plan.sticky.is_some(), "--sticky"),
                (plan.mirrors(), "a step that mirrors"),
            ];
            if let Some((_, what)) = needs.into_iter().find(|(needed, _)| *needed) {
                return Err(SplitError::NoHttp { route, what });
            }
        }
        Ok(Self { splits, ..self })
    }

    /// Whether routes that get the canary stay different from those that have it.
    fn check_twins(&self, vs: &VirtualService) -> Result<(), SplitError> {
        let found = |adds: bool| {
            let splits = self.splits.iter().filter(move |split| split.adds() == adds);
            splits.filter_map(|split| Some((split, split.find(vs)?)))
        };
        let complete: HashMap<_, _> = found(false)
            .map(|(_, route)| (route.base_id, route))
            .collect();
        let twins = found(true).find_map(|(split, route)| {
            let other = complete.get(&split.id)?;
            split.is_of(other).then_some((route, other))
        });
        match twins {
            None => Ok(()),
            Some((route, other)) => Err(SplitError::Twins {
                route: route.to_string(),
                other: other.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::{VersionQuery, select_versions};
    use crate::plan::Options;
    use serde_json::{Value, json};

    fn vs(spec: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn route(first: i64, second: i64) -> Value {
        json!([
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": first},
            {"destination": {"host": "reviews", "subset": "v2"}, "weight": second},
        ])
    }

    fn fitted(
        spec: Value,
        steps: &str,
        testers: Option<&str>,
        fine: bool,
    ) -> Result<Vec<i64>, String> {
        let vs = vs(spec);
        let options = Options {
            steps: Some(steps.parse().unwrap()),
            testers: testers.map(|text| text.parse().unwrap()),
            ..Options::default()
        };
        let selection = select_versions(&vs, None, None, &[], &[]).unwrap();
        let fitted = selection.fitted(&vs, &Plan::resolve(options).unwrap(), fine);
        fitted
            .map(|selection| selection.splits.iter().map(|split| split.scale).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_scale_is_no_larger_than_the_steps_need() {
        let http = |first, second| json!({"http": [{"route": route(first, second)}]});
        for (total, steps, scale) in [
            (100, "1,10,50,100", 1),
            (100, "0.5,100", 10),
            (100, "0.05,1,100", 100),
            (100, "0.001,100", 1_000),
            (99, "1,100", 100),
            (20, "1,100", 10),
            (3, "1,50,100", 100),
            // Thirds are no whole numbers on any scale; near enough must do.
            (21_474, "0.001,33.333,100", 100_000),
        ] {
            let scales = fitted(http(total, 0), steps, None, true).unwrap();
            assert_eq!(scales, [scale], "{total} by {steps}");
            assert_eq!(fitted(http(total, 0), steps, None, false).unwrap(), [1]);
        }
    }

    #[test]
    fn a_step_that_no_total_expresses_is_refused() {
        let error = fitted(
            json!({"http": [{"route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 3},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
            ]}]}),
            "0.001,100",
            None,
            true,
        );
        assert_eq!(error.unwrap(), [100_000]);
        let error = fitted(
            json!({"http": [{"route": route(2_000_000_000, 0)}]}),
            "0.001,100",
            None,
            true,
        );
        assert_eq!(error.unwrap(), [1], "large totals are fine enough");
    }

    #[test]
    fn a_route_that_would_become_another_is_refused() {
        let vs = vs(json!({"http": [
            {"route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
            {"route": route(100, 0)},
        ]}));
        let routes = ["http[0]".to_owned()];
        for (routes, refused) in [(&[][..], true), (&routes[..], false)] {
            let wanted = VersionQuery {
                stable: Some("v1"),
                canary: Some("v2"),
                routes,
                add: true,
                ..VersionQuery::default()
            };
            let plan = Plan::resolve(Options::default()).unwrap();
            let fitted = wanted
                .select_versions(&vs)
                .unwrap()
                .fitted(&vs, &plan, false);
            let expected = "http[0] would be identical to http[1] once its canary is added (try: a name for one of them, or --route with one of them)";
            let error = fitted.err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), refused.then_some(expected));
        }
    }

    #[test]
    fn mirrors_and_testers_need_a_route_that_has_room_for_them() {
        let mirrored =
            json!({"http": [{"name": "a", "mirror": {"host": "x"}, "route": route(100, 0)}]});
        let matching = json!({"http": [{"name": "a", "match": [{"headers": {"Cookie": {"regex": ".*"}}}], "route": route(100, 0)}]});
        let tcp = json!({"tcp": [{"route": route(100, 0)}]});
        for (spec, steps, testers, expected) in [
            (
                mirrored.clone(),
                "mirror:1%,100",
                None,
                Some(
                    "http[a] already has a mirror, which a mirror step would replace (try: steps without mirror, or remove `mirror` from the route first)",
                ),
            ),
            (mirrored, "1,100", Some("header:x-canary=1"), None),
            (
                matching.clone(),
                "1,100",
                Some("cookie:a=b"),
                Some(
                    "http[a] already matches on header cookie, so it cannot select testers (try: --match with another header, or --route without http[a])",
                ),
            ),
            (matching, "mirror:1%,100", Some("header:x-canary=1"), None),
            (
                tcp.clone(),
                "1,100",
                Some("header:x-canary=1"),
                Some("tcp[0] is not an http route, which --match requires (try: without --match)"),
            ),
            (
                tcp.clone(),
                "mirror:1%,100",
                None,
                Some(
                    "tcp[0] is not an http route, which a step that mirrors requires (try: without a step that mirrors)",
                ),
            ),
            (tcp, "1,100", None, None),
        ] {
            let error = fitted(spec, steps, testers, false).err();
            assert_eq!(error.as_deref(), expected);
        }
    }
}
