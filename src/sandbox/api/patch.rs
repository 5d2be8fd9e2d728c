//! JSON Patch and merge patch, with the semantics of the API server rather than those of RFC 6902.
//!
//! The API server uses the fourth version of Go's json-patch, and differs from the RFC where it
//! matters to a client that guards its writes: `test` with `null` succeeds on a member that does not
//! exist (but not where its parent is missing too), `replace` of a member that does not exist adds
//! it, and array indices may count from the end.

use serde_json::{Map, Value};

use super::status::ApiStatus;

/// A patch of either form, read but not yet applied.
pub(crate) enum ObjectPatch {
    Operations(JsonPatch),
    Merge(Value),
}

impl ObjectPatch {
    /// Reads a patch of this media type.
    pub(crate) fn read(content_type: &str, body: &[u8]) -> Result<Self, ApiStatus> {
        let media = content_type.split(';').next().unwrap_or_default();
        match media.trim() {
            "application/json-patch+json" => JsonPatch::parse(body).map(Self::Operations),
            "application/merge-patch+json" => serde_json::from_slice(body)
                .map(Self::Merge)
                .map_err(|error| Malformed(error.to_string())),
            _ => return Err(ApiStatus::unsupported_media()),
        }
        .map_err(|Malformed(why)| ApiStatus::bad_request(format!("error decoding patch: {why}")))
    }

    /// What the patch makes of this object.
    pub(crate) fn apply(&self, live: &Value) -> Result<Value, ApiStatus> {
        match self {
            Self::Operations(patch) => patch
                .apply(live)
                .map_err(|DoesNotApply| ApiStatus::patch_does_not_apply()),
            Self::Merge(patch) => {
                let mut wanted = live.clone();
                merge(&mut wanted, patch);
                Ok(wanted)
            }
        }
    }
}

/// The patch is not a list of operations; the API server answers 400.
#[derive(Debug, PartialEq)]
struct Malformed(String);

/// The patch does not apply to this object; the API server answers 422.
#[derive(Debug, PartialEq)]
struct DoesNotApply;

/// A patch that was read, not yet applied.
#[derive(Debug)]
pub(crate) struct JsonPatch(Vec<Map<String, Value>>);

impl JsonPatch {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| Malformed(error.to_string()))
    }

    /// Applies every operation, or none.
    fn apply(&self, document: &Value) -> Result<Value, DoesNotApply> {
        let mut document = document.clone();
        for operation in &self.0 {
            apply_one(&mut document, operation)?;
        }
        Ok(document)
    }
}

fn apply_one(document: &mut Value, operation: &Map<String, Value>) -> Result<(), DoesNotApply> {
    let text = |field: &str| {
        operation
            .get(field)
            .and_then(Value::as_str)
            .ok_or(DoesNotApply)
    };
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    let path = text("path")?;
    match text("op")? {
        "add" => add(document, path, value()),
        "remove" => remove(document, path).map(drop),
        "replace" => replace(document, path, value()),
        "move" => {
            let moved = remove(document, text("from")?)?;
            add(document, path, moved)
        }
        "copy" => {
            let copied = find(document, text("from")?)?;
            let copied = copied.cloned().unwrap_or(Value::Null);
            add(document, path, copied)
        }
        "test" if path.is_empty() => (*document == value()).then_some(()).ok_or(DoesNotApply),
        "test" => {
            let found = find(document, path)?.unwrap_or(&Value::Null);
            (*found == value()).then_some(()).ok_or(DoesNotApply)
        }
        _ => Err(DoesNotApply),
    }
}

/// The pointer's parent steps and its last step, unescaped. A pointer without a slash has no parent.
fn split(path: &str) -> Result<(Vec<String>, String), DoesNotApply> {
    let mut steps: Vec<String> = path
        .split('/')
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    if steps.len() < 2 {
        return Err(DoesNotApply);
    }
    let last = steps.pop().ok_or(DoesNotApply)?;
    steps.remove(0);
    Ok((steps, last))
}

fn index(step: &str, length: usize) -> Result<usize, DoesNotApply> {
    let number: i64 = step.parse().map_err(|_| DoesNotApply)?;
    let length = i64::try_from(length).map_err(|_| DoesNotApply)?;
    let number = if number < 0 { number + length } else { number };
    usize::try_from(number).map_err(|_| DoesNotApply)
}

/// The container of the pointer's last step. Every step to it must exist and not be null.
fn parent<'a>(
    document: &'a mut Value,
    path: &str,
) -> Result<(&'a mut Value, String), DoesNotApply> {
    let (steps, last) = split(path)?;
    let mut at = document;
    for step in steps {
        at = match at {
            Value::Object(members) => members.get_mut(&step),
            Value::Array(items) => {
                let index = index(&step, items.len())?;
                items.get_mut(index)
            }
            _ => None,
        }
        .filter(|next| next.is_object() || next.is_array())
        .ok_or(DoesNotApply)?;
    }
    Ok((at, last))
}

/// What the pointer points at: a missing member is `None`, a missing parent or item is an error.
fn find<'a>(document: &'a mut Value, path: &str) -> Result<Option<&'a Value>, DoesNotApply> {
    let (container, last) = parent(document, path)?;
    match container {
        Value::Object(members) => Ok(members.get(&last)),
        Value::Array(items) => {
            let index = index(&last, items.len())?;
            items.get(index).map(Some).ok_or(DoesNotApply)
        }
        _ => Err(DoesNotApply),
    }
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), DoesNotApply> {
    let (container, last) = parent(document, path)?;
    match container {
        Value::Object(members) => {
            members.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let index = index(&last, items.len() + 1)?;
            if index > items.len() {
                return Err(DoesNotApply);
            }
            items.insert(index, value);
        }
        _ => return Err(DoesNotApply),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, DoesNotApply> {
    let (container, last) = parent(document, path)?;
    match container {
        Value::Object(members) => members.remove(&last).ok_or(DoesNotApply),
        Value::Array(items) => {
            let index = index(&last, items.len())?;
            (index < items.len())
                .then(|| items.remove(index))
                .ok_or(DoesNotApply)
        }
        _ => Err(DoesNotApply),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), DoesNotApply> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (container, last) = parent(document, path)?;
    match container {
        Value::Object(members) => {
            members.insert(last, value);
        }
        Value::Array(items) => {
            let index = index(&last, items.len())?;
            *items.get_mut(index).ok_or(DoesNotApply)? = value;
        }
        _ => return Err(DoesNotApply),
    }
    Ok(())
}

/// RFC 7396: members of the patch replace those of the document, `null` removes.
fn merge(document: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Value::Object(members) = document else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(document: &Value, patch: Value) -> Result<Value, DoesNotApply> {
        JsonPatch::parse(patch.to_string().as_bytes())
            .unwrap()
            .apply(document)
    }

    fn applies(document: &Value, patch: Value) -> bool {
        patched(document, patch).is_ok()
    }

    #[test]
    fn a_test_for_null_holds_where_the_member_is_missing_but_not_where_its_parent_is() {
        let bare = json!({"metadata": {}});
        let annotated = json!({"metadata": {"annotations": {}}});
        let test =
            json!([{"op": "test", "path": "/metadata/annotations/example.com~1x", "value": null}]);
        assert!(applies(&annotated, test.clone()));
        assert!(!applies(&bare, test));
        assert!(applies(
            &bare,
            json!([{"op": "test", "path": "/metadata/annotations", "value": null}])
        ));
    }

    #[test]
    fn a_test_compares_whole_values_and_the_text_of_numbers() {
        let document = json!({"a": {"weight": 1, "host": "x"}});
        assert!(applies(
            &document,
            json!([{"op": "test", "path": "/a", "value": {"host": "x", "weight": 1}}])
        ));
        assert!(!applies(
            &document,
            json!([{"op": "test", "path": "/a/weight", "value": 1.0}])
        ));
        assert!(!applies(
            &document,
            json!([{"op": "test", "path": "/a", "value": {"host": "x"}}])
        ));
        assert!(!applies(
            &document,
            json!([{"op": "test", "path": "/b/c", "value": 1}])
        ));
    }

    #[test]
    fn add_needs_a_parent_and_replace_of_a_missing_member_adds_it() {
        let document = json!({"a": {}});
        assert!(!applies(
            &document,
            json!([{"op": "add", "path": "/b/c", "value": 1}])
        ));
        assert_eq!(
            patched(
                &document,
                json!([{"op": "replace", "path": "/a/c", "value": 1}])
            ),
            Ok(json!({"a": {"c": 1}}))
        );
    }

    #[test]
    fn a_patch_applies_whole_or_not_at_all() {
        let document = json!({"list": [1, 2, 3]});
        let patch = json!([
            {"op": "remove", "path": "/list/0"},
            {"op": "add", "path": "/list/-", "value": 4},
            {"op": "replace", "path": "/list/-1", "value": 5},
            {"op": "copy", "from": "/list/0", "path": "/first"},
            {"op": "move", "from": "/list/1", "path": "/list/0"},
        ]);
        assert_eq!(
            patched(&document, patch),
            Ok(json!({"list": [3, 2, 5], "first": 2}))
        );
        assert!(!applies(
            &document,
            json!([{"op": "remove", "path": "/list/0"}, {"op": "remove", "path": "/none"}])
        ));
        assert!(!applies(
            &document,
            json!([{"op": "add", "path": "/list/9", "value": 1}])
        ));
        assert!(!applies(&document, json!([{"op": "shout", "path": "/a"}])));
    }

    #[test]
    fn merge_replaces_lists_and_removes_nulls() {
        let mut document = json!({"a": {"b": [1, 2], "c": 1}, "d": 1});
        merge(
            &mut document,
            &json!({"a": {"b": [3], "c": null}, "e": {"f": 1, "g": null}}),
        );
        assert_eq!(document, json!({"a": {"b": [3]}, "d": 1, "e": {"f": 1}}));
    }
}
