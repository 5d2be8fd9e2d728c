//! Routes and records of an object as they stand in its JSON, read without any code of the engine's.

use std::collections::BTreeMap;

use serde_json::Value;

/// The weights of a route, one for each destination; `None` where there is none.
pub type RouteWeights = Vec<Option<i64>>;

/// A route that holds both versions.
#[derive(Clone, Debug, PartialEq)]
pub struct Shifted {
    /// By what it is found again.
    pub key: String,
    /// The places of stable and canary.
    pub stable: usize,
    pub canary: usize,
    pub weights: RouteWeights,
}

impl Shifted {
    pub fn weight(&self, place: usize) -> i64 {
        self.weights[place].unwrap_or(0)
    }

    pub fn total(&self) -> i64 {
        self.weights.iter().map(|weight| weight.unwrap_or(0)).sum()
    }
}

fn rules(object: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    ["http", "tls", "tcp"].into_iter().flat_map(|kind| {
        let rules = object["spec"].get(kind).and_then(Value::as_array);
        rules.into_iter().flatten().map(move |rule| (kind, rule))
    })
}

fn subset(target: &Value) -> &str {
    target["destination"]["subset"].as_str().unwrap_or_default()
}

fn places(rule: &Value) -> Option<(usize, usize)> {
    let targets = rule["route"].as_array()?;
    let place = |version| targets.iter().position(|target| subset(target) == version);
    Some((place("v1")?, place("v2")?))
}

/// The routes of an object that hold both versions.
pub fn shifted(object: &Value) -> Vec<Shifted> {
    let found = rules(object).filter_map(|(kind, rule)| {
        let (stable, canary) = places(rule)?;
        let name = match rule["name"].as_str() {
            Some(name) => name.to_owned(),
            None => rule["match"].to_string(),
        };
        let targets = rule["route"].as_array()?;
        Some(Shifted {
            key: format!("{kind} {name}"),
            stable,
            canary,
            weights: targets
                .iter()
                .map(|target| target["weight"].as_i64())
                .collect(),
        })
    });
    found.collect()
}

/// The weights of the routes that hold both versions, by what each is found again by.
pub fn weights(object: &Value) -> BTreeMap<String, RouteWeights> {
    let routes = shifted(object).into_iter();
    routes.map(|route| (route.key, route.weights)).collect()
}

/// Everything that no rollout may ever change.
pub fn untouchable(object: &Value) -> Value {
    let mut object = object.clone();
    for kind in ["http", "tls", "tcp"] {
        let rules = object["spec"].get_mut(kind).and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            if places(rule).is_none() {
                continue;
            }
            for target in rule["route"].as_array_mut().into_iter().flatten() {
                target.as_object_mut().map(|target| target.remove("weight"));
            }
        }
    }
    // The version that the writer spoke, not one that is stored.
    object["apiVersion"] = Value::Null;
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["resourceVersion", "generation", "managedFields"] {
            metadata.remove(field);
        }
        if let Some(map) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            map.retain(|key, _| !key.starts_with("kubectl-canary.dev/"));
            if map.is_empty() {
                metadata.remove("annotations");
            }
        }
    }
    object
}

/// One of our records on an object, if it is there and can be read.
pub fn record(object: &Value, name: &str) -> Option<Value> {
    serde_json::from_str(record_text(object, name)?).ok()
}

/// The same as it stands there.
pub fn record_text<'v>(object: &'v Value, name: &str) -> Option<&'v str> {
    object["metadata"]["annotations"][format!("kubectl-canary.dev/{name}")].as_str()
}
