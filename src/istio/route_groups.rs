//! The chosen routes as they are written into an annotation: those that are divided alike in one group.
//!
//! Five hundred routes must fit into the eight kilobytes that the state may take. Most of them have the
//! same weights at the same positions, so all that each needs of its own is its identity.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::route::{RouteId, RouteKind};
use super::split::{Split, Weights};

/// Between the identities of alike routes and their number.
const NTH: char = '*';
/// Behind such a number.
const END: char = ';';

/// Routes of one kind with the same original weights, stable and canary at the same positions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RouteGroup {
    /// The list of the spec that they stand in; `http` if it is absent.
    #[serde(default = "http", skip_serializing_if = "is_http")]
    kind: RouteKind,
    /// The position of stable in the lists of weights, from 0.
    stable: usize,
    /// The position of the canary, from 0.
    canary: usize,
    /// Whether the rollout adds the canary as a destination.
    #[serde(default, skip_serializing_if = "is_false")]
    adds: bool,
    /// The weights before the rollout; `null` where none was written.
    original: Weights,
    /// By what all weights are multiplied while the rollout runs.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    scale: i64,
    /// The identities, one behind the other; `*1;` behind the second of those that are alike.
    ids: String,
}

fn http() -> RouteKind {
    RouteKind::Http
}

fn is_http(kind: &RouteKind) -> bool {
    *kind == RouteKind::Http
}

fn is_false(adds: &bool) -> bool {
    !adds
}

fn one() -> i64 {
    1
}

fn is_one(scale: &i64) -> bool {
    *scale == 1
}

impl RouteGroup {
    fn of(split: &Split) -> Self {
        Self {
            kind: split.kind,
            stable: split.stable,
            canary: split.canary,
            adds: split.adds(),
            original: split.original.clone(),
            scale: split.scale,
            ids: String::new(),
        }
    }

    fn holds(&self, split: &Split) -> bool {
        self.kind == split.kind
            && self.stable == split.stable
            && self.canary == split.canary
            && self.scale == split.scale
            && self.original == split.original
    }

    fn push(&mut self, split: &Split) {
        self.ids.push_str(&split.id.to_string());
        if split.nth > 0 {
            self.ids.push_str(&format!("{NTH}{}{END}", split.nth));
        }
    }

    fn split(&self, id: RouteId, nth: usize) -> Split {
        Split {
            kind: self.kind,
            id,
            nth,
            stable: self.stable,
            canary: self.canary,
            original: self.original.clone(),
            scale: self.scale,
        }
    }

    fn splits(&self) -> Option<Vec<Split>> {
        if self.adds != (self.canary == self.original.len()) {
            return None;
        }
        let mut splits = Vec::new();
        let mut rest = self.ids.as_str();
        while !rest.is_empty() {
            let id = RouteId::parse(rest.get(..RouteId::LETTERS)?)?;
            rest = &rest[RouteId::LETTERS..];
            let mut nth = 0;
            if let Some(numbered) = rest.strip_prefix(NTH) {
                let (number, behind) = numbered.split_once(END)?;
                nth = number.parse().ok()?;
                rest = behind;
            }
            splits.push(self.split(id, nth));
        }
        Some(splits)
    }
}

fn groups<'a>(splits: impl IntoIterator<Item = &'a Split>) -> Vec<(RouteGroup, Vec<&'a Split>)> {
    let mut groups: Vec<(RouteGroup, Vec<&Split>)> = Vec::new();
    for split in splits {
        let known = groups.iter().position(|(group, _)| group.holds(split));
        let place = known.unwrap_or_else(|| {
            groups.push((RouteGroup::of(split), Vec::new()));
            groups.len() - 1
        });
        let (group, members) = &mut groups[place];
        group.push(split);
        members.push(split);
    }
    groups
}

/// The routes in the order in which they are read back, so that a state equals what it was written from.
pub(crate) fn in_order(splits: &[Split]) -> Vec<Split> {
    let groups = groups(splits);
    let members = groups.into_iter().flat_map(|(_, members)| members);
    members.cloned().collect()
}

/// Writes the routes group by group.
pub(crate) fn serialize<S: Serializer>(splits: &[Split], serializer: S) -> Result<S::Ok, S::Error> {
    let groups = groups(splits).into_iter();
    serializer.collect_seq(groups.map(|(group, _)| group))
}

/// Reads what [`serialize`] writes.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Split>, D::Error> {
    let groups = Vec::<RouteGroup>::deserialize(deserializer)?;
    let mut splits = Vec::new();
    for group in groups {
        let ids = || D::Error::custom("the chosen routes make no sense");
        splits.extend(group.splits().ok_or_else(ids)?);
    }
    Ok(splits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::virtual_service::VirtualService;
    use serde_json::json;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Held(#[serde(with = "super")] Vec<Split>);

    fn splits(routes: usize, weights: impl Fn(usize) -> [i64; 3]) -> Vec<Split> {
        let rules: Vec<_> = (0..routes)
            .map(|index| {
                let weights = weights(index);
                let target = |place: usize| json!({"destination": {"host": "reviews", "subset": format!("v{place}")}, "weight": weights[place]});
                json!({"match": [{"uri": {"prefix": format!("/{}", index / 2)}}], "route": [target(0), target(1), target(2)]})
            })
            .collect();
        let vs = VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
            "spec": {"http": rules},
        }))
        .unwrap();
        let routes = vs.routes().iter();
        routes
            .map(|route| Split::new(&vs, route, 0, 1).unwrap())
            .collect()
    }

    #[test]
    fn alike_routes_stand_in_one_group_and_are_read_back() {
        let splits = splits(6, |index| [80 + 10 * (index as i64 % 2), 0, 10]);
        let held = Held(in_order(&splits));
        let text = serde_json::to_string(&held).unwrap();
        assert_eq!(text.matches("original").count(), 2, "{text}");
        assert!(text.contains("*1;"), "each path stands twice: {text}");
        assert_eq!(serde_json::from_str::<Held>(&text).unwrap(), held);
        for split in &splits {
            assert!(held.0.contains(split));
        }
    }

    #[test]
    fn five_hundred_routes_take_little() {
        let splits = splits(1000, |_| [90, 0, 10]);
        let half: Vec<_> = splits.into_iter().step_by(2).collect();
        let text = serde_json::to_string(&Held(half)).unwrap();
        assert!(text.len() < 2600, "{} bytes", text.len());
    }

    #[test]
    fn damaged_groups_are_refused() {
        let lost_a_weight = json!([{"stable": 0, "canary": 1, "original": [1], "ids": "AAAAA"}]);
        assert!(serde_json::from_value::<Held>(lost_a_weight).is_err());
        for ids in ["AAAA", "AAAA!", "AAAAA*", "AAAAA*x;", "AAAAA*1", "ÄÄÄÄÄ"] {
            let text = json!([{"stable": 0, "canary": 1, "original": [1, 0], "ids": ids}]);
            assert!(
                serde_json::from_value::<Held>(text).is_err(),
                "{ids} is read"
            );
        }
    }
}
