//! Objects that move together: the lead, whose state says where all of them are going, and its companions.
//!
//! A companion carries a state of its own, which is the lead's with the companion's routes in it and the
//! lead's name. It moves in the same patch as the companion's weights, so no object ever tells a lie, and
//! a companion can be restored even when nothing is left of its lead.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::state::Rollout;
use crate::istio::{RouteGroup, Split, VirtualService, route_groups};

/// A VirtualService by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ObjectName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

/// Not `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not namespace/name")]
pub struct NoObjectName(String);

impl ObjectName {
    /// The name of an object.
    pub fn of(vs: &VirtualService) -> Self {
        Self {
            namespace: vs.namespace().to_owned(),
            name: vs.name().to_owned(),
        }
    }

    /// Whether this is the name of `vs`.
    pub fn names(&self, vs: &VirtualService) -> bool {
        self.namespace == vs.namespace() && self.name == vs.name()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for ObjectName {
    type Err = NoObjectName;

    fn from_str(text: &str) -> Result<Self, NoObjectName> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(NoObjectName(text.to_owned())),
        }
    }
}

impl TryFrom<String> for ObjectName {
    type Error = NoObjectName;

    fn try_from(text: String) -> Result<Self, NoObjectName> {
        text.parse()
    }
}

impl From<ObjectName> for String {
    fn from(object: ObjectName) -> Self {
        object.to_string()
    }
}

/// Another object that moves with the lead, as the lead remembers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Companion {
    /// Its name.
    pub object: ObjectName,
    /// Its uid: an object that was made anew under the same name is not ours.
    pub uid: String,
    /// Its chosen routes with their original weights.
    #[serde(with = "route_groups")]
    #[schemars(with = "Vec<RouteGroup>")]
    pub routes: Vec<Split>,
}

impl Companion {
    /// `vs`, of which these routes move.
    pub fn of(vs: &VirtualService, routes: &[Split]) -> Self {
        Self {
            object: ObjectName::of(vs),
            uid: vs.uid().to_owned(),
            routes: route_groups::in_order(routes),
        }
    }
}

impl Rollout {
    /// The same with these companions, in the order in which they are to be patched.
    #[must_use]
    pub fn with_companions(self, companions: Vec<Companion>) -> Self {
        Self { companions, ..self }
    }

    /// The state of one of the companions, while `lead` has this one.
    #[must_use]
    pub fn of_companion(&self, lead: &VirtualService, companion: &Companion) -> Self {
        Self {
            routes: companion.routes.clone(),
            companions: Vec::new(),
            lead: Some(ObjectName::of(lead)),
            ..self.clone()
        }
    }

    /// Every chosen route, those of the companions included.
    pub fn all_routes(&self) -> impl Iterator<Item = &Split> {
        let theirs = self
            .companions
            .iter()
            .flat_map(|companion| &companion.routes);
        self.routes.iter().chain(theirs)
    }
}

/// What a route is called where several objects move: `http[primary] of shop/gateway`.
pub fn route_of(route: &str, vs: &VirtualService) -> String {
    format!("{route} of {}", vs.full_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::{VersionQuery, select_versions};
    use crate::plan::{Options, Percent, Plan};
    use crate::rollout::segment::Phase;
    use crate::rollout::state::ROLLOUT;
    use serde_json::{Value, json};

    fn vs(name: &str, annotations: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": name, "annotations": annotations},
            "spec": {"http": [{"name": name, "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 80},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
                {"destination": {"host": "reviews", "subset": "old"}, "weight": 20},
            ]}]},
        }))
        .unwrap()
    }

    fn rollout(companions: usize) -> Rollout {
        let lead = vs("reviews", json!({}));
        let selection = select_versions(&lead, Some("v1"), Some("v2"), &[], &[]).unwrap();
        let also = (0..companions).map(|number| {
            let other = vs(&format!("gateway-{number}"), json!({}));
            let pair = (&selection.stable, &selection.canary);
            let splits = VersionQuery::default()
                .between(&other, pair)
                .unwrap()
                .splits;
            Companion::of(&other, &splits)
        });
        let also = also.collect();
        let plan = Plan::resolve(Options::default()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let selection = (selection.stable, selection.canary, selection.splits);
        Rollout::new("r".into(), "me@here".into(), plan, selection, now).with_companions(also)
    }

    #[test]
    fn the_lead_remembers_every_companion_on_its_object() {
        let rollout = rollout(10);
        let text = rollout.to_annotation().unwrap();
        assert!(text.len() < 3000, "{} bytes", text.len());
        assert!(text.contains("\"object\":\"shop/gateway-0\""), "{text}");
        let read = Rollout::read(&vs("reviews", json!({ROLLOUT: text})));
        assert_eq!(read.unwrap().unwrap(), rollout);
    }

    #[test]
    fn a_companion_carries_the_state_with_its_own_routes_and_names_its_lead() {
        let lead = rollout(2);
        let now = lead.began;
        let lead = lead.at_step(1, Phase::Progressing, now);
        let of_companion = lead.of_companion(&vs("reviews", json!({})), &lead.companions[1]);
        let text = of_companion.to_annotation().unwrap();
        let companion = vs("gateway-1", json!({ROLLOUT: text}));
        let read = Rollout::read(&companion).unwrap().unwrap();
        assert_eq!(read, of_companion);
        assert_eq!(read.lead.as_ref().unwrap().to_string(), "shop/reviews");
        assert_eq!(read.exposure().share(), Percent::whole(10));
        assert_eq!(
            read.weights_of(&read.routes[0]),
            [Some(72), Some(8), Some(20)]
        );
    }

    #[test]
    fn without_companions_the_state_says_nothing_of_them() {
        let text = rollout(0).to_annotation().unwrap();
        assert!(
            !text.contains("companions") && !text.contains("lead"),
            "{text}"
        );
    }

    #[test]
    fn a_state_with_a_damaged_companion_is_refused() {
        let good = rollout(1).to_annotation().unwrap();
        for text in [
            good.replace("shop/gateway-0", "gateway-0"),
            good.replacen("[80,0,20]", "[80,0,-20]", 2),
        ] {
            assert!(text != good, "{text}");
            let error = Rollout::read(&vs("reviews", json!({ROLLOUT: text})));
            assert!(error.unwrap_err().to_string().contains("is damaged"));
        }
    }
}
