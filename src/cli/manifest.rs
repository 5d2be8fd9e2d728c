//! Objects on stdout, for `kubectl apply -f -`.

use std::io::Write;

use serde_json::Value;

use crate::report::{Format, PrintError, to_json, to_yaml};

/// Prints a List of objects: as JSON whole, as YAML one document each, or their names.
///
/// # Errors
/// If the writer fails, or an object has no form in the format.
pub(super) fn print_objects(
    out: &mut dyn Write,
    list: &Value,
    format: Option<Format>,
) -> Result<(), PrintError> {
    let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
    match format {
        Some(Format::Json) => writeln!(out, "{}", to_json(list)?)?,
        Some(Format::Name) => {
            for item in items {
                writeln!(out, "{}", name_of(item))?;
            }
        }
        Some(_) | None => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    writeln!(out, "---")?;
                }
                writeln!(out, "{}", to_yaml(item)?)?;
            }
        }
    }
    Ok(())
}

/// `role.rbac.authorization.k8s.io/kubectl-canary`.
fn name_of(item: &Value) -> String {
    let text = |path| {
        item.pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let kind = text("/kind").to_lowercase();
    let name = text("/metadata/name");
    match text("/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_has_its_group_if_there_is_one() {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "a"}});
        assert_eq!(name_of(&role), "role.rbac.authorization.k8s.io/a");
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}});
        assert_eq!(name_of(&account), "serviceaccount/a");
    }
}
