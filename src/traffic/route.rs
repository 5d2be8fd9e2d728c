//! One rule of a VirtualService, as a view.

use std::fmt;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Destination;

/// Which list of the spec a route stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// `spec.http`
    Http,
    /// `spec.tls`
    Tls,
    /// `spec.tcp`
    Tcp,
}

impl RouteKind {
    /// Every kind, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Http, Self::Tls, Self::Tcp];

    /// The key in the spec.
    pub fn key(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }
}

/// Where a route stands right now. Positions move when somebody inserts a rule; [`RouteId`] does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteRef {
    /// The list.
    pub kind: RouteKind,
    /// The position in it, from 0.
    pub index: usize,
}

impl RouteRef {
    /// The JSON pointer of the route.
    pub fn pointer(self) -> String {
        format!("/spec/{}/{}", self.kind.key(), self.index)
    }
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.kind.key(), self.index)
    }
}

/// What a route is, whatever its position and weights: a digest of its kind, name, match and destinations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(u64);

impl RouteId {
    fn of(kind: RouteKind, rule: &Value) -> Self {
        let mut hasher = fnv::FnvHasher::default();
        let mut add = |value: Option<&Value>| {
            // Objects print their keys in order, so equal values print alike.
            let text = value.map(Value::to_string).unwrap_or_default();
            hasher.write(text.as_bytes());
            hasher.write_u8(0);
        };
        add(Some(&Value::from(kind.key())));
        add(rule.get("name"));
        add(rule.get("match"));
        for target in targets_of(rule) {
            add(target.get("destination"));
        }
        Self(hasher.finish())
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RouteId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RouteId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
        Ok(Self(id))
    }
}

/// A weighted destination of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Where it sends requests.
    pub destination: Destination,
    /// The weight as written; absent counts as 0 beside others.
    pub weight: Option<i64>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where it stands.
    pub at: RouteRef,
    /// What it is.
    pub id: RouteId,
    /// Its name, if it has one; Istio does not ask for names to be unique.
    pub name: Option<String>,
    /// Whether it matches only some requests.
    pub has_match: bool,
    /// Whether it hands on to another VirtualService.
    pub delegates: bool,
    /// Its weighted destinations; none for a redirect, a direct response or a delegate.
    pub targets: Vec<Target>,
}

fn targets_of(rule: &Value) -> impl Iterator<Item = &Value> {
    rule.get("route")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

impl Route {
    pub(super) fn read(at: RouteRef, rule: &Value, namespace: &str) -> Self {
        let targets = targets_of(rule).map(|target| Target {
            destination: Destination::read(
                target.get("destination").unwrap_or(&Value::Null),
                namespace,
            ),
            weight: target.get("weight").and_then(Value::as_i64),
        });
        Self {
            at,
            id: RouteId::of(at.kind, rule),
            name: rule.get("name").and_then(Value::as_str).map(str::to_owned),
            has_match: rule
                .get("match")
                .and_then(Value::as_array)
                .is_some_and(|list| !list.is_empty()),
            delegates: rule
                .get("delegate")
                .is_some_and(|delegate| !delegate.is_null()),
            targets: targets.collect(),
        }
    }

    /// Whether a person may have meant this route: its name, `http[0]` or the bare index of an HTTP route.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
            || self.at.to_string() == name
            || (self.at.kind == RouteKind::Http && self.at.index.to_string() == name)
    }

    /// The weights as written.
    pub fn weights(&self) -> Vec<Option<i64>> {
        self.targets.iter().map(|target| target.weight).collect()
    }
}

impl fmt::Display for Route {
    /// `http[primary]`, or `http[0]` where it has no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}[{name}]", self.at.kind.key()),
            None => write!(f, "{}", self.at),
        }
    }
}
