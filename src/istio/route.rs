//! One rule of a VirtualService, as a view.

use std::fmt;
use std::hash::Hasher;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::destination::Destination;
use crate::plan::shell_word;

/// Which list of the spec a route stands in.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
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

/// Where a route stands right now. Positions move when a rule is inserted; [`RouteId`] does not.
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
///
/// Thirty bits of it, so that hundreds of routes fit into an annotation; those that are alike are told
/// apart by their order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(u32);

/// A route as it is, and as it would be without its last destination.
#[derive(Clone, Copy)]
struct Identity {
    whole: RouteId,
    base_id: RouteId,
}

impl Identity {
    fn of(kind: RouteKind, rule: &Value) -> Self {
        let mut hasher = fnv::FnvHasher::default();
        add(&mut hasher, Some(&Value::from(kind.key())));
        add(&mut hasher, rule.get("name"));
        add(&mut hasher, rule.get("match"));
        let mut base_id = hasher.finish();
        for target in targets_of(rule) {
            base_id = hasher.finish();
            add(&mut hasher, target.get("destination"));
        }
        Self {
            whole: RouteId::folded(hasher.finish()),
            base_id: RouteId::folded(base_id),
        }
    }
}

fn add(hasher: &mut fnv::FnvHasher, value: Option<&Value>) {
    // Objects print their keys in order, so equal values print alike.
    let text = value.map(Value::to_string).unwrap_or_default();
    hasher.write(text.as_bytes());
    hasher.write_u8(0);
}

impl RouteId {
    /// How many letters it is written in.
    pub(super) const LETTERS: usize = 5;
    const BITS_OF_A_LETTER: u32 = 6;
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    /// All bits of a digest have their say in those that are kept.
    fn folded(digest: u64) -> Self {
        let folded = digest ^ (digest >> 34);
        Self((folded & 0x3fff_ffff) as u32)
    }

    /// Reads what [`fmt::Display`] writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::LETTERS {
            return None;
        }
        text.bytes().try_fold(Self(0), |Self(bits), letter| {
            let digit = Self::ALPHABET.iter().position(|known| *known == letter)?;
            Some(Self(
                (bits << Self::BITS_OF_A_LETTER) | u32::try_from(digit).ok()?,
            ))
        })
    }
}

impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = (0..Self::LETTERS as u32).rev().map(|place| {
            let digit = (self.0 >> (place * Self::BITS_OF_A_LETTER)) & 0x3f;
            char::from(Self::ALPHABET[digit as usize])
        });
        f.write_str(&letters.collect::<String>())
    }
}

impl fmt::Debug for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
    /// What it would be without its last destination.
    pub base_id: RouteId,
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
        let identity = Identity::of(at.kind, rule);
        Self {
            at,
            id: identity.whole,
            base_id: identity.base_id,
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

    /// What names it after `--route`, as a shell takes it. A comma would divide a name in two.
    pub fn word(&self) -> String {
        let name = self.name.clone().filter(|name| !name.contains(','));
        shell_word(&name.unwrap_or_else(|| self.at.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn route(subsets: &[&str]) -> Route {
        let targets: Vec<_> = subsets
            .iter()
            .map(
                |subset| json!({"destination": {"host": "reviews", "subset": subset}, "weight": 1}),
            )
            .collect();
        let at = RouteRef {
            kind: RouteKind::Http,
            index: 0,
        };
        Route::read(at, &json!({"name": "a", "route": targets}), "shop")
    }

    #[test]
    fn an_identity_reads_as_it_is_written() {
        let id = route(&["v1", "v2"]).id;
        let text = id.to_string();
        assert_eq!(text.len(), RouteId::LETTERS);
        assert_eq!(RouteId::parse(&text), Some(id));
        assert_eq!(RouteId::parse("AAAA"), None);
        assert_eq!(RouteId::parse("AAA A"), None);
    }

    #[test]
    fn a_destination_at_the_end_leaves_the_stem_as_it_was() {
        assert_eq!(route(&["v1", "v2"]).base_id, route(&["v1"]).id);
        assert_ne!(route(&["v1", "v2"]).base_id, route(&["v2"]).id);
        assert_ne!(route(&["v1", "v2"]).id, route(&["v2", "v1"]).id);
    }
}
