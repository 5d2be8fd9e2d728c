//! Whether a rule matches every request that another one matches.
//!
//! Only what is certain counts: where two conditions cannot be compared, as two regular expressions cannot,
//! neither takes all of the other.

use serde_json::{Map, Value};

/// Whether every request that `other` matches is matched by `rule`, too. A rule without a `match` matches all.
pub(super) fn takes_all_of(rule: &Value, other: &Value) -> bool {
    fn conditions(rule: &Value) -> &[Value] {
        let found = rule.get("match").and_then(Value::as_array);
        found.map_or(&[], Vec::as_slice)
    }
    let (ours, theirs) = (conditions(rule), conditions(other));
    // Of the conditions in a list one suffices.
    let is_met = |theirs: &Value| ours.iter().any(|ours| is_implied(ours, theirs));
    match (ours, theirs) {
        ([], _) => true,
        (_, []) => is_met(&Value::Null),
        (_, theirs) => theirs.iter().all(is_met),
    }
}

/// Whether a request that meets `given` meets `asked`.
fn is_implied(asked: &Value, given: &Value) -> bool {
    let Some(asked) = asked.as_object() else {
        return false;
    };
    let ignores_case = |condition: Option<&Value>| condition == Some(&Value::Bool(true));
    // A path that is compared without its case may be another one.
    let is_looser =
        ignores_case(given.get("ignoreUriCase")) && !ignores_case(asked.get("ignoreUriCase"));
    asked.iter().all(|(key, value)| {
        let given = given.get(key);
        match key.as_str() {
            // What a condition is called, and how its path is compared, is no condition.
            "name" | "statPrefix" | "ignoreUriCase" => true,
            "uri" if takes_every_path(value) => true,
            "uri" => {
                !is_looser && given.is_some_and(|given| given == value || is_below(value, given))
            }
            "headers" | "queryParams" | "withoutHeaders" | "sourceLabels" => {
                let given = given.and_then(Value::as_object);
                value
                    .as_object()
                    .is_some_and(|asked| is_within(asked, given))
            }
            "gateways" => texts(given).is_some_and(|given| {
                let asked = texts(Some(value)).unwrap_or_default();
                given.iter().all(|gateway| asked.contains(gateway))
            }),
            "sniHosts" => texts(given).is_some_and(|given| {
                let asked = texts(Some(value)).unwrap_or_default();
                given
                    .iter()
                    .all(|name| asked.iter().any(|asked| is_host_of(name, asked)))
            }),
            _ => given == Some(value),
        }
    })
}

fn takes_every_path(uri: &Value) -> bool {
    let text = |key: &str| uri.get(key).and_then(Value::as_str);
    text("prefix") == Some("/") || matches!(text("regex"), Some(".*" | "/.*"))
}

/// Whether every path that `given` takes begins as `asked` wants it.
fn is_below(asked: &Value, given: &Value) -> bool {
    let Some(prefix) = asked.get("prefix").and_then(Value::as_str) else {
        return false;
    };
    let mut paths = ["prefix", "exact"].into_iter();
    paths.any(|key| {
        let path = given.get(key).and_then(Value::as_str);
        path.is_some_and(|path| path.starts_with(prefix))
    })
}

fn is_within(asked: &Map<String, Value>, given: Option<&Map<String, Value>>) -> bool {
    asked
        .iter()
        .all(|(key, value)| given.and_then(|given| given.get(key)) == Some(value))
}

/// The texts of a list that is not empty.
fn texts(list: Option<&Value>) -> Option<Vec<&str>> {
    let list = list?.as_array()?;
    let found: Vec<_> = list.iter().filter_map(Value::as_str).collect();
    (!found.is_empty()).then_some(found)
}

fn is_host_of(name: &str, pattern: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(rest) => name.ends_with(rest),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn takes(first: Value, second: Value) -> bool {
        takes_all_of(&json!({"match": first}), &json!({"match": second}))
    }

    #[test]
    fn a_rule_takes_all_that_a_narrower_one_matches() {
        for (first, second) in [
            (
                json!([{"uri": {"prefix": "/api"}}]),
                json!([{"uri": {"prefix": "/api/v2"}}]),
            ),
            (
                json!([{"uri": {"prefix": "/api"}}]),
                json!([{"uri": {"exact": "/api"}, "method": {"exact": "GET"}}]),
            ),
            (json!([{"uri": {"regex": ".*"}}]), json!([])),
            (json!([{"uri": {"regex": "/.*"}}]), json!([{"port": 80}])),
            (
                json!([{"headers": {"x": {"exact": "1"}}}]),
                json!([{"headers": {"x": {"exact": "1"}, "y": {"exact": "2"}}}]),
            ),
            (
                json!([{"sniHosts": ["*.t.example"], "port": 443}]),
                json!([{"sniHosts": ["a.t.example"], "port": 443}]),
            ),
            (
                json!([{"gateways": ["a", "mesh"]}]),
                json!([{"gateways": ["mesh"]}]),
            ),
            (
                json!([{"uri": {"exact": "/x"}}, {"uri": {"prefix": "/y"}}]),
                json!([{"uri": {"exact": "/y/z"}}]),
            ),
        ] {
            assert!(takes(first.clone(), second.clone()), "{first} {second}");
        }
    }

    #[test]
    fn what_is_left_for_another_rule_is_not_taken() {
        for (first, second) in [
            (
                json!([{"uri": {"prefix": "/api/v2"}}]),
                json!([{"uri": {"prefix": "/api"}}]),
            ),
            (
                json!([{"uri": {"prefix": "/api"}, "port": 80}]),
                json!([{"uri": {"prefix": "/api"}}]),
            ),
            (
                json!([{"uri": {"prefix": "/api"}}]),
                json!([{"uri": {"prefix": "/api"}, "ignoreUriCase": true}]),
            ),
            (
                json!([{"uri": {"prefix": "/api"}}]),
                json!([{"uri": {"regex": "/api.*"}}]),
            ),
            (
                json!([{"uri": {"exact": "/x"}}]),
                json!([{"uri": {"exact": "/x"}}, {"uri": {"exact": "/y"}}]),
            ),
            (json!([{"gateways": ["mesh"]}]), json!([])),
            (
                json!([{"sniHosts": ["a.t.example"]}]),
                json!([{"sniHosts": ["*.t.example"]}]),
            ),
            (
                json!([{"sourceLabels": {"app": "web"}}]),
                json!([{"sourceLabels": {"app": "job"}}]),
            ),
            (json!([{"withoutHeaders": {"x": {}}}]), json!([])),
        ] {
            assert!(!takes(first.clone(), second.clone()), "{first} {second}");
        }
    }
}
