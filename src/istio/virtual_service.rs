//! A VirtualService as the API server returned it, seen through a read-only view.

use jiff::Timestamp;
use serde_json::Value;

use super::destination::Host;
use super::route::{Route, RouteKind, RouteRef};

/// The manager that our writes carry. It must not start with `kubectl`: Flux folds such managers
/// into its own and would then prune our annotations.
pub const FIELD_MANAGER: &str = "canary-rollout";

/// A VirtualService: the JSON as received, and what a rollout needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    raw: Value,
    namespace: String,
    name: String,
    uid: String,
    routes: Vec<Route>,
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
        })
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
        names
            .map(|name| Host::resolve(name, &self.namespace))
            .collect()
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
