//! Which of all the objects of a cluster can concern a rollout on one VirtualService.
//!
//! A cluster may have ten thousand of them, and a rollout is about a handful. So each is read as far as its
//! hosts, and only what may be meant is read as a whole and kept. It is better to keep one too many: what
//! cannot be read in this way is kept, and hosts are compared by service and namespace alone, whatever the
//! cluster's domain.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::delegate::Delegate;
use super::destination::Host;
use super::virtual_service::VirtualService;

/// What an object has to have to do with, so that it is kept.
#[derive(Clone, Debug, Default)]
pub struct Relevance {
    /// Hosts that the routes answer for or send to.
    hosts: BTreeSet<Host>,
    /// Hosts that they send to.
    destinations: BTreeSet<Host>,
    /// The object itself.
    object: Option<Delegate>,
    /// The objects that it hands requests on to.
    delegates: Vec<Delegate>,
}

impl Relevance {
    /// What concerns a rollout on this object.
    pub fn to(vs: &VirtualService) -> Self {
        let targets = vs.routes().iter().flat_map(|route| &route.targets);
        let destinations = targets.map(|target| target.destination.host.clone());
        let delegates = vs.delegates().into_iter();
        let found = Self {
            hosts: vs.hosts().into_iter().collect(),
            destinations: BTreeSet::new(),
            object: Some(Delegate {
                namespace: vs.namespace().to_owned(),
                name: vs.name().to_owned(),
            }),
            delegates: delegates.map(|(_, delegate)| delegate).collect(),
        };
        found.with_destinations(destinations)
    }

    /// What concerns requests to these hosts.
    #[must_use]
    pub fn with_destinations(mut self, hosts: impl IntoIterator<Item = Host>) -> Self {
        for host in hosts {
            self.hosts.insert(host.clone());
            self.destinations.insert(host);
        }
        self
    }

    /// Whether a VirtualService, in JSON, may concern it.
    pub fn is_met_by_route(&self, json: &str) -> bool {
        let Ok(outline) = serde_json::from_str::<RouteOutline<'_>>(json) else {
            return true;
        };
        let namespace = outline.metadata.namespace;
        let hands_on = |delegate: &DelegateOutline<'_>, to: &Delegate| {
            let given = Some(delegate.namespace).filter(|given| !given.is_empty());
            delegate.name == to.name && given.unwrap_or(namespace) == to.namespace
        };
        let rules = || {
            let spec = &outline.spec;
            [&spec.http, &spec.tls, &spec.tcp].into_iter().flatten()
        };
        let delegates = || rules().filter_map(|rule| rule.delegate.as_ref());
        let named = outline.spec.hosts.iter().copied();
        let is_delegate = self.delegates.iter().any(|delegate| {
            delegate.namespace == namespace && delegate.name == outline.metadata.name
        });
        is_delegate
            || named
                .chain(rules().flat_map(RuleOutline::hosts))
                .any(|host| {
                    let host = Host::resolve(host, namespace);
                    self.hosts.iter().any(|wanted| may_be_one(wanted, &host))
                })
            || self
                .object
                .as_ref()
                .is_some_and(|object| delegates().any(|delegate| hands_on(delegate, object)))
    }

    /// Whether a DestinationRule, in JSON, may concern it.
    pub fn is_met_by_rule(&self, json: &str) -> bool {
        let Ok(outline) = serde_json::from_str::<DestinationOutline<'_>>(json) else {
            return true;
        };
        let host = Host::resolve(outline.spec.host, outline.metadata.namespace);
        let mut destinations = self.destinations.iter();
        // One of the same Service in another namespace tells where a short name was meant to lead.
        destinations.any(|wanted| {
            let named = |host: &Host| host.service().map(|(name, _)| name.to_owned());
            may_be_one(wanted, &host) || named(wanted).is_some() && named(wanted) == named(&host)
        })
    }
}

/// Whether two hosts, wildcards among them, may mean one.
fn may_be_one(one: &Host, other: &Host) -> bool {
    // A name that is misspelled is kept to be named.
    let plain = |host: &Host| {
        let host = host.as_str().to_ascii_lowercase();
        host.trim_end_matches('.').to_owned()
    };
    let (one, other) = (plain(one), plain(other));
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (None, None) => {
            let mut labels = one.split('.').zip(other.split('.'));
            let service = labels.next().is_some_and(|(one, other)| one == other);
            service && labels.next().is_none_or(|(one, other)| one == other)
        }
        (Some(suffix), None) => other.ends_with(suffix),
        (None, Some(suffix)) => one.ends_with(suffix),
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
    }
}

/// Borrowed from the text of the answer: nothing is copied of an object that is not kept.
#[derive(Deserialize)]
struct RouteOutline<'o> {
    #[serde(borrow)]
    metadata: NameOutline<'o>,
    #[serde(borrow, default)]
    spec: RoutesOutline<'o>,
}

#[derive(Deserialize)]
struct NameOutline<'o> {
    namespace: &'o str,
    name: &'o str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RoutesOutline<'o> {
    #[serde(borrow)]
    hosts: Vec<&'o str>,
    http: Vec<RuleOutline<'o>>,
    tls: Vec<RuleOutline<'o>>,
    tcp: Vec<RuleOutline<'o>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuleOutline<'o> {
    #[serde(borrow)]
    route: Vec<TargetOutline<'o>>,
    delegate: Option<DelegateOutline<'o>>,
    mirror: Option<HostOutline<'o>>,
    mirrors: Vec<TargetOutline<'o>>,
}

impl<'o> RuleOutline<'o> {
    fn hosts(&self) -> impl Iterator<Item = &'o str> {
        let targets = self.route.iter().chain(&self.mirrors);
        let targets = targets.map(|target| target.destination.host);
        targets.chain(self.mirror.as_ref().map(|mirror| mirror.host))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TargetOutline<'o> {
    #[serde(borrow)]
    destination: HostOutline<'o>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HostOutline<'o> {
    host: &'o str,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DelegateOutline<'o> {
    name: &'o str,
    namespace: &'o str,
}

#[derive(Deserialize)]
struct DestinationOutline<'o> {
    #[serde(borrow)]
    metadata: NameOutline<'o>,
    #[serde(borrow)]
    spec: HostOutline<'o>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn relevance() -> Relevance {
        let vs = VirtualService::new(json!({
            "metadata": {"namespace": "shop", "name": "reviews", "uid": "1"},
            "spec": {"hosts": ["shop.example.com"], "http": [
                {"delegate": {"name": "inner", "namespace": "web"}},
                {"route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
            ]},
        }));
        Relevance::to(&vs.unwrap())
    }

    fn is_met(namespace: &str, name: &str, spec: &Value) -> bool {
        let other = json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec});
        relevance().is_met_by_route(&other.to_string())
    }

    #[test]
    fn a_route_is_kept_for_its_hosts_its_destinations_and_its_delegates() {
        let to = |host: &str| json!([{"route": [{"destination": {"host": host}}]}]);
        for (namespace, spec) in [
            ("shop", json!({"hosts": ["reviews"]})),
            ("web", json!({"hosts": ["reviews.shop.svc.cluster.local"]})),
            ("web", json!({"hosts": ["reviews.shop"]})),
            ("web", json!({"hosts": ["reviews.shop.svc.corp.example"]})),
            ("web", json!({"hosts": ["shop.example.com"]})),
            ("web", json!({"hosts": ["*.example.com"]})),
            ("web", json!({"hosts": ["*"]})),
            ("shop", json!({"hosts": ["x"], "http": to("reviews")})),
            ("web", json!({"tcp": to("reviews.shop.svc.cluster.local")})),
            ("shop", json!({"http": [{"mirror": {"host": "reviews"}}]})),
            (
                "shop",
                json!({"http": [{"mirrors": [{"destination": {"host": "reviews"}}]}]}),
            ),
            (
                "web",
                json!({"http": [{"delegate": {"name": "reviews", "namespace": "shop"}}]}),
            ),
            ("shop", json!({"http": [{"delegate": {"name": "reviews"}}]})),
            // Not as it should be, so it is not for this to say that it is of no concern.
            ("web", json!({"hosts": null})),
        ] {
            assert!(is_met(namespace, "other", &spec), "{namespace} {spec}");
        }
        assert!(is_met("web", "inner", &json!({})), "a delegate of ours");
        for (namespace, spec) in [
            ("web", json!({"hosts": ["reviews"], "http": to("reviews")})),
            ("shop", json!({"hosts": ["ratings"], "http": to("ratings")})),
            ("web", json!({"hosts": ["*.example.org"]})),
            ("web", json!({"http": [{"delegate": {"name": "reviews"}}]})),
            ("web", json!({})),
        ] {
            assert!(!is_met(namespace, "other", &spec), "{namespace} {spec}");
        }
    }

    #[test]
    fn a_rule_is_kept_for_its_host() {
        for (namespace, host, expected) in [
            ("shop", "reviews", true),
            ("web", "reviews.shop.svc.cluster.local", true),
            ("istio-system", "*.local", true),
            ("shop", "*", true),
            ("shop", "Reviews", true),
            ("shop", "reviews.", true),
            // It tells where a short name was meant to lead.
            ("web", "reviews", true),
            ("web", "ratings.shop", false),
            ("shop", "ratings", false),
            // Nothing is sent to a host that is only answered for.
            ("shop", "shop.example.com", false),
        ] {
            let rule =
                json!({"metadata": {"namespace": namespace, "name": "x"}, "spec": {"host": host}});
            let found = relevance().is_met_by_rule(&rule.to_string());
            assert_eq!(found, expected, "{namespace} {host}");
        }
    }
}
