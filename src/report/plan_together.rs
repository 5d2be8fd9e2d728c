//! A plan for several objects that move together.

use jiff::Timestamp;

use super::plan_view::{PlanView, PlannedRoute, minimum, stages};
use crate::istio::{Selection, VirtualService};
use crate::rollout::{Companion, Rollout, route_of};

impl PlanView {
    /// The same with the objects that move along.
    ///
    /// What all of them have already decides which steps are skipped.
    #[must_use]
    pub fn with_companions(
        mut self,
        selection: &Selection,
        company: &[(&Companion, &VirtualService)],
    ) -> Self {
        if company.is_empty() {
            return self;
        }
        let also = company.iter().map(|(companion, _)| (*companion).clone());
        let whom = (
            selection.stable.clone(),
            selection.canary.clone(),
            selection.splits.clone(),
        );
        let none = String::new();
        let began = Timestamp::UNIX_EPOCH;
        let rollout = Rollout::new(none.clone(), none, self.plan.clone(), whom, began)
            .with_companions(also.collect());
        let stages = stages(&rollout);
        for (companion, vs) in company {
            let routes = companion.routes.iter();
            self.routes.extend(routes.map(|split| {
                let route = PlannedRoute::of(vs, split, &stages);
                PlannedRoute {
                    route: route_of(&route.route, vs),
                    ..route
                }
            }));
            self.companions.push(companion.object.clone());
        }
        self.steps = self.plan.planned_steps(rollout.original_share());
        self.minimum = minimum(&self.steps);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::{VersionQuery, select_versions};
    use crate::plan::{Options, Plan};
    use crate::report::{Layout, View};
    use crate::rollout::ObjectName;
    use serde_json::json;

    fn vs(name: &str, weights: [i64; 2]) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"http": [{"name": "main", "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": weights[0]},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": weights[1]},
            ]}]},
        }))
        .unwrap()
    }

    fn view(lead: [i64; 2], other: [i64; 2]) -> PlanView {
        let (lead, other) = (vs("reviews", lead), vs("storefront", other));
        let selection = select_versions(&lead, Some("v1"), Some("v2"), &[], &[]).unwrap();
        let pair = (&selection.stable, &selection.canary);
        let of_other = VersionQuery::default().between(&other, pair).unwrap();
        let companion = Companion::of(&other, &of_other.splits);
        let plan = Plan::resolve(Options::default()).unwrap();
        PlanView::of(&lead, &selection, &plan, Vec::new())
            .with_companions(&selection, &[(&companion, &other)])
            .with_arguments(&ObjectName::of(&lead), "--also shop/storefront".into())
    }

    #[test]
    fn every_object_has_its_rows_and_the_next_command_names_them_all() {
        let view = view([100, 0], [200, 0]);
        let mut out = Vec::new();
        view.show(&mut out, Layout::default()).unwrap();
        let text = String::from_utf8(out)
            .unwrap()
            .replace(&view.plan_hash, "HASH");
        insta::assert_snapshot!(text, @"
        shop/reviews   v1 -> v2   plan HASH

        ROUTE                           NOW     1 %     10 %     50 %      100 %
        http[main]                      100/0   99/1    90/10    50/50     0/100
        http[main] of shop/storefront   200/0   198/2   180/20   100/100   0/200

        steps    1 % for 1m, 10 % for 1m, 50 % for 1m, 100 % for 0s; at least 3m
        metrics  istio-system/prometheus:9090 (default)
        next     kubectl canary start reviews -n shop --canary v2 --also shop/storefront
        ");
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["companions"], json!(["shop/storefront"]));
    }

    #[test]
    fn a_step_is_skipped_only_where_all_objects_are_past_it() {
        let skipped =
            |view: PlanView| -> Vec<bool> { view.steps.iter().map(|step| step.skipped).collect() };
        assert_eq!(skipped(view([80, 20], [100, 0])), [false; 4]);
        assert_eq!(
            skipped(view([80, 20], [80, 20])),
            [true, true, false, false]
        );
        assert_eq!(view([80, 20], [100, 0]).minimum.to_string(), "3m");
    }
}
