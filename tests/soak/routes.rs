//! Routes and records of an object as they stand in its JSON, read without any code of the engine's.

use std::collections::BTreeMap;

use serde_json::Value;

/// The weights of a route, one for each destination; `None` where there is none. A canary that is to be added
/// has no place yet.
pub type RouteWeights = Vec<Option<i64>>;

/// A route that holds both versions, or stable alone where the canary may be added.
#[derive(Clone, Debug, PartialEq)]
pub struct Shifted {
    /// By what it is found again.
    pub key: String,
    /// Whether the canary gets copies of its requests.
    pub mirrors: bool,
    /// Whether the canary's answers set the cookie that keeps users on it.
    pub sticks: bool,
    /// The places of stable and canary; one that is to be added comes last.
    pub stable: usize,
    pub canary: usize,
    pub weights: RouteWeights,
}

impl Shifted {
    pub fn weight(&self, place: usize) -> i64 {
        match self.weights[..] {
            // A lone destination without a weight gets everything.
            [None] if place == self.stable => 100,
            _ => self.weights.get(place).copied().flatten().unwrap_or(0),
        }
    }

    pub fn total(&self) -> i64 {
        (0..self.weights.len())
            .map(|place| self.weight(place))
            .sum()
    }

    /// The same with other weights.
    pub fn with(&self, weights: RouteWeights) -> Self {
        Self {
            weights,
            ..self.clone()
        }
    }

    /// The weights without the canary's, which go to stable.
    pub fn without_canary(&self) -> RouteWeights {
        let mut weights = self.weights.clone();
        if self.weight(self.canary) > 0 {
            weights[self.stable] = Some(self.weight(self.stable) + self.weight(self.canary));
            weights[self.canary] = Some(0);
        }
        weights
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
    Some((place("v1")?, place("v2").unwrap_or(targets.len())))
}

/// The headers that a destination adds to answers, if one of them is a rollout's cookie.
fn with_cookie(target: &Value) -> Option<&Value> {
    let added = target.pointer("/headers/response/add")?;
    let cookie = added["set-cookie"].as_str()?;
    cookie.starts_with("canary=run").then_some(added)
}

/// Takes the cookie away, and what would be empty without it.
fn take_cookie(target: &mut Value) {
    if with_cookie(target).is_none() {
        return;
    }
    let added = target.pointer_mut("/headers/response/add").unwrap();
    added.as_object_mut().unwrap().remove("set-cookie");
    for (parent, key) in [
        ("/headers/response", "add"),
        ("/headers", "response"),
        ("", "headers"),
    ] {
        let fields = target.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if fields[key] == Value::Object(Default::default()) {
            fields.remove(key);
        }
    }
}

/// Whether a rule is one that a rollout adds for testers and sticky users.
fn is_for_testers(rule: &Value) -> bool {
    let name = rule["name"].as_str().unwrap_or_default();
    name.starts_with("kubectl-canary-")
}

/// The runs whose rules for testers and sticky users an object has, each with whether the canary alone gets their requests.
pub fn tester_rules(object: &Value) -> Vec<(String, bool)> {
    let ours = rules(object).filter(|(_, rule)| is_for_testers(rule));
    let told = ours.map(|(_, rule)| {
        let name = rule["name"].as_str().unwrap_or_default();
        let run = name.trim_start_matches("kubectl-canary-");
        let run = run.rsplit_once('-').map_or(run, |(run, _)| run);
        let targets = rule["route"].as_array().map_or(&[][..], Vec::as_slice);
        let is_exact =
            targets.len() == 1 && subset(&targets[0]) == "v2" && rule["match"].is_array();
        (run.to_owned(), is_exact)
    });
    told.collect()
}

/// The routes of an object that hold both versions, or stable alone.
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
            mirrors: rule.get("mirror").is_some() || rule.get("mirrorPercentage").is_some(),
            sticks: targets.iter().any(|target| with_cookie(target).is_some()),
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
        let Some(rules) = object["spec"].get_mut(kind).and_then(Value::as_array_mut) else {
            continue;
        };
        rules.retain(|rule| !is_for_testers(rule));
        for rule in rules {
            let Some((stable, canary)) = places(rule) else {
                continue;
            };
            if let Some(rule) = rule.as_object_mut() {
                rule.remove("mirror");
                rule.remove("mirrorPercentage");
            }
            let targets = rule["route"].as_array_mut().expect("it has places");
            for target in targets.iter_mut() {
                target.as_object_mut().map(|target| target.remove("weight"));
                take_cookie(target);
            }
            // Where the canary is to be added it is like stable but for the version.
            let mut added = targets[stable].clone();
            added["destination"]["subset"] = "v2".into();
            if canary == targets.len() {
                targets.push(added);
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
