//! Generated VirtualServices: many rules of several kinds, odd weights, fields nobody knows.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Any JSON that might stand in a field we know nothing of.
fn unknown() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z~/ ]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z~/]{1,6}", inner), 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn weight() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(0)),
        4 => (1_i64..=100).prop_map(Some),
        1 => (101_i64..100_000).prop_map(Some),
    ]
}

fn destination(
    host: &str,
    subset: Option<&str>,
    weight: Option<i64>,
    extra: Option<Value>,
) -> Value {
    let mut target = json!({"destination": {"host": host}});
    if let Some(subset) = subset {
        target["destination"]["subset"] = subset.into();
    }
    if let Some(weight) = weight {
        target["weight"] = weight.into();
    }
    if let Some(extra) = extra {
        let set = json!({"x-any": extra.to_string()});
        target["headers"] = match extra {
            Value::Array(_) => json!({"response": {"add": set}}),
            Value::Object(_) => json!({"response": {"remove": ["x-any"]}}),
            _ => json!({"request": {"set": set}}),
        };
    }
    target
}

/// A rule that a rollout shifts: v1 and v2 in any order, maybe with others between them.
fn shifted() -> impl Strategy<Value = Value> {
    (
        1_i64..1000,
        weight(),
        option::of(weight()),
        any::<bool>(),
        option::of(unknown()),
    )
        .prop_map(|(stable, canary, third, swapped, extra)| {
            let mut targets = vec![
                destination("reviews", Some("v1"), Some(stable), None),
                destination("reviews", Some("v2"), canary, extra),
            ];
            if swapped {
                targets.swap(0, 1);
            }
            if let Some(weight) = third {
                targets.insert(1, destination("legacy", None, weight, None));
            }
            json!({"route": targets})
        })
}

fn other() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"redirect": {"uri": "/"}})),
        Just(json!({"directResponse": {"status": 503}})),
        weight()
            .prop_map(|weight| json!({"route": [destination("elsewhere", None, weight, None)]})),
        weight().prop_map(
            |weight| json!({"route": [destination("reviews", Some("v1"), weight, None)]})
        ),
    ]
}

/// A rule with a name, matches and timeouts, or without them.
fn rule() -> impl Strategy<Value = Value> {
    (
        prop_oneof![3 => shifted(), 2 => other()],
        option::of("[a-c]"),
        option::of("[a-z]{1,3}"),
        option::of(1_u8..9),
    )
        .prop_map(|(mut rule, name, prefix, timeout)| {
            if let Some(name) = name {
                rule["name"] = name.into();
            }
            if let Some(prefix) = prefix {
                rule["match"] = json!([{"uri": {"prefix": format!("/{prefix}")}}]);
            }
            if let Some(seconds) = timeout {
                rule["timeout"] = format!("{seconds}s").into();
            }
            rule
        })
}

/// A list of HTTP rules as istiod takes it; at least one of them is shifted.
pub fn http() -> impl Strategy<Value = Value> {
    (vec(rule(), 0..5), shifted(), any::<prop::sample::Index>()).prop_map(
        |(mut rules, shifted, place)| {
            rules.insert(place.index(rules.len() + 1), shifted);
            Value::from(rules)
        },
    )
}

/// A stored VirtualService with fields that nobody knows in all the places where there may be some.
pub fn virtual_service() -> impl Strategy<Value = Value> {
    (
        http(),
        vec(("[a-z~/]{1,8}", unknown()), 0..3),
        option::of(vec(("[a-z]{1,4}/[a-z~]{1,4}", "[a-z\"\\\\]{0,6}"), 0..3)),
        vec(unknown(), 0..3),
        any::<bool>(),
    )
        .prop_map(|(http, unknown, annotations, extras, layer_four)| {
            let mut object = json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                "metadata": {"namespace": "shop", "name": "reviews", "uid": "u-1", "resourceVersion": "7"},
                "spec": {"hosts": ["reviews"], "http": http},
            });
            for (key, value) in unknown {
                object["spec"][format!("x-{key}")] = value;
            }
            for (rule, extra) in object["spec"]["http"].as_array_mut().into_iter().flatten().zip(extras) {
                rule["x-unknown"] = extra;
            }
            if layer_four {
                object["spec"]["tls"] = json!([{"match": [{"port": 443, "sniHosts": ["a"]}], "route": [
                    destination("reviews", Some("v1"), Some(100), None),
                    destination("reviews", Some("v2"), Some(0), None),
                ]}]);
                object["spec"]["tcp"] = json!([{"route": [destination("reviews", Some("v1"), None, None)]}]);
            }
            if let Some(annotations) = annotations {
                let map: Map<_, _> =
                    annotations.into_iter().map(|(key, value)| (key, value.into())).collect();
                object["metadata"]["annotations"] = map.into();
            }
            object
        })
}

/// The same with every weight of every route gone: what no rollout may ever change.
pub fn without_weights(object: &Value) -> Value {
    let mut object = object.clone();
    for kind in ["http", "tls", "tcp"] {
        let rules = object["spec"].get_mut(kind).and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten() {
            let targets = rule.get_mut("route").and_then(Value::as_array_mut);
            for target in targets.into_iter().flatten() {
                target.as_object_mut().map(|target| target.remove("weight"));
            }
        }
    }
    object
}

/// The total weight of every rule, kind after kind.
pub fn totals(object: &Value) -> Vec<i64> {
    let mut totals = Vec::new();
    for kind in ["http", "tls", "tcp"] {
        let rules = object["spec"].get(kind).and_then(Value::as_array);
        for rule in rules.into_iter().flatten() {
            let targets = rule.get("route").and_then(Value::as_array);
            let weights = targets.into_iter().flatten();
            totals.push(
                weights
                    .map(|target| target["weight"].as_i64().unwrap_or(0))
                    .sum(),
            );
        }
    }
    totals
}
