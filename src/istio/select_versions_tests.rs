//! Which versions and routes are chosen, and what is said where that cannot be told.

use serde_json::{Value, json};

use super::destination::Host;
use super::virtual_service::VirtualService;
use super::{VersionQuery, select_versions};

fn vs(http: Value) -> VirtualService {
    VirtualService::new(json!({
        "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
        "spec": {"hosts": ["reviews"], "http": http},
    }))
    .unwrap()
}

fn rule(name: &str, targets: &[(&str, i64)]) -> Value {
    let targets: Vec<_> = targets
        .iter()
        .map(|(subset, weight)| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight}))
        .collect();
    json!({"name": name, "route": targets})
}

/// Subsets of the host, as several DestinationRules define them, beside another's.
fn defined(subsets: &[&str]) -> Vec<(Host, String)> {
    let reviews = subsets.iter().map(|name| ("reviews", *name));
    let ratings = ["v1", "v7", "v8"].map(|name| ("ratings", name));
    let all = reviews.clone().chain(ratings).chain(reviews);
    all.map(|(host, name)| (Host::resolve(host, "shop"), name.to_owned()))
        .collect()
}

fn chosen(
    http: Value,
    stable: Option<&str>,
    canary: Option<&str>,
    routes: &[&str],
) -> Result<String, String> {
    let routes: Vec<_> = routes.iter().map(ToString::to_string).collect();
    let defined = defined(&["v1", "v2", "v3"]);
    select_versions(&vs(http), stable, canary, &routes, &defined)
        .map(|selection| {
            format!(
                "{} -> {} on {}, left {}",
                selection.stable,
                selection.canary,
                selection.splits.len(),
                selection.left_behind.len()
            )
        })
        .map_err(|error| error.to_string())
}

#[test]
fn the_version_that_carries_the_traffic_is_stable() {
    assert_eq!(
        chosen(
            json!([rule("a", &[("v1", 100), ("v2", 0)])]),
            None,
            None,
            &[]
        )
        .unwrap(),
        "v1 -> v2 on 1, left 0"
    );
    assert_eq!(
        chosen(
            json!([rule("a", &[("v1", 0), ("v2", 100)])]),
            None,
            None,
            &[]
        )
        .unwrap(),
        "v2 -> v1 on 1, left 0"
    );
}

#[test]
fn every_route_that_holds_both_is_shifted_and_the_rest_is_said() {
    let http = json!([
        rule("a", &[("v1", 100), ("v2", 0)]),
        rule("b", &[("v1", 100)]),
        rule("c", &[("v2", 10), ("v1", 90)]),
        {"name": "gone", "redirect": {"uri": "/"}},
    ]);
    assert_eq!(
        chosen(http.clone(), None, None, &[]).unwrap(),
        "v1 -> v2 on 2, left 1"
    );
    assert_eq!(
        chosen(http, None, None, &["c"]).unwrap(),
        "v1 -> v2 on 1, left 2"
    );
}

#[test]
fn names_narrow_a_route_of_three() {
    let http = || json!([rule("a", &[("v1", 80), ("v2", 0), ("v3", 20)])]);
    assert_eq!(
        chosen(http(), Some("v1"), Some("v2"), &[]).unwrap(),
        "v1 -> v2 on 1, left 0"
    );
    assert_eq!(
        chosen(http(), None, Some("v2"), &[]).unwrap(),
        "v1 -> v2 on 1, left 0"
    );
}

#[test]
fn what_cannot_be_told_lists_the_choices() {
    let two = |left, right| json!([rule("a", &[("v1", left), ("v2", right)])]);
    let three = || json!([rule("a", &[("v1", 80), ("v2", 0), ("v3", 20)])]);
    for (http, stable, canary, routes, expected) in [
        (
            two(50, 50),
            None,
            None,
            vec![],
            "stable and canary of virtualservice shop/reviews cannot be determined from its routes: http[a] gives both versions the same weight (try: --stable and --canary with two of v1, v2)",
        ),
        (
            three(),
            None,
            None,
            vec![],
            "stable and canary of virtualservice shop/reviews cannot be determined from its routes: http[a] sends to more than two versions (try: --stable and --canary with two of v1, v2, v3)",
        ),
        (
            two(100, 0),
            None,
            Some("v9"),
            vec![],
            "no route of virtualservice shop/reviews sends to \"v9\" (try: --canary v1, v2, or --add-destination to add it)",
        ),
        (
            two(100, 0),
            Some("v1"),
            Some("v1"),
            vec![],
            "--stable and --canary are both v1 (try: two different versions)",
        ),
        (
            two(100, 0),
            None,
            None,
            vec!["b"],
            "virtualservice shop/reviews has no route \"b\" (try: --route a)",
        ),
        (
            json!([rule("a", &[("v1", 100)])]),
            None,
            None,
            vec![],
            "no route of virtualservice shop/reviews holds two versions to shift between; it sends to v1 only (try: --add-destination with --canary v2, v3)",
        ),
        (
            json!([]),
            None,
            None,
            vec![],
            "virtualservice shop/reviews has no route with destinations (try: a rule with a `route` under spec.http, spec.tls or spec.tcp)",
        ),
        (
            two(0, 0),
            Some("v1"),
            Some("v2"),
            vec![],
            "virtualservice shop/reviews: http[a] gives v1 and v2 no weight, so there is nothing to shift (try: weight 100 for v1 and 0 for v2)",
        ),
        (
            json!([rule("a", &[("v1", 100), ("v2", 0), ("v2", 0)])]),
            Some("v1"),
            Some("v2"),
            vec![],
            "http[a] of virtualservice shop/reviews sends to v2 twice (try: one destination with the sum of the weights)",
        ),
        (
            json!([{"name": "d", "delegate": {"name": "other"}}]),
            None,
            None,
            vec![],
            "http[d] of virtualservice shop/reviews delegates to another VirtualService (try: the same command on that one)",
        ),
    ] {
        assert_eq!(chosen(http, stable, canary, &routes).unwrap_err(), expected);
    }
}

fn added(
    http: Value,
    stable: Option<&str>,
    canary: Option<&str>,
    subsets: &[&str],
) -> Result<String, String> {
    let query = VersionQuery {
        stable,
        canary,
        subsets: &defined(subsets),
        add: true,
        ..VersionQuery::default()
    };
    let selection = query
        .select_versions(&vs(http))
        .map_err(|error| error.to_string())?;
    let added = selection.splits.iter().filter(|split| split.adds()).count();
    Ok(format!(
        "{} -> {} at {}, added to {added} of {}",
        selection.stable,
        selection.canary,
        selection.canary.host,
        selection.splits.len()
    ))
}

#[test]
fn a_missing_canary_is_added_beside_stable() {
    let reviews = "reviews.shop.svc.cluster.local";
    let both = ["v1", "v2"];
    let lone = || json!([rule("a", &[("v1", 0)])]);
    let mixed = || {
        json!([
            rule("a", &[("v1", 50), ("v2", 50)]),
            rule("b", &[("v1", 100)]),
            rule("c", &[("v3", 1)])
        ])
    };
    for (http, stable, canary, subsets, expected) in [
        (
            lone(),
            None,
            None,
            &both[..],
            format!("v1 -> v2 at {reviews}, added to 1 of 1"),
        ),
        (
            lone(),
            None,
            Some("v9"),
            &both,
            format!("v1 -> v9 at {reviews}, added to 1 of 1"),
        ),
        (
            lone(),
            None,
            Some("reviews-v2.shop.svc.cluster.local"),
            &both,
            "v1 -> reviews-v2 at reviews-v2.shop.svc.cluster.local, added to 1 of 1".into(),
        ),
        (
            mixed(),
            Some("v1"),
            Some("v2"),
            &both,
            format!("v1 -> v2 at {reviews}, added to 1 of 2"),
        ),
        (
            json!([{"route": [{"destination": {"host": "reviews-v1"}}]}]),
            None,
            Some("reviews-v2"),
            &[],
            "reviews-v1 -> reviews-v2 at reviews-v2.shop.svc.cluster.local, added to 1 of 1".into(),
        ),
    ] {
        assert_eq!(added(http, stable, canary, subsets).unwrap(), expected);
    }
}

#[test]
fn what_to_add_is_never_guessed() {
    let lone = || json!([rule("a", &[("v1", 100)])]);
    for (http, stable, canary, subsets, expected) in [
        (
            lone(),
            None,
            None,
            vec!["v1", "v2", "v3"],
            "no route of virtualservice shop/reviews holds another version than v1, so the canary is unknown (try: --canary v2, v3)",
        ),
        (
            lone(),
            None,
            None,
            vec![],
            "no route of virtualservice shop/reviews holds another version than v1, so the canary is unknown (try: --canary NAME)",
        ),
        (
            lone(),
            Some("v1"),
            Some("v1"),
            vec![],
            "--stable and --canary are both v1 (try: two different versions)",
        ),
        (
            json!([rule("a", &[("v1", 100)]), rule("b", &[("v3", 100)])]),
            None,
            Some("v2"),
            vec![],
            "stable and canary of virtualservice shop/reviews cannot be determined from its routes: its routes do not agree which version is stable (try: --stable and --canary with two of v1, v3)",
        ),
    ] {
        assert_eq!(added(http, stable, canary, &subsets).unwrap_err(), expected);
    }
}

#[test]
fn tcp_and_tls_routes_are_chosen_alike() {
    let weighted = |first: i64, second: i64| {
        json!([
            {"destination": {"host": "echo", "subset": "v1", "port": {"number": 9000}}, "weight": first},
            {"destination": {"host": "echo.shop.svc.cluster.local", "subset": "v2", "port": {"number": 9000}}, "weight": second},
        ])
    };
    let vs = VirtualService::new(json!({
        "metadata": {"name": "echo", "namespace": "shop", "uid": "1"},
        "spec": {
            "tcp": [{"match": [{"port": 31400}], "route": weighted(100, 0)}],
            "tls": [{"match": [{"port": 443, "sniHosts": ["echo.com"]}], "route": weighted(80, 0)}],
        },
    }))
    .unwrap();
    let chosen = |routes: &[String]| {
        let selection = select_versions(&vs, None, None, routes, &[]).unwrap();
        let splits = selection.splits.iter();
        splits
            .map(|split| split.find(&vs).unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(chosen(&[]), ["tls[0]", "tcp[0]"]);
    assert_eq!(chosen(&["tcp[0]".into()]), ["tcp[0]"]);
}
