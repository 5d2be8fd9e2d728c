//! The Role that is missing where something may not be read.

/// The Role that is missing, in words.
pub(super) fn role(namespace: &str, verbs: &[&str], resource: &str) -> String {
    format!(
        "a Role in namespace {namespace} with {} on {resource}",
        listed(verbs)
    )
}

/// One rule of a Role, in YAML.
pub(super) fn role_rule(group: &str, resource: &str, verbs: &[&str]) -> String {
    format!(
        "- apiGroups: [\"{group}\"]\n  resources: [\"{resource}\"]\n  verbs: [{}]",
        verbs.join(", ")
    )
}

/// `get, create and update`, as people list them.
pub(super) fn listed(verbs: &[&str]) -> String {
    match verbs.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
