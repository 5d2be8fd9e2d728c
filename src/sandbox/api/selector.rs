//! Label and field selectors of list and watch.

use serde_json::Value;

use super::kinds::ResourceKind;

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObjectSelector {
    labels: Vec<Requirement>,
    fields: Vec<(Vec<String>, String, bool)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl ObjectSelector {
    /// Reads both selectors; the error is what the API server would say.
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, String> {
        let labels = split_outside_parentheses(labels)
            .into_iter()
            .map(|part| {
                requirement(part).ok_or_else(|| format!("unable to parse requirement: {part}"))
            })
            .collect::<Result<_, _>>()?;
        let fields = fields
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                    (path, value, false)
                } else if let Some((path, value)) = part.split_once("==") {
                    (path, value, true)
                } else if let Some((path, value)) = part.split_once('=') {
                    (path, value, true)
                } else {
                    return Err(format!(
                        "invalid selector: '{part}'; can't understand '{part}'"
                    ));
                };
                Ok((
                    path.split('.').map(str::to_owned).collect(),
                    value.to_owned(),
                    equal,
                ))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// The selector of a map of labels that must all be there.
    pub(crate) fn of_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Self {
        let labels = labels
            .into_iter()
            .map(|(name, value)| {
                Requirement::In(
                    name.clone(),
                    vec![value.as_str().unwrap_or_default().to_owned()],
                )
            })
            .collect();
        Self {
            labels,
            fields: Vec::new(),
        }
    }

    /// The same selector, if the kind can be selected by its fields.
    pub(crate) fn checked(self, kind: &ResourceKind) -> Result<Self, String> {
        let more: &[&str] = match kind.plural {
            "pods" => &["status.phase", "spec.nodeName", "status.podIP"],
            "events" => &["reason", "type", "regarding.kind", "regarding.name"],
            _ => &[],
        };
        for (path, ..) in &self.fields {
            let field = path.join(".");
            if !["metadata.name", "metadata.namespace"].contains(&field.as_str())
                && !more.contains(&field.as_str())
            {
                return Err(format!("field label not supported: {field}"));
            }
        }
        Ok(self)
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let label = |name: &str| object["metadata"]["labels"][name].as_str();
        let labels = self.labels.iter().all(|requirement| match requirement {
            Requirement::In(name, values) => {
                label(name).is_some_and(|is| values.iter().any(|value| value == is))
            }
            Requirement::NotIn(name, values) => {
                !label(name).is_some_and(|is| values.iter().any(|value| value == is))
            }
            Requirement::Exists(name) => label(name).is_some(),
            Requirement::Missing(name) => label(name).is_none(),
        });
        labels
            && self.fields.iter().all(|(path, wanted, equal)| {
                let value = path.iter().fold(object, |value, step| &value[step]);
                (value.as_str().unwrap_or_default() == wanted) == *equal
            })
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let set = |text: &str| -> Option<Vec<String>> {
        let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(
            inner
                .split(',')
                .map(|value| value.trim().to_owned())
                .collect(),
        )
    };
    if let Some((name, values)) = part.split_once(" notin ") {
        return Some(Requirement::NotIn(name.trim().to_owned(), set(values)?));
    }
    if let Some((name, values)) = part.split_once(" in ") {
        return Some(Requirement::In(name.trim().to_owned(), set(values)?));
    }
    if let Some((name, value)) = part.split_once("!=") {
        return Some(Requirement::NotIn(
            name.trim().to_owned(),
            vec![value.trim().to_owned()],
        ));
    }
    if let Some((name, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Some(Requirement::In(
            name.trim().to_owned(),
            vec![value.trim().to_owned()],
        ));
    }
    if part.contains([' ', '(', ')']) {
        return None;
    }
    match part.strip_prefix('!') {
        Some(name) => Some(Requirement::Missing(name.trim().to_owned())),
        None => Some(Requirement::Exists(part.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_choose_by_labels_and_fields() {
        let pod = json!({"metadata": {"name": "a", "labels": {"app": "reviews", "version": "v2"}}, "status": {"phase": "Running"}});
        let table = [
            ("app=reviews", "", true),
            ("app==reviews,version!=v1", "", true),
            ("version in (v1, v2),!canary", "", true),
            ("version notin (v2)", "", false),
            ("canary", "", false),
            ("", "metadata.name=a,status.phase!=Failed", true),
            ("", "metadata.name=b", false),
        ];
        for (labels, fields, wanted) in table {
            let selector = ObjectSelector::parse(labels, fields).unwrap();
            assert_eq!(selector.matches(&pod), wanted, "{labels} {fields}");
        }
        assert!(ObjectSelector::parse("a b c", "").is_err());
        let services = ResourceKind::by_plural("services").unwrap();
        let by_phase = ObjectSelector::parse("", "status.phase=Running").unwrap();
        assert!(by_phase.checked(services).is_err());
    }
}
