//! A VirtualService as the API server returned it, seen through a read-only view.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::destination::{Host, USUAL_DOMAIN};
use super::match_cover::takes_all_of;
use super::route::{Route, RouteKind, RouteRef};

/// The manager that our writes carry. It must not start with `kubectl`: Flux folds such managers
/// into its own and would then prune our annotations.
pub const FIELD_MANAGER: &str = "canary-rollout";

/// The gateway that stands for the proxies of the mesh itself.
pub(crate) const MESH: &str = "mesh";

/// A VirtualService: the JSON as received, and what a rollout needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    raw: Value,
    namespace: String,
    name: String,
    uid: String,
    routes: Vec<Route>,
    domain: String,
}

/// An object that is no VirtualService of this world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the API server's response has no {0}, so it is not a stored VirtualService")]
pub struct MalformedObject(&'static str);

impl VirtualService {
    /// Wraps an object from the API server.
    ///
    /// # Errors
    /// If name, namespace or uid are missing: such an object was never stored.
    pub fn new(raw: Value) -> Result<Self, MalformedObject> {
        let text = |pointer: &'static str| {
            let found = raw.pointer(pointer).and_then(Value::as_str);
            found.map(str::to_owned).ok_or(MalformedObject(pointer))
        };
        let (namespace, name) = (text("/metadata/namespace")?, text("/metadata/name")?);
        let uid = text("/metadata/uid")?;
        let mut routes = Vec::new();
        for kind in RouteKind::ALL {
            let rules = raw
                .pointer(&format!("/spec/{}", kind.key()))
                .and_then(Value::as_array);
            for (index, rule) in rules.into_iter().flatten().enumerate() {
                routes.push(Route::read(RouteRef { kind, index }, rule, &namespace));
            }
        }
        Ok(Self {
            raw,
            namespace,
            name,
            uid,
            routes,
            domain: USUAL_DOMAIN.to_owned(),
        })
    }

    /// The same in a cluster whose domain is known, which completes short names.
    #[must_use]
    pub fn in_domain(mut self, domain: &str) -> Self {
        for route in &mut self.routes {
            let rule = self.raw.pointer(&route.at.pointer());
            let written = rule.and_then(|rule| rule.get("route")?.as_array());
            for (target, written) in route.targets.iter_mut().zip(written.into_iter().flatten()) {
                let host = written.pointer("/destination/host").and_then(Value::as_str);
                let host = host.unwrap_or_default();
                target.destination.host = Host::resolve_in(host, &self.namespace, domain);
            }
        }
        domain.clone_into(&mut self.domain);
        self
    }

    /// The same with other JSON, whose routes are the same.
    pub(super) fn with_raw(mut self, raw: Value) -> Self {
        self.raw = raw;
        self
    }

    /// A host as it is understood in this object.
    pub fn resolve(&self, host: &str) -> Host {
        Host::resolve_in(host, &self.namespace, &self.domain)
    }

    /// The object as received.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// The spec as received.
    pub fn spec(&self) -> &Value {
        self.raw.get("spec").unwrap_or(&Value::Null)
    }

    /// The version in which it was read: `networking.istio.io/v1`.
    pub fn api_version(&self) -> &str {
        let version = self.raw.get("apiVersion").and_then(Value::as_str);
        version.unwrap_or("networking.istio.io/v1")
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its uid: tells it from another object of the same name.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Its resource version, as a number where the server counts.
    ///
    /// Kubernetes has declared resource versions comparable; where a server hands out something
    /// else, `None` says that the order is unknown.
    pub fn revision(&self) -> Option<u64> {
        let text = self.raw.pointer("/metadata/resourceVersion")?.as_str()?;
        text.parse().ok()
    }

    /// Whether this is an older state of the object than `other`, as far as that is known.
    pub fn is_older_than(&self, other: &Self) -> bool {
        matches!((self.revision(), other.revision()), (Some(mine), Some(theirs)) if mine < theirs)
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.raw
            .get("metadata")?
            .get("annotations")?
            .get(key)?
            .as_str()
    }

    /// Whether it has an annotations map at all, be it empty.
    pub fn has_annotations(&self) -> bool {
        self.raw
            .pointer("/metadata/annotations")
            .is_some_and(Value::is_object)
    }

    /// Its rules, HTTP first, in order.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The rule at a place, as received.
    pub fn rule(&self, at: RouteRef) -> &Value {
        let list = self.spec().get(at.kind.key());
        list.and_then(|list| list.get(at.index))
            .unwrap_or(&Value::Null)
    }

    /// The hosts it answers for, resolved.
    pub fn hosts(&self) -> Vec<Host> {
        let hosts = self.spec().get("hosts").and_then(Value::as_array);
        let names = hosts.into_iter().flatten().filter_map(Value::as_str);
        names.map(|name| self.resolve(name)).collect()
    }

    /// The gateways that it is bound to as `namespace/name`, and `mesh`; without any it is the mesh.
    pub fn gateways(&self) -> BTreeSet<String> {
        let names = self.spec().get("gateways").and_then(Value::as_array);
        let names = names.into_iter().flatten().filter_map(Value::as_str);
        let found: BTreeSet<_> = names.map(|name| self.gateway(name)).collect();
        match found.is_empty() {
            true => BTreeSet::from([MESH.to_owned()]),
            false => found,
        }
    }

    /// A gateway's name in full. Beside `namespace/name` Istio takes `./name`, a name of the own namespace,
    /// and, as it did once, everything that begins with `name.namespace`.
    fn gateway(&self, name: &str) -> String {
        if name == MESH {
            return MESH.to_owned();
        }
        let (namespace, name) = match (name.split_once('/'), name.split_once('.')) {
            (Some((".", name)), _) => (self.namespace(), name),
            (Some((namespace, name)), _) => (namespace, name),
            (None, Some((name, rest))) => (rest.split('.').next().unwrap_or_default(), name),
            (None, None) => (self.namespace(), name),
        };
        format!("{namespace}/{name}")
    }

    /// The gateways that the rule at a place asks for in each of its conditions, where the object is bound to none
    /// of them: it never gets a request.
    pub fn gateways_beyond(&self, at: RouteRef) -> Vec<String> {
        let bound = self.gateways();
        let mut beyond = Vec::new();
        for condition in self.conditions(at) {
            let names = condition.get("gateways").and_then(Value::as_array);
            let names = names.into_iter().flatten().filter_map(Value::as_str);
            let asked: Vec<_> = names.map(|name| self.gateway(name)).collect();
            // Of the conditions in a list one suffices.
            if asked.is_empty() || asked.iter().any(|name| bound.contains(name)) {
                return Vec::new();
            }
            beyond.extend(asked);
        }
        beyond
    }

    /// Whether the rule at a place asks in each of its conditions who the caller is, and for no gateway.
    pub fn asks_for_callers(&self, at: RouteRef) -> bool {
        let conditions = self.conditions(at);
        let asks = |condition: &Value| {
            let mut fields = ["sourceLabels", "sourceNamespace"].into_iter();
            condition.get("gateways").is_none()
                && fields.any(|field| condition.get(field).is_some())
        };
        !conditions.is_empty() && conditions.iter().all(asks)
    }

    fn conditions(&self, at: RouteRef) -> &[Value] {
        let found = self.rule(at).get("match").and_then(Value::as_array);
        found.map_or(&[], Vec::as_slice)
    }

    /// The rule before `at` that takes every request that `at` matches, so that `at` never gets one.
    pub fn shadow_of(&self, at: RouteRef) -> Option<&Route> {
        let before = |route: &&Route| route.at.kind == at.kind && route.at.index < at.index;
        let mut before = self.routes.iter().filter(before);
        before.find(|route| takes_all_of(self.rule(route.at), self.rule(at)))
    }

    /// Whether the rule at a place matches every request of its kind.
    pub fn takes_everything(&self, at: RouteRef) -> bool {
        takes_all_of(self.rule(at), &Value::Null)
    }

    /// Who wrote last, by the managed fields.
    pub fn last_manager(&self) -> Option<&str> {
        let entries = self.raw.pointer("/metadata/managedFields")?.as_array()?;
        let newest = entries
            .iter()
            .max_by_key(|entry| entry.get("time").and_then(Value::as_str))?;
        newest.get("manager")?.as_str()
    }

    /// When anybody wrote last, by the managed fields: since then its weights are what they are.
    pub fn last_written(&self) -> Option<Timestamp> {
        let entries = self.raw.pointer("/metadata/managedFields")?.as_array()?;
        let times = entries
            .iter()
            .filter_map(|entry| entry.get("time")?.as_str()?.parse().ok());
        times.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vs(spec: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"}, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_gateway_is_one_in_every_spelling() {
        for (written, expected) in [
            ("public", "shop/public"),
            ("./public", "shop/public"),
            ("shop/public", "shop/public"),
            ("istio-system/public", "istio-system/public"),
            ("public.istio-system", "istio-system/public"),
            ("public.istio-system.svc", "istio-system/public"),
            (
                "public.istio-system.svc.cluster.local",
                "istio-system/public",
            ),
            (
                "public.istio-system.svc.corp.internal",
                "istio-system/public",
            ),
            // A Gateway's name may have dots, and only then is the namespace written.
            ("edge/public.v2", "edge/public.v2"),
            ("mesh", "mesh"),
        ] {
            let found = vs(json!({"gateways": [written]})).gateways();
            assert_eq!(found, BTreeSet::from([expected.to_owned()]), "{written}");
        }
        for none in [json!({}), json!({"gateways": []})] {
            assert_eq!(vs(none).gateways(), BTreeSet::from(["mesh".to_owned()]));
        }
    }

    #[test]
    fn what_stands_behind_a_rule_for_everything_gets_nothing() {
        let second = |first: Value| {
            let vs = vs(json!({"http": [first, {"name": "b"}], "tcp": [{"name": "c"}]}));
            let of = |route: &Route| vs.shadow_of(route.at).map(ToString::to_string);
            assert_eq!(of(&vs.routes()[2]), None, "another kind");
            of(&vs.routes()[1])
        };
        for everything in [
            json!({"name": "a"}),
            json!({"name": "a", "match": []}),
            json!({"name": "a", "match": [{"uri": {"exact": "/x"}}, {"uri": {"prefix": "/"}}]}),
            json!({"name": "a", "match": [{"name": "all"}]}),
        ] {
            assert_eq!(
                second(everything.clone()).as_deref(),
                Some("http[a]"),
                "{everything}"
            );
        }
        for some in [
            json!({"name": "a", "match": [{"uri": {"prefix": "/x"}}]}),
            json!({"name": "a", "match": [{"uri": {"prefix": "/"}, "gateways": ["mesh"]}]}),
            json!({"name": "a", "match": [{"headers": {"x-lane": {"exact": "1"}}}]}),
        ] {
            assert_eq!(second(some.clone()), None, "{some}");
        }
    }

    #[test]
    fn short_names_are_completed_with_the_clusters_domain() {
        let vs = vs(json!({"hosts": ["reviews"], "http": [{"route": [
            {"destination": {"host": "reviews"}}, {"destination": {"host": "reviews.bank.svc.cluster.local"}},
        ]}]}));
        let vs = vs.in_domain("corp.internal");
        let host = |index: usize| vs.routes()[0].targets[index].destination.host.to_string();
        assert_eq!(host(0), "reviews.shop.svc.corp.internal");
        assert_eq!(host(1), "reviews.bank.svc.cluster.local");
        assert_eq!(vs.hosts()[0].to_string(), host(0));
    }
}
