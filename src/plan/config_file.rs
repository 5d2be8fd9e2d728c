//! A user's own file: for each kubeconfig context where Prometheus is, how to log in there, and what a rollout
//! does unless it is told otherwise.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Options;
use super::file_kind::{FileError, FileKind};

/// Defaults by context. Flags, the environment and a plan file win over them.
///
/// ```yaml
/// apiVersion: kubectl-canary.dev/v1
/// kind: Config
/// contexts:
///   - name: prod-*
///     spec: {prometheus: "https://prometheus.example.com", queryScope: [cluster=prod]}
///     login: {tokenCommand: gcloud auth print-access-token}
///   - name: "*"
///     spec: {preset: quick}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigFile {
    /// `kubectl-canary.dev/v1`.
    #[schemars(extend("const" = "kubectl-canary.dev/v1"))]
    pub api_version: String,
    /// `Config`.
    #[schemars(extend("const" = "Config"))]
    pub kind: String,
    /// The contexts; the first whose name fits is the one.
    #[serde(default)]
    pub contexts: Vec<ContextDefaults>,
}

/// What holds in a context.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContextDefaults {
    /// The context's name in the kubeconfig; `*` stands for any text.
    pub name: String,
    /// Options as in the `spec` of a plan file.
    #[serde(default)]
    pub spec: Options,
    /// How to log in at the Prometheus of `spec`, and at no other.
    #[serde(default)]
    pub login: LoginSettings,
}

/// A login at Prometheus; each field is a flag `--prometheus-...` of its name. Paths are relative to the file.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoginSettings {
    /// A file in the schema of promtool's `--http.config.file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Headers, such as `X-Scope-OrgID: shop`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Parameters, such as `namespace=shop`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<String>,
    /// A file with a bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// A command that prints a bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_command: Option<String>,
    /// Whether to send the cluster's own token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cluster: bool,
    /// The certificate authority, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl std::fmt::Debug for LoginSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A header's value and a command's arguments may be secrets.
        f.debug_list().entries(self.names()).finish()
    }
}

impl LoginSettings {
    /// The names of the fields that say something; their values may be secrets.
    pub fn names(&self) -> Vec<&'static str> {
        [
            ("config", self.config.is_some()),
            ("headers", !self.headers.is_empty()),
            ("params", !self.params.is_empty()),
            ("tokenFile", self.token_file.is_some()),
            ("tokenCommand", self.token_command.is_some()),
            ("cluster", self.cluster),
            ("ca", self.ca.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_set)| is_set.then_some(name))
        .collect()
    }
}

impl ConfigFile {
    /// Reads it from YAML, of which JSON is a part.
    ///
    /// # Errors
    /// As [`FileKind::parse`]; and where a default could only be true of one rollout.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let file: Self = FileKind::Config.parse(text)?;
        for ContextDefaults { spec, .. } in &file.contexts {
            let of_one = [
                ("stable", spec.stable.is_some()),
                ("canary", spec.canary.is_some()),
                ("routes", !spec.route.is_empty()),
                ("also", !spec.also.is_empty()),
                ("match", spec.testers.is_some()),
                ("unanalyzed", spec.unanalyzed),
                ("ignoreOwner", spec.ignore_owner.is_some()),
            ];
            if let Some((field, _)) = of_one.into_iter().find(|(_, is_set)| *is_set) {
                return Err(FileError::OfOneRollout { field });
            }
        }
        Ok(file)
    }

    /// What holds in the context called `name`.
    pub fn of_context(&self, name: &str) -> Option<&ContextDefaults> {
        let mut contexts = self.contexts.iter();
        contexts.find(|context| fits(&context.name, name))
    }
}

/// Whether a name is the pattern, of which each `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(name) = name.strip_prefix(start) else {
        return false;
    };
    let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
    let mut rests = ends.map(|at| &name[at..]);
    rests.any(|name| fits(rest, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubectl-canary.dev/v1\nkind: Config\n";

    #[test]
    fn the_first_context_that_fits_is_the_one() {
        let file = ConfigFile::parse(&format!(
            "{HEAD}contexts:\n- {{name: prod-*, spec: {{preset: careful}}}}\n- {{name: '*', spec: {{preset: quick}}, login: {{tokenCommand: secret s3cr3t, headers: ['A: s3cr3t']}}}}\n"
        ))
        .unwrap();
        let of = |name: &str| file.of_context(name).unwrap().name.as_str();
        assert_eq!(
            (of("prod-eu"), of("kind-dev"), of("")),
            ("prod-*", "*", "*")
        );
        let shown = format!("{file:?}");
        assert!(
            shown.contains("tokenCommand") && !shown.contains("s3cr3t"),
            "{shown}"
        );
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, is_it) in [
            ("prod", "prod", true),
            ("prod", "prod-eu", false),
            ("prod*", "prod", true),
            ("*eu", "prod-eu", true),
            ("*eu", "eu-prod", false),
            ("gke_*_prod-*", "gke_shop_europe_prod-1", true),
            ("gke_*_prod-*", "gke_shop_europe_test-1", false),
            ("\u{e9}*", "\u{e9}\u{e9}", true),
        ] {
            assert_eq!(fits(pattern, name), is_it, "{pattern} {name}");
        }
    }

    #[test]
    fn what_cannot_be_a_default_is_refused() {
        for (text, why) in [
            (
                "contexts: [{name: a, spec: {canary: v2}}]",
                "canary is of one rollout (try: a plan file for -f)",
            ),
            (
                "contexts: [{name: a, preset: quick}]",
                "(try: kubectl canary schema config-file, which lists the allowed fields)",
            ),
            ("contexts: [{spec: {}}]", "name"),
        ] {
            let error = ConfigFile::parse(&format!("{HEAD}{text}"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{error}");
        }
        let plan = "apiVersion: kubectl-canary.dev/v1\nkind: Rollout\n";
        let error = ConfigFile::parse(plan).unwrap_err().to_string();
        assert_eq!(
            error,
            "kind \"Rollout\" is not supported (try: kind: Config)"
        );
    }
}
