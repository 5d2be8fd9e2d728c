//! What keeps a version's pods, where there is none of them.

use std::collections::BTreeMap;

use serde_json::Value;

/// A workload whose template makes pods of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmptyWorkload {
    /// Its kind, as kubectl has it.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The pods that it wants.
    pub replicas: u64,
}

impl EmptyWorkload {
    /// Reads it, if the pods that it makes carry these labels.
    pub fn of(
        kind: &'static str,
        object: &Value,
        labels: &BTreeMap<String, String>,
    ) -> Option<Self> {
        let own = object.pointer("/spec/template/metadata/labels")?;
        let carries = |(key, value): (&String, &String)| {
            own.get(key)?.as_str().filter(|own| own == value).map(drop)
        };
        labels
            .iter()
            .all(|label| carries(label).is_some())
            .then_some(())?;
        let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64);
        Some(Self {
            kind,
            name: object.pointer("/metadata/name")?.as_str()?.to_owned(),
            replicas: replicas.unwrap_or(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_makes_pods_with_the_labels_is_one() {
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let object = json!({
            "metadata": {"name": "reviews-v2"},
            "spec": {"replicas": 0, "template": {"metadata": {"labels": {"app": "reviews", "version": "v2"}}}},
        });
        let found = EmptyWorkload::of("deployment", &object, &labels(&[("version", "v2")]));
        let expected = EmptyWorkload {
            kind: "deployment",
            name: "reviews-v2".into(),
            replicas: 0,
        };
        assert_eq!(found, Some(expected));
        for other in [[("version", "v1")], [("track", "v2")]] {
            assert_eq!(
                EmptyWorkload::of("deployment", &object, &labels(&other)),
                None
            );
        }
    }
}
