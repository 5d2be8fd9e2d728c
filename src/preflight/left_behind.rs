//! Routes that keep sending to stable.

use super::Facts;
use crate::plan::Finding;

/// So many are named; a VirtualService of hundreds of routes would fill the screen.
const NAMED: usize = 5;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    // One behind a rule for everything gets no request that could be missed.
    let is_reached = |name: &&String| {
        let mut routes = facts.vs.routes().iter();
        !routes.any(|route| route.to_string() == **name && facts.vs.shadow_of(route.at).is_some())
    };
    let left_behind: Vec<_> = facts.left_behind.iter().filter(is_reached).collect();
    let (stable, canary) = (&facts.stable.destination, &facts.canary.destination);
    let (catch_all, matching): (Vec<_>, Vec<_>) = left_behind.into_iter().partition(|name| {
        let routes = facts.vs.routes().iter();
        routes
            .filter(|route| route.to_string() == **name)
            .any(|route| facts.vs.takes_everything(route.at))
    });
    let mut findings = Vec::new();
    if !catch_all.is_empty() {
        let keeps = if catch_all.len() == 1 {
            "matches every request and keeps"
        } else {
            "match every request and keep"
        };
        findings.push(Finding::warn(
            format!("{} {keeps} sending to {stable}", list(&catch_all)),
            "requests that no other route matches never reach the canary",
            format!("--route with its name, and --add-destination where it lacks {canary}"),
        ));
    }
    if !matching.is_empty() {
        let keeps = if matching.len() == 1 { "keeps" } else { "keep" };
        findings.push(Finding::warn(
            format!("{} {keeps} sending to {stable}", list(&matching)),
            "requests that match there do not reach the canary",
            "--route names the routes to shift",
        ));
    }
    findings
}

fn list(names: &[&String]) -> String {
    let shown: Vec<_> = names.iter().take(NAMED).map(|name| name.as_str()).collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::test_facts::{facts, told};
    use serde_json::json;

    #[test]
    fn a_catch_all_is_told_apart_from_routes_that_match() {
        let mut facts = facts();
        facts.change_routes(|http| {
            *http = json!([
                {"name": "primary", "match": [{"uri": {"prefix": "/new"}}], "route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
                {"name": "old", "match": [{"uri": {"prefix": "/old"}}], "route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
                {"route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
            ]);
        });
        facts.left_behind = vec!["http[old]".into(), "http[2]".into()];
        assert_eq!(
            told(check(&facts)),
            [
                "warn: http[2] matches every request and keeps sending to v1: requests that no other route matches never reach the canary (try: --route with its name, and --add-destination where it lacks v2)",
                "warn: http[old] keeps sending to v1: requests that match there do not reach the canary (try: --route names the routes to shift)",
            ]
        );
    }

    #[test]
    fn hundreds_of_routes_are_counted() {
        let mut facts = facts();
        facts.left_behind = (0..500).map(|index| format!("http[r{index}]")).collect();
        let told = told(check(&facts));
        assert!(told[0].starts_with("warn: http[r0], http[r1], http[r2], http[r3], http[r4] and 495 more keep sending to v1"), "{told:?}");
    }
}
