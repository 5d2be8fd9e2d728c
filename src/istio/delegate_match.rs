//! Whether a delegate's rule fits into the rule of the root that hands on to it: one that does not Istio ignores.
//!
//! As `mergeHTTPMatchRequests` of istio/istio has it: what the delegate matches has to be a part of what the root
//! matches, and regular expressions are a part of nothing.

use serde_json::Value;

/// Whether Istio ignores `rule` of a delegate below `root`, a rule that delegates to it.
pub(crate) fn is_ignored_below(root: &Value, rule: &Value) -> bool {
    fn conditions(rule: &Value) -> &[Value] {
        let found = rule.get("match").and_then(Value::as_array);
        found.map_or(&[], Vec::as_slice)
    }
    let (roots, own) = (conditions(root), conditions(rule));
    let fits = |own: &Value| roots.iter().any(|root| !conflicts(root, own));
    !roots.is_empty() && !own.iter().all(fits)
}

fn conflicts(root: &Value, own: &Value) -> bool {
    let texts = ["uri", "scheme", "method", "authority"].into_iter();
    let mut texts = texts.map(|key| (root.get(key), own.get(key)));
    let of_map = |own_key: &str, root_key: &str| {
        let own = own.get(own_key).and_then(Value::as_object);
        own.into_iter().flatten().any(|(name, own)| {
            let root = root.get(root_key).and_then(|root| root.get(name));
            text_conflicts(root, Some(own))
        })
    };
    let ignores_case = |one: &Value| one.get("ignoreUriCase") == Some(&Value::Bool(true));
    let port = |one: &Value| {
        one.get("port")
            .and_then(Value::as_u64)
            .filter(|port| *port > 0)
    };
    texts.any(|(root, own)| text_conflicts(root, own))
        || of_map("headers", "headers")
        || of_map("withoutHeaders", "headers")
        || of_map("queryParams", "queryParams")
        || ignores_case(root) != ignores_case(own)
        || matches!((port(root), port(own)), (Some(root), Some(own)) if root != own)
}

fn text_conflicts(root: Option<&Value>, own: Option<&Value>) -> bool {
    let (Some(root), Some(own)) = (root, own) else {
        return false;
    };
    fn text<'v>(of: &'v Value, key: &str) -> Option<&'v str> {
        let found = of.get(key).and_then(Value::as_str);
        found.filter(|text| !text.is_empty())
    }
    if text(root, "regex").is_some() || text(own, "regex").is_some() {
        return true;
    }
    match (text(root, "exact"), text(root, "prefix")) {
        (Some(exact), _) => text(own, "exact") != Some(exact),
        (None, Some(prefix)) => {
            let own = text(own, "prefix").or_else(|| text(own, "exact"));
            !own.is_some_and(|own| own.starts_with(prefix))
        }
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_part_of_the_roots_match_fits_and_nothing_else() {
        let uri = |key: &str, text: &str| json!([{"uri": {key: text}}]);
        for (root, own, ignored) in [
            (json!([]), uri("regex", "/x.*"), false),
            (uri("prefix", "/t"), json!([]), false),
            (uri("prefix", "/t"), uri("prefix", "/t/new"), false),
            (uri("prefix", "/t"), uri("exact", "/t/new"), false),
            (
                uri("prefix", "/t"),
                json!([{"headers": {"x": {"exact": "1"}}}]),
                false,
            ),
            (uri("prefix", "/t"), uri("prefix", "/"), true),
            (uri("prefix", "/t"), uri("regex", "/t.*"), true),
            (uri("regex", "/t.*"), uri("prefix", "/t"), true),
            (uri("exact", "/t"), uri("prefix", "/t"), true),
            (uri("exact", "/t"), uri("exact", "/t"), false),
            (json!([{"port": 80}]), json!([{"port": 81}]), true),
            (
                uri("prefix", "/t"),
                json!([{"uri": {"prefix": "/t"}, "ignoreUriCase": true}]),
                true,
            ),
            (
                json!([{"headers": {"x": {"exact": "1"}}}]),
                json!([{"headers": {"x": {"exact": "2"}}}]),
                true,
            ),
            // Of several each has to fit.
            (
                uri("prefix", "/t"),
                json!([{"uri": {"prefix": "/t/a"}}, {"uri": {"prefix": "/b"}}]),
                true,
            ),
            (
                json!([{"uri": {"prefix": "/t"}}, {"uri": {"prefix": "/b"}}]),
                json!([{"uri": {"prefix": "/t/a"}}, {"uri": {"prefix": "/b"}}]),
                false,
            ),
        ] {
            let found = is_ignored_below(&json!({"match": root}), &json!({"match": own}));
            assert_eq!(found, ignored, "{root} {own}");
        }
    }
}
