//! `metadata.managedFields`: who wrote which field, kept as the API server keeps it for updates.
//!
//! Every list is treated as one value, which is exact for custom resources without list markers
//! (a VirtualService) and coarser than the real thing for Pods and Deployments.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Whose write it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author<'a> {
    pub manager: &'a str,
    pub api_version: &'a str,
    pub subresource: Option<&'a str>,
    /// RFC 3339, whole seconds, as the API server writes it.
    pub time: &'a str,
}

/// A path of member names; the empty last step stands for the map itself.
type Path = Vec<String>;

/// Metadata that the server owns or that only names the object; it has no manager.
const UNMANAGED: [&str; 8] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "managedFields",
];

/// Writes the managed fields of `new` after `author` made it out of `old`.
pub(crate) fn record(old: Option<&Value>, new: &mut Value, author: Author<'_>) {
    let before = old.map(fields).unwrap_or_default();
    let after = fields(new);
    let taken: BTreeSet<Path> = after
        .iter()
        .filter(|path| {
            !before.contains(*path) || old.map(|old| at(old, path)) != Some(at(new, path))
        })
        .filter(|path| !before.contains(*path) || path.last().is_some_and(|step| !step.is_empty()))
        .cloned()
        .collect();

    let entries = old
        .and_then(|old| old["metadata"]["managedFields"].as_array().cloned())
        .unwrap_or_default();
    let mut kept = Vec::new();
    let mut own = taken.clone();
    for entry in entries {
        let mine = is_by(&entry, author);
        let mut paths = decode(&entry["fieldsV1"]);
        paths.retain(|path| after.contains(path) && (mine || !taken.contains(path)));
        if mine && !taken.is_empty() {
            own.extend(paths);
        } else if !paths.is_empty() {
            let mut entry = entry;
            entry["fieldsV1"] = encode(&paths);
            kept.push(entry);
        }
    }
    if !taken.is_empty() {
        let mut entry = json!({
            "manager": author.manager,
            "operation": "Update",
            "apiVersion": author.api_version,
            "time": author.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": encode(&own),
        });
        if let Some(subresource) = author.subresource {
            entry["subresource"] = json!(subresource);
        }
        kept.push(entry);
    }
    kept.sort_by_key(|entry| {
        (
            entry["operation"].to_string(),
            entry["time"].to_string(),
            entry["manager"].to_string(),
        )
    });
    new["metadata"]["managedFields"] = Value::Array(kept);
}

fn is_by(entry: &Value, author: Author<'_>) -> bool {
    entry["manager"] == author.manager
        && entry["operation"] == "Update"
        && entry["apiVersion"] == author.api_version
        && entry["subresource"].as_str() == author.subresource
}

/// The paths of everything in the object that can have a manager.
fn fields(object: &Value) -> BTreeSet<Path> {
    let mut paths = BTreeSet::new();
    let Value::Object(members) = object else {
        return paths;
    };
    for (name, value) in members {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                let Value::Object(metadata) = value else {
                    continue;
                };
                for (name, value) in metadata {
                    if !UNMANAGED.contains(&name.as_str()) {
                        collect(vec!["metadata".to_owned(), name.clone()], value, &mut paths);
                    }
                }
            }
            _ => collect(vec![name.clone()], value, &mut paths),
        }
    }
    paths
}

fn collect(path: Path, value: &Value, paths: &mut BTreeSet<Path>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let mut itself = path.clone();
            itself.push(String::new());
            paths.insert(itself);
            for (name, value) in members {
                let mut below = path.clone();
                below.push(name.clone());
                collect(below, value, paths);
            }
        }
        _ => {
            paths.insert(path);
        }
    }
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter()
        .filter(|step| !step.is_empty())
        .try_fold(object, |value, step| value.get(step))
}

fn encode(paths: &BTreeSet<Path>) -> Value {
    let mut root = Map::new();
    for path in paths {
        let mut node = &mut root;
        for step in path {
            let key = if step.is_empty() {
                ".".to_owned()
            } else {
                format!("f:{step}")
            };
            let below = node.entry(key).or_insert_with(|| json!({}));
            match below {
                Value::Object(members) => node = members,
                _ => break,
            }
        }
    }
    Value::Object(root)
}

fn decode(fields: &Value) -> BTreeSet<Path> {
    fn walk(path: &Path, node: &Value, paths: &mut BTreeSet<Path>) {
        let members = node.as_object().filter(|members| !members.is_empty());
        let Some(members) = members else {
            if !path.is_empty() {
                paths.insert(path.clone());
            }
            return;
        };
        for (name, below) in members {
            let mut path = path.clone();
            path.push(name.strip_prefix("f:").unwrap_or_default().to_owned());
            walk(&path, below, paths);
        }
    }
    let mut paths = BTreeSet::new();
    walk(&Vec::new(), fields, &mut paths);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by<'a>(manager: &'a str, time: &'a str) -> Author<'a> {
        Author {
            manager,
            api_version: "networking.istio.io/v1",
            subresource: None,
            time,
        }
    }

    #[test]
    fn a_list_belongs_whole_to_who_changed_it_last() {
        let mut old =
            json!({"metadata": {"name": "x"}, "spec": {"hosts": ["a"], "http": [{"weight": 1}]}});
        record(None, &mut old, by("kubectl", "2026-01-01T00:00:00Z"));
        let mut new = old.clone();
        new["spec"]["http"][0]["weight"] = json!(2);
        new["metadata"]["annotations"] = json!({"a/b": "c"});
        record(Some(&old), &mut new, by("canary", "2026-01-01T00:00:01Z"));
        let entries = new["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            entries[0]["fieldsV1"],
            json!({"f:spec": {".": {}, "f:hosts": {}}})
        );
        assert_eq!(
            entries[1]["fieldsV1"],
            json!({"f:metadata": {"f:annotations": {".": {}, "f:a/b": {}}}, "f:spec": {"f:http": {}}})
        );
        assert_eq!(entries[1]["time"], "2026-01-01T00:00:01Z");
    }

    #[test]
    fn a_removed_field_belongs_to_nobody() {
        let mut old = json!({"metadata": {"annotations": {"a": "1"}}, "spec": {"x": 1}});
        record(None, &mut old, by("one", "2026-01-01T00:00:00Z"));
        let mut new = old.clone();
        new["metadata"]["annotations"]
            .as_object_mut()
            .unwrap()
            .remove("a");
        new["spec"]["x"] = json!(2);
        record(Some(&old), &mut new, by("two", "2026-01-01T00:00:01Z"));
        assert!(
            !new["metadata"]["managedFields"]
                .to_string()
                .contains("f:a\"")
        );
    }
}
