//! The one guarded JSON Patch that moves weights and state together.
//!
//! Its `test` operations are the fence: uid, route identity, the weights and the state it believes
//! in. If any of them is different on the server, nothing at all is written (HTTP 422).

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation};
use serde_json::{Value, json};

use super::{RouteRef, VirtualService, Weights};

/// The most operations the API server accepts in one JSON Patch.
const MAX_OPERATIONS: usize = 10_000;

/// What becomes of one annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnotationEdit {
    /// It gets this value.
    Set(String),
    /// It goes away.
    Remove,
}

/// The annotations that move in the same patch as the weights.
pub type Annotations<'a> = &'a [(&'static str, AnnotationEdit)];

/// More routes than one request can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the change needs {0} operations, and the API server takes {MAX_OPERATIONS} in one request (try: --route to shift fewer routes)"
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

/// The patch that takes `vs` from exactly what it is to the new weights and annotations.
///
/// Routes whose weights do not change are still tested, since the state that is written speaks of them.
///
/// # Errors
/// If the change does not fit into one request.
pub fn shift(
    vs: &VirtualService,
    routes: &[(RouteRef, Weights)],
    annotations: Annotations<'_>,
) -> Result<Patch, TooLarge> {
    let mut tests = vec![test("/metadata/uid".into(), vs.uid().into())];
    let mut changes = Vec::new();
    for (at, weights) in routes {
        let rule = vs.raw().pointer(&at.pointer()).unwrap_or(&Value::Null);
        for key in ["name", "match"] {
            if let Some(value) = rule.get(key) {
                tests.push(test(format!("{}/{key}", at.pointer()), value.clone()));
            }
        }
        let targets = rule.get("route").and_then(Value::as_array);
        tests.push(test(format!("{}/route", at.pointer()), json!(targets)));
        for (position, weight) in weights.iter().enumerate() {
            let path = format!("{}/route/{position}/weight", at.pointer());
            let present = targets.and_then(|targets| targets.get(position)?.get("weight"));
            match (present, weight) {
                (Some(present), Some(weight)) if present.as_i64() == Some(*weight) => {}
                (_, Some(weight)) => changes.push(add(path, json!(weight))),
                (Some(_), None) => changes.push(remove(path)),
                (None, None) => {}
            }
        }
    }
    annotate(vs, annotations, &mut tests, &mut changes);
    let operations = tests.len() + changes.len();
    if operations > MAX_OPERATIONS {
        return Err(TooLarge(operations));
    }
    tests.append(&mut changes);
    Ok(Patch(tests))
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
        // The API server takes `test` against null as "is absent", so a map that somebody adds
        // meanwhile is not written over.
        tests.push(test(MAP.into(), Value::Null));
        changes.push(add(MAP.into(), json!({})));
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
            AnnotationEdit::Remove => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn patch(vs: &VirtualService, weights: Weights, annotations: Annotations<'_>) -> Value {
        let at = vs.routes()[0].at;
        serde_json::to_value(shift(vs, &[(at, weights)], annotations).unwrap()).unwrap()
    }

    #[test]
    fn the_patch_tests_what_it_believes_and_then_writes_weights_and_state() {
        let vs = vs(
            json!({"annotations": {"a/b": "old"}}),
            two(json!(100), json!(0)),
        );
        let written = patch(
            &vs,
            vec![Some(99), Some(1)],
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
            vec![Some(100), Some(0)],
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
        let written = patch(&vs, vec![Some(100), None], &[]);
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
        let at = vs.routes()[0].at;
        let many = vec![(at, vec![Some(99), Some(1)]); 2001];
        assert!(
            shift(&vs, &many, &[])
                .unwrap_err()
                .to_string()
                .contains("--route to shift fewer routes")
        );
    }
}
