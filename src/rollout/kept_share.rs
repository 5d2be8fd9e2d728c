//! What a canary keeps after a proven regression because it had it before, and the command that takes it
//! away. Pure.

use serde_json::{Value, json};

use super::group::Group;
use super::last_rollout::LastRollout;
use super::outcome::{Cause, Outcome};
use super::state::Rollout;
use crate::istio::{Route, VirtualService};
use crate::plan::{Percent, shell_word};

/// What is left to a canary on one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptShare {
    /// Of the requests that stable and the canary share; where routes differ, the most.
    pub share: Percent,
    /// The kubectl command that gives it to stable.
    pub command: String,
}

/// One route on which the canary has a weight.
struct Kept<'vs> {
    route: &'vs Route,
    stable: usize,
    canary: usize,
    /// What the two share, and the canary's part of it.
    shared: i64,
    weight: i64,
}

impl KeptShare {
    /// What the canary of the last rollout on `vs` gets now, if that was rolled back for a regression.
    pub fn after(last: &LastRollout, vs: &VirtualService) -> Option<Self> {
        if last.outcome != Outcome::RolledBack(Cause::Regression) {
            return None;
        }
        let routes = vs.routes().iter().filter_map(|route| {
            let place = |name: &str| {
                let mut targets = route.targets.iter();
                targets.position(|target| target.destination.to_string() == name)
            };
            let (stable, canary) = (place(&last.stable)?, place(&last.canary)?);
            let weight = |place: usize| route.targets[place].weight.unwrap_or(0);
            Some(Kept {
                route,
                stable,
                canary,
                shared: weight(stable).saturating_add(weight(canary)),
                weight: weight(canary),
            })
        });
        Self::of(vs, routes)
    }

    fn of<'vs>(vs: &VirtualService, routes: impl Iterator<Item = Kept<'vs>>) -> Option<Self> {
        let kept: Vec<_> = routes.filter(|kept| kept.weight > 0).collect();
        let share = kept
            .iter()
            .map(|kept| Percent::of(kept.weight, kept.shared));
        let share = share.max()?;
        let patch: Vec<_> = kept.iter().flat_map(|kept| kept.patch(vs)).collect();
        let command = format!(
            "kubectl patch virtualservice {} -n {} --type=json -p {}",
            vs.name(),
            vs.namespace(),
            shell_word(&Value::from(patch).to_string())
        );
        Some(Self { share, command })
    }
}

impl Kept<'_> {
    /// Stable gets what the canary has, if it still stands there.
    fn patch(&self, vs: &VirtualService) -> [Value; 3] {
        let at = format!("{}/route", self.route.at.pointer());
        let canary = format!("/route/{}/destination", self.canary);
        let destination = vs.rule(self.route.at).pointer(&canary);
        [
            json!({"op": "test", "path": format!("{at}/{}/destination", self.canary), "value": destination}),
            json!({"op": "add", "path": format!("{at}/{}/weight", self.stable), "value": self.shared}),
            json!({"op": "add", "path": format!("{at}/{}/weight", self.canary), "value": 0}),
        ]
    }
}

impl Group {
    /// What the canary keeps after a rollback for this cause, on every object, in one command.
    pub fn kept_share(&self, rollout: &Rollout, cause: Cause) -> Option<KeptShare> {
        if cause != Cause::Regression || rollout.after(cause) != Default::default() {
            return None;
        }
        let of = |vs: &VirtualService, own: &Rollout| {
            let routes = own.routes.iter().filter_map(|split| {
                let weights = split.without_canary();
                let shared = weights.get(split.stable).copied().flatten()?;
                Some(Kept {
                    route: split.find(vs)?,
                    stable: split.stable,
                    canary: split.canary,
                    shared,
                    weight: split.original.get(split.canary).copied().flatten()?,
                })
            });
            KeptShare::of(vs, routes)
        };
        let companions = self
            .members(rollout)
            .filter_map(|(companion, vs)| of(vs, &rollout.of_companion(&self.lead, companion)));
        let kept: Vec<_> = of(&self.lead, rollout)
            .into_iter()
            .chain(companions)
            .collect();
        let commands: Vec<_> = kept.iter().map(|kept| kept.command.as_str()).collect();
        Some(KeptShare {
            share: kept.iter().map(|kept| kept.share).max()?,
            command: commands.join(" && "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::select_versions;
    use crate::plan::{Options, Plan};

    fn vs(weights: [Option<i64>; 2]) -> VirtualService {
        let target = |subset: &str, weight: Option<i64>| {
            let mut target = json!({"destination": {"host": "reviews", "subset": subset}});
            if let Some(weight) = weight {
                target["weight"] = json!(weight);
            }
            target
        };
        VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
            "spec": {"http": [{"route": [target("v1", weights[0]), target("v2", weights[1])]}]},
        }))
        .unwrap()
    }

    fn rollout(vs: &VirtualService, options: Options) -> Rollout {
        let found = select_versions(vs, None, None, &[], &[]).unwrap();
        let whom = (found.stable, found.canary, found.splits);
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let plan = Plan::resolve(options).unwrap();
        Rollout::new("r".into(), "me".into(), plan, whom, now)
    }

    #[test]
    fn what_is_kept_is_named_with_the_command_that_ends_it() {
        let vs = vs([Some(90), Some(10)]);
        let rollout = rollout(&vs, Options::default());
        let end =
            |cause| LastRollout::of(&rollout, Outcome::RolledBack(cause), "me", rollout.began);
        let kept = KeptShare::after(&end(Cause::Regression), &vs).unwrap();
        assert_eq!(kept.share, Percent::whole(10));
        assert_eq!(
            kept.command,
            r#"kubectl patch virtualservice reviews -n shop --type=json -p '[{"op":"test","path":"/spec/http/0/route/1/destination","value":{"host":"reviews","subset":"v2"}},{"op":"add","path":"/spec/http/0/route/0/weight","value":100},{"op":"add","path":"/spec/http/0/route/1/weight","value":0}]'"#
        );
        assert_eq!(KeptShare::after(&end(Cause::Request), &vs), None);
        let group = Group::of_lead(vs);
        assert_eq!(group.kept_share(&rollout, Cause::Regression), Some(kept));
        assert_eq!(group.kept_share(&rollout, Cause::Signal), None);
    }

    #[test]
    fn a_canary_that_had_nothing_keeps_nothing() {
        for weights in [[Some(100), Some(0)], [Some(100), None]] {
            let vs = vs(weights);
            let rollout = rollout(&vs, Options::default());
            let last = Outcome::RolledBack(Cause::Regression);
            let last = LastRollout::of(&rollout, last, "me", rollout.began);
            assert_eq!(KeptShare::after(&last, &vs), None);
            let group = Group::of_lead(vs);
            assert_eq!(group.kept_share(&rollout, Cause::Regression), None);
        }
    }
}
