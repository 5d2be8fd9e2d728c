//! Tables, the form in which kubectl asks for what it prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::ResourceKind;

/// One column: its name, its type for kubectl, and what stands in it.
type Column = (&'static str, &'static str, fn(&Value, Timestamp) -> Value);

/// Turns objects into the `Table` the API server would send.
pub(crate) fn of<'a>(
    kind: &ResourceKind,
    objects: impl Iterator<Item = &'a Value>,
    revision: u64,
    now: Timestamp,
) -> Value {
    let columns = columns(kind);
    let definitions: Vec<Value> = columns
        .iter()
        .map(|(name, form, _)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": form, "format": format, "description": "", "priority": 0})
        })
        .collect();
    let rows: Vec<Value> = objects
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|(.., cell)| cell(object, now)).collect();
            json!({"cells": cells, "object": {
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            }})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": revision.to_string()},
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn columns(kind: &ResourceKind) -> Vec<Column> {
    let own: &[Column] = match kind.plural {
        "virtualservices" => &[
            ("Gateways", "string", |vs, _| list(&vs["spec"]["gateways"])),
            ("Hosts", "string", |vs, _| list(&vs["spec"]["hosts"])),
        ],
        "destinationrules" => &[("Host", "string", |rule, _| rule["spec"]["host"].clone())],
        "pods" => &[
            ("Ready", "string", ready),
            ("Status", "string", phase),
            ("Restarts", "integer", restarts),
        ],
        "deployments" => &[
            ("Ready", "string", |deployment, _| {
                let status = &deployment["status"];
                let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
                json!(format!("{}/{wanted}", number(&status["readyReplicas"])))
            }),
            ("Up-to-date", "integer", |deployment, _| {
                json!(number(&deployment["status"]["updatedReplicas"]))
            }),
            ("Available", "integer", |deployment, _| {
                json!(number(&deployment["status"]["availableReplicas"]))
            }),
        ],
        "leases" => &[("Holder", "string", |lease, _| {
            lease["spec"]["holderIdentity"].clone()
        })],
        "events" => &[
            ("Type", "string", |event, _| event["type"].clone()),
            ("Reason", "string", |event, _| event["reason"].clone()),
            ("Object", "string", |event, _| {
                let regarding = &event["regarding"];
                let text = |field: &str| regarding[field].as_str().unwrap_or_default().to_owned();
                json!(format!("{}/{}", text("kind").to_lowercase(), text("name")))
            }),
            ("Message", "string", |event, _| event["note"].clone()),
        ],
        _ => &[],
    };
    let mut columns: Vec<Column> = vec![("Name", "string", |object, _| {
        object["metadata"]["name"].clone()
    })];
    columns.extend_from_slice(own);
    columns.push(("Age", "date", age));
    columns
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn list(value: &Value) -> Value {
    if value.is_null() {
        Value::Null
    } else {
        json!(value.to_string())
    }
}

fn containers(pod: &Value) -> &[Value] {
    pod["status"]["containerStatuses"]
        .as_array()
        .map_or(&[], Vec::as_slice)
}

fn ready(pod: &Value, _: Timestamp) -> Value {
    let all = containers(pod);
    let ready = all.iter().filter(|one| one["ready"] == true).count();
    json!(format!("{ready}/{}", all.len()))
}

fn phase(pod: &Value, _: Timestamp) -> Value {
    let waiting = containers(pod)
        .iter()
        .find_map(|one| one["state"]["waiting"]["reason"].as_str());
    waiting.map_or_else(|| pod["status"]["phase"].clone(), |reason| json!(reason))
}

fn restarts(pod: &Value, _: Timestamp) -> Value {
    let restarts = containers(pod)
        .iter()
        .map(|one| number(&one["restartCount"]));
    json!(restarts.sum::<i64>())
}

/// The age as kubectl writes it: `45s`, `3m20s`, `25m`, `5h3m`, `2d`.
fn age(object: &Value, now: Timestamp) -> Value {
    let born: Option<Timestamp> = object["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let Some(born) = born else {
        return json!("<unknown>");
    };
    let seconds = now.duration_since(born).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, unit: &str, small: i64, part: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{part}")
        }
    };
    json!(match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_service_has_the_columns_of_its_definition() {
        let object = json!({
            "metadata": {"name": "reviews", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"hosts": ["reviews", "shop.example.com"]},
        });
        let kind = ResourceKind::by_plural("virtualservices").unwrap();
        let now = "2026-01-01T00:03:20Z".parse().unwrap();
        let table = of(kind, [object].iter(), 7, now);
        assert_eq!(
            table["rows"][0]["cells"],
            json!([
                "reviews",
                null,
                "[\"reviews\",\"shop.example.com\"]",
                "3m20s"
            ])
        );
        assert_eq!(table["columnDefinitions"][1]["name"], "Gateways");
    }
}
