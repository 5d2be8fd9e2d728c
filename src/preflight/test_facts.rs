//! Facts of a shop in which everything is as it should be, and what tests change about them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::{Value, json};

use super::facts::Facts;
use super::version::{Role, Version};
use crate::istio::{
    Destination, ExternalHost, Host, MeshConfig, RouteKind, Subset, VirtualService,
};
use crate::plan::{Finding, Level};

/// Service `reviews` in namespace `shop`, subsets v1 and v2 with three ready pods each.
pub(super) fn facts() -> Facts {
    let vs = VirtualService::new(json!({
        "metadata": {"namespace": "shop", "name": "reviews", "uid": "1"},
        "spec": {
            "hosts": ["reviews", "shop.example.com"], "gateways": ["mesh", "shop"],
            "http": [{"name": "primary", "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
            ]}],
        },
    }))
    .unwrap();
    let rule = json!({
        "metadata": {"namespace": "shop", "name": "reviews"},
        "spec": {"host": "reviews", "subsets": [
            {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}},
        ]},
    });
    let mut facts = Facts {
        vs,
        stable: version(Role::Stable, "v1"),
        canary: version(Role::Canary, "v2"),
        kinds: vec![RouteKind::Http],
        left_behind: Vec::new(),
        other_routes: Vec::new(),
        rules: vec![rule],
        mesh: MeshConfig::default(),
        authentications: Vec::new(),
        autoscalers: Vec::new(),
        asked: vec![service()],
        waypoints: BTreeMap::new(),
        namespaces: BTreeMap::new(),
        grants: Vec::new(),
        within: None,
        unread: Vec::new(),
        samples: None,
        sampled_pods: None,
        search: None,
        ignore_owner: false,
        now: Timestamp::UNIX_EPOCH,
    };
    facts.select();
    facts
}

fn service() -> Service {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "reviews"},
        "spec": {"selector": {"app": "reviews"}, "ports": [{"name": "http", "port": 80}]},
    }))
    .unwrap()
}

fn version(role: Role, subset: &str) -> Version {
    Version {
        role,
        destination: Destination {
            host: Host::resolve("reviews", "shop"),
            subset: Some(subset.into()),
            port: None,
        },
        service: Some(service()),
        subset: None,
        pods: None,
        lookalikes: Vec::new(),
        empty: None,
        external: ExternalHost::NotRead,
    }
}

fn pods() -> Vec<Pod> {
    let pod = |version: &str, index: usize| {
        let value = json!({
            "metadata": {
                "namespace": "shop", "name": format!("reviews-{version}-{index}"),
                "labels": {"app": "reviews", "version": version, "pod-template-hash": "6f7"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("reviews-{version}-6f7"), "uid": "1", "controller": true}],
            },
            "spec": {"containers": [{"name": "reviews"}, {"name": "istio-proxy"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        serde_json::from_value(value).unwrap()
    };
    let versions = ["v1", "v2"].into_iter();
    versions
        .flat_map(|version| (0..3).map(move |index| pod(version, index)))
        .collect()
}

impl Facts {
    /// The subset of this name, as the rules define it.
    pub(super) fn subset(&self, name: &str) -> Option<Subset> {
        let mut subsets = self.rules.iter().flat_map(Subset::of_rule);
        subsets.find(|subset| subset.name == name)
    }

    /// Gives both versions the subset and the pods that the rules give them.
    pub(super) fn select(&mut self) {
        for name in ["v1", "v2"] {
            let subset = self.subset(name);
            let version = if name == "v1" {
                &mut self.stable
            } else {
                &mut self.canary
            };
            version.subset = subset;
            let mut all = pods();
            match (&version.subset, version.selector()) {
                (Some(_), Some(labels)) => {
                    all.retain(|pod| super::version::carries(pod, &labels));
                }
                _ => all.clear(),
            }
            version.pods = Some(all);
        }
    }

    pub(super) fn change_rule_only(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.rules[0]["spec"]);
    }

    pub(super) fn change_rule(&mut self, change: impl FnOnce(&mut Value)) {
        self.change_rule_only(change);
        self.select();
    }

    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        let mut raw = self.vs.raw().clone();
        change(&mut raw);
        self.vs = VirtualService::new(raw).unwrap();
    }

    pub(super) fn change_spec(&mut self, change: impl FnOnce(&mut Value)) {
        self.change(|raw| change(&mut raw["spec"]));
    }

    pub(super) fn change_routes(&mut self, change: impl FnOnce(&mut Value)) {
        self.change(|raw| change(&mut raw["spec"]["http"]));
    }

    pub(super) fn change_metadata(&mut self, change: impl FnOnce(&mut Value)) {
        self.change(|raw| change(&mut raw["metadata"]));
    }
}

/// Each finding in one text: level, what, why, fix, and the snippet below.
pub(super) fn told(findings: Vec<Finding>) -> Vec<String> {
    let one = |finding: Finding| {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Refuse => "refuse",
        };
        let mut text = format!("{level}: {}", finding.what);
        if let Some(why) = finding.why {
            text = format!("{text}: {why}");
        }
        if let Some(fix) = finding.fix {
            text = format!("{text} (try: {fix})");
        }
        if let Some(snippet) = finding.snippet {
            text = format!("{text}\n{snippet}");
        }
        text
    };
    findings.into_iter().map(one).collect()
}
