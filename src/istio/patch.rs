//! The one guarded JSON Patch that moves weights and state together.
//!
//! Its `test` operations are the fence: uid, route identity, the weights and the state it believes
//! in. If any of them is different on the server, nothing at all is written (HTTP 422).

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation};
use serde_json::{Value, json};

use super::canary_rules::CanaryRules;
use super::desired::{Addition, DesiredRoute, DesiredRoutes, MirrorEdit, mirror_percentage};
use super::sticky_cookie::CookieEdit;
use super::virtual_service::VirtualService;

/// The most operations the API server accepts in one JSON Patch.
const MAX_OPERATIONS: usize = 10_000;

/// What becomes of one annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnotationEdit {
    /// It gets this value.
    Set(String),
    /// It goes away.
    Remove,
    /// It stays, and the patch depends on that.
    Keep,
}

/// The annotations that move in the same patch as the weights.
pub type Annotations<'a> = &'a [(&'static str, AnnotationEdit)];

/// More routes than one request can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the patch needs {0} operations, the API server accepts {MAX_OPERATIONS} (try: --route to shift fewer routes)"
)]
pub struct TooLarge(usize);

fn pointer(text: String) -> PointerBuf {
    PointerBuf::parse(text).expect("pointers are built from keys, indices and escaped names")
}

fn test(path: String, value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation {
        path: pointer(path),
        value,
    })
}

fn add(path: String, value: Value) -> PatchOperation {
    // `add` also replaces, and unlike `replace` it works where the key is absent: a weight of 0 often is.
    PatchOperation::Add(AddOperation {
        path: pointer(path),
        value,
    })
}

fn remove(path: String) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation {
        path: pointer(path),
    })
}

/// The same, only while all of the spec is as it is now: for a change that rests on what is not in it.
///
/// # Errors
/// As [`shift`].
pub fn shift_as_it_is(
    vs: &VirtualService,
    desired: &DesiredRoutes,
    annotations: Annotations<'_>,
) -> Result<Patch, TooLarge> {
    let mut patch = shift(vs, desired, annotations)?;
    patch.0.insert(0, test("/spec".into(), vs.spec().clone()));
    Ok(patch)
}

/// The patch that takes `vs` from exactly what it is to the new shape and annotations.
///
/// Routes that do not change are still tested, since the state that is written speaks of them.
///
/// # Errors
/// If the change does not fit into one request.
pub fn shift(
    vs: &VirtualService,
    desired: &DesiredRoutes,
    annotations: Annotations<'_>,
) -> Result<Patch, TooLarge> {
    let mut tests = vec![test("/metadata/uid".into(), vs.uid().into())];
    let mut changes = Vec::new();
    for desired in &desired.routes {
        patch_route(vs, desired, &mut tests, &mut changes);
    }
    // Positions are those of the object as it is, so rules come and go only when all else is said.
    if let Some(rules) = &desired.rules {
        place_rules(vs, rules, &mut tests, &mut changes);
    }
    annotate(vs, annotations, &mut tests, &mut changes);
    let operations = tests.len() + changes.len();
    if operations > MAX_OPERATIONS {
        return Err(TooLarge(operations));
    }
    tests.append(&mut changes);
    Ok(Patch(tests))
}

/// Tests one route and changes its weights, its added canary, its cookie and its mirror.
fn patch_route(
    vs: &VirtualService,
    desired: &DesiredRoute,
    tests: &mut Vec<PatchOperation>,
    changes: &mut Vec<PatchOperation>,
) {
    let (rule, at) = (vs.rule(desired.at), desired.at.pointer());
    for key in ["name", "match"] {
        if let Some(value) = rule.get(key) {
            tests.push(test(format!("{at}/{key}"), value.clone()));
        }
    }
    let targets = rule.get("route").and_then(Value::as_array);
    tests.push(test(format!("{at}/route"), json!(targets)));
    let there = targets.map_or(0, Vec::len);
    for (position, weight) in desired.weights.iter().enumerate() {
        let path = format!("{at}/route/{position}/weight");
        let present = targets.and_then(|targets| targets.get(position)?.get("weight"));
        match (present, weight, &desired.addition) {
            (_, weight, Addition::There(destination)) if position >= there => {
                let mut entry = json!({"destination": destination});
                if let Some(weight) = weight {
                    entry["weight"] = json!(weight);
                }
                desired.cookie.make(&mut entry);
                changes.push(add(format!("{at}/route/-"), entry));
            }
            (Some(present), Some(weight), _) if present.as_i64() == Some(*weight) => {}
            (_, Some(weight), _) => changes.push(add(path, json!(weight))),
            (Some(_), None, _) => changes.push(remove(path)),
            (None, None, _) => {}
        }
    }
    if desired.addition != Addition::Gone
        && let Some(canary) = desired.canary_in(rule)
    {
        let path = format!("{at}/route/{}/headers", desired.canary);
        patch_cookie(canary, path, &desired.cookie, changes);
    }
    if desired.addition == Addition::Gone && there > desired.weights.len() {
        changes.push(remove(format!("{at}/route/{}", desired.weights.len())));
    }
    patch_mirror(rule, &at, &desired.mirror, tests, changes);
}

/// Sets or takes away the cookie of the canary's destination, whose headers stand at `path`.
fn patch_cookie(
    canary: &Value,
    path: String,
    cookie: &CookieEdit,
    changes: &mut Vec<PatchOperation>,
) {
    let mut wanted = canary.clone();
    cookie.make(&mut wanted);
    // The whole route is tested, so its headers are nobody else's between reading and writing.
    match (canary.get("headers"), wanted.get("headers")) {
        (present, wanted) if present == wanted => {}
        (_, Some(wanted)) => changes.push(add(path, wanted.clone())),
        (_, None) => changes.push(remove(path)),
    }
}

/// Sets or takes away the mirror of one route.
fn patch_mirror(
    rule: &Value,
    at: &str,
    mirror: &MirrorEdit,
    tests: &mut Vec<PatchOperation>,
    changes: &mut Vec<PatchOperation>,
) {
    const KEYS: [&str; 2] = ["mirror", "mirrorPercentage"];
    let mut set = |key: &str, wanted: Option<Value>| {
        let (path, present) = (format!("{at}/{key}"), rule.get(key));
        if wanted.as_ref() == present {
            return;
        }
        match wanted {
            Some(wanted) => changes.push(add(path, wanted)),
            None => changes.push(remove(path)),
        }
    };
    match mirror {
        MirrorEdit::Keep => return,
        MirrorEdit::Set(destination, share) => {
            set(KEYS[0], Some(destination.clone()));
            set(KEYS[1], Some(mirror_percentage(*share)));
        }
        MirrorEdit::Remove(destination) if rule.get(KEYS[0]) == Some(destination) => {
            set(KEYS[0], None);
            set(KEYS[1], None);
        }
        MirrorEdit::Remove(_) => {}
    }
    // `test` against null is "is absent", so a mirror that is set meanwhile is noticed.
    for key in KEYS {
        let present = rule.get(key).cloned().unwrap_or_default();
        tests.push(test(format!("{at}/{key}"), present));
    }
}

/// Puts the rules to the canary alone above their routes, or takes them away.
fn place_rules(
    vs: &VirtualService,
    rules: &CanaryRules,
    tests: &mut Vec<PatchOperation>,
    changes: &mut Vec<PatchOperation>,
) {
    let found = rules.places(vs);
    for place in &found {
        tests.push(test(
            format!("/spec/http/{place}/name"),
            rules.name().into(),
        ));
    }
    if rules.are_there(vs) {
        return;
    }
    // From the last to the first, so that no position moves before it is used.
    for place in found.iter().rev() {
        changes.push(remove(format!("/spec/http/{place}")));
    }
    for (place, rule) in rules.wanted().iter().rev() {
        let gone = found.iter().filter(|found| *found < place).count();
        changes.push(add(format!("/spec/http/{}", place - gone), rule.clone()));
    }
}

fn annotate(
    vs: &VirtualService,
    annotations: Annotations<'_>,
    tests: &mut Vec<PatchOperation>,
    changes: &mut Vec<PatchOperation>,
) {
    const MAP: &str = "/metadata/annotations";
    if annotations.is_empty() {
        return;
    }
    if !vs.has_annotations() {
        // The API server takes `test` against null as "is absent", so a map that is added
        // meanwhile is not written over.
        tests.push(test(MAP.into(), Value::Null));
        let sets = |(_, edit): &(_, AnnotationEdit)| matches!(edit, AnnotationEdit::Set(_));
        if annotations.iter().any(sets) {
            changes.push(add(MAP.into(), json!({})));
        }
    }
    for (key, edit) in annotations {
        let path = format!("{MAP}/{}", key.replace('~', "~0").replace('/', "~1"));
        let present = vs.annotation(key);
        if vs.has_annotations() {
            tests.push(test(path.clone(), present.map_or(Value::Null, Value::from)));
        }
        match edit {
            AnnotationEdit::Set(value) => changes.push(add(path, value.clone().into())),
            AnnotationEdit::Remove if present.is_some() => changes.push(remove(path)),
            AnnotationEdit::Remove | AnnotationEdit::Keep => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::StickyCookie;

    fn vs(metadata: Value, route: Value) -> VirtualService {
        let mut object = json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "u-1"},
            "spec": {"http": [{"name": "primary", "match": [{"uri": {"prefix": "/"}}], "route": route, "timeout": "3s"}]},
        });
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        VirtualService::new(object).unwrap()
    }

    fn two(first: Value, second: Value) -> Value {
        json!([
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": first},
            {"destination": {"host": "reviews", "subset": "v2"}, "weight": second},
        ])
    }

    fn one(vs: &VirtualService, weights: &[Option<i64>]) -> DesiredRoute {
        DesiredRoute {
            at: vs.routes()[0].at,
            stable: 0,
            canary: 1,
            weights: weights.to_vec(),
            addition: Addition::Nothing,
            mirror: MirrorEdit::Keep,
            cookie: CookieEdit::Keep,
        }
    }

    fn only(desired: DesiredRoute) -> DesiredRoutes {
        DesiredRoutes {
            routes: vec![desired],
            rules: None,
            mirrors: false,
        }
    }

    fn patch(vs: &VirtualService, weights: &[Option<i64>], annotations: Annotations<'_>) -> Value {
        let desired = only(one(vs, weights));
        serde_json::to_value(shift(vs, &desired, annotations).unwrap()).unwrap()
    }

    #[test]
    fn the_patch_tests_what_it_believes_and_then_writes_weights_and_state() {
        let vs = vs(
            json!({"annotations": {"a/b": "old"}}),
            two(json!(100), json!(0)),
        );
        let written = patch(
            &vs,
            &[Some(99), Some(1)],
            &[("a/b", AnnotationEdit::Set("new".into()))],
        );
        assert_eq!(
            written,
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u-1"},
                {"op": "test", "path": "/spec/http/0/name", "value": "primary"},
                {"op": "test", "path": "/spec/http/0/match", "value": [{"uri": {"prefix": "/"}}]},
                {"op": "test", "path": "/spec/http/0/route", "value": two(json!(100), json!(0))},
                {"op": "test", "path": "/metadata/annotations/a~1b", "value": "old"},
                {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 99},
                {"op": "add", "path": "/spec/http/0/route/1/weight", "value": 1},
                {"op": "add", "path": "/metadata/annotations/a~1b", "value": "new"},
            ])
        );
    }

    #[test]
    fn a_missing_map_of_annotations_is_made_only_if_it_is_still_missing() {
        let vs = vs(json!({}), two(json!(100), json!(0)));
        let written = patch(
            &vs,
            &[Some(100), Some(0)],
            &[("a/b", AnnotationEdit::Set("new".into()))],
        );
        let tail = &written.as_array().unwrap()[4..];
        assert_eq!(
            json!(tail),
            json!([
                {"op": "test", "path": "/metadata/annotations", "value": null},
                {"op": "add", "path": "/metadata/annotations", "value": {}},
                {"op": "add", "path": "/metadata/annotations/a~1b", "value": "new"},
            ])
        );
    }

    #[test]
    fn a_weight_that_was_absent_is_removed_again() {
        let vs = vs(json!({}), two(json!(99), json!(1)));
        let written = patch(&vs, &[Some(100), None], &[]);
        let tail = &written.as_array().unwrap()[4..];
        assert_eq!(
            json!(tail),
            json!([
                {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 100},
                {"op": "remove", "path": "/spec/http/0/route/1/weight"},
            ])
        );
    }

    #[test]
    fn more_than_the_server_takes_is_refused() {
        let vs = vs(json!({}), two(json!(100), json!(0)));
        let many = DesiredRoutes {
            routes: vec![one(&vs, &[Some(99), Some(1)]); 2001],
            rules: None,
            mirrors: false,
        };
        assert!(
            shift(&vs, &many, &[])
                .unwrap_err()
                .to_string()
                .contains("--route to shift fewer routes")
        );
    }

    #[test]
    fn an_added_canary_comes_and_goes_at_the_end_of_the_route() {
        let lone = json!([{"destination": {"host": "reviews", "subset": "v1"}}]);
        let before = vs(json!({}), lone);
        let canary = json!({"host": "reviews", "subset": "v2"});
        let there = DesiredRoute {
            addition: Addition::There(canary.clone()),
            ..one(&before, &[Some(99), Some(1)])
        };
        let tail = |vs: &VirtualService, desired: DesiredRoute| {
            let patch = serde_json::to_value(shift(vs, &only(desired), &[]).unwrap()).unwrap();
            json!(patch.as_array().unwrap()[4..])
        };
        assert_eq!(
            tail(&before, there),
            json!([
                {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 99},
                {"op": "add", "path": "/spec/http/0/route/-", "value": {"destination": canary, "weight": 1}},
            ])
        );
        let after = vs(json!({}), two(json!(99), json!(1)));
        let gone = DesiredRoute {
            addition: Addition::Gone,
            ..one(&after, &[None])
        };
        assert_eq!(
            tail(&after, gone),
            json!([
                {"op": "remove", "path": "/spec/http/0/route/0/weight"},
                {"op": "remove", "path": "/spec/http/0/route/1"},
            ])
        );
    }

    #[test]
    fn the_canarys_cookie_comes_and_goes_with_its_weights() {
        let cookie = StickyCookie::new(&"cookie=canary".parse().unwrap(), "run-1");
        let tail = |vs: &VirtualService, edit: CookieEdit, weights: [i64; 2]| {
            let desired = DesiredRoute {
                cookie: edit,
                ..one(vs, &weights.map(Some))
            };
            let patch = serde_json::to_value(shift(vs, &only(desired), &[]).unwrap()).unwrap();
            json!(patch.as_array().unwrap()[4..])
        };
        let text = "canary=run-1; Max-Age=3600; Path=/; HttpOnly";
        let headers = json!({"response": {"add": {"set-cookie": text}}});
        let before = vs(json!({}), two(json!(100), json!(0)));
        assert_eq!(
            tail(&before, CookieEdit::Set(cookie.clone()), [90, 10]),
            json!([
                {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 90},
                {"op": "add", "path": "/spec/http/0/route/1/weight", "value": 10},
                {"op": "add", "path": "/spec/http/0/route/1/headers", "value": headers},
            ])
        );
        let mut route = two(json!(90), json!(10));
        route[1]["headers"] = headers;
        let with = vs(json!({}), route.clone());
        assert_eq!(
            tail(&with, CookieEdit::Set(cookie.clone()), [90, 10]),
            json!([])
        );
        assert_eq!(
            tail(&with, CookieEdit::Remove(cookie.clone()), [100, 0]),
            json!([
                {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 100},
                {"op": "add", "path": "/spec/http/0/route/1/weight", "value": 0},
                {"op": "remove", "path": "/spec/http/0/route/1/headers"},
            ])
        );
        // A header of another client's stays.
        route[1]["headers"]["request"] = json!({"set": {"x": "1"}});
        let with = vs(json!({}), route);
        assert_eq!(
            tail(&with, CookieEdit::Remove(cookie), [90, 10]),
            json!([
                {"op": "add", "path": "/spec/http/0/route/1/headers", "value": {"request": {"set": {"x": "1"}}}},
            ])
        );
    }

    #[test]
    fn a_mirror_is_set_only_where_there_is_still_none() {
        let vs = vs(json!({}), two(json!(100), json!(0)));
        let canary = json!({"host": "reviews", "subset": "v2"});
        let share = crate::plan::Percent::whole(10);
        let mirrored = DesiredRoute {
            mirror: MirrorEdit::Set(canary.clone(), share),
            ..one(&vs, &[Some(100), Some(0)])
        };
        let patch = serde_json::to_value(shift(&vs, &only(mirrored), &[]).unwrap()).unwrap();
        assert_eq!(
            json!(patch.as_array().unwrap()[4..]),
            json!([
                {"op": "test", "path": "/spec/http/0/mirror", "value": null},
                {"op": "test", "path": "/spec/http/0/mirrorPercentage", "value": null},
                {"op": "add", "path": "/spec/http/0/mirror", "value": canary},
                {"op": "add", "path": "/spec/http/0/mirrorPercentage", "value": {"value": 10}},
            ])
        );
    }
}
