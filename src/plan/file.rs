//! The plan file: a rollout's options in YAML or JSON, versioned.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Options;
use super::file_kind::{API_VERSION, FileError, FileKind};

/// A rollout as written in a file for `-f`.
///
/// ```yaml
/// apiVersion: kubectl-canary.dev/v1
/// kind: Rollout
/// metadata: {name: reviews, namespace: shop}
/// spec:
///   steps: [1, 10, "50:pause", 100]
///   prometheus: istio-system/prometheus:9090
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanFile {
    /// `kubectl-canary.dev/v1`.
    #[schemars(extend("const" = "kubectl-canary.dev/v1"))]
    pub api_version: String,
    /// `Rollout`.
    #[schemars(extend("const" = "Rollout"))]
    pub kind: String,
    /// Which VirtualService the plan is for.
    #[serde(default)]
    pub metadata: Metadata,
    /// The options; each is also a flag, and flags win.
    #[serde(default)]
    pub spec: Options,
}

/// Name and namespace of the VirtualService.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The VirtualService's name; the one on the command line wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VirtualService's namespace; `--namespace` wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

impl PlanFile {
    /// A plan of this version for one VirtualService.
    pub fn of(name: &str, namespace: &str, spec: Options) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: FileKind::Plan.kind().to_owned(),
            metadata: Metadata {
                name: Some(name.to_owned()),
                namespace: Some(namespace.to_owned()),
            },
            spec,
        }
    }

    /// Reads a plan from YAML, of which JSON is a part.
    ///
    /// # Errors
    /// As [`FileKind::parse`].
    pub fn parse(text: &str) -> Result<Self, FileError> {
        FileKind::Plan.parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "
apiVersion: kubectl-canary.dev/v1
kind: Rollout
metadata: {name: reviews, namespace: shop}
spec:
  steps: [1, 10, '50:pause', 100]
  maxErrorRate: 2%
  routes: [primary]
  interval: 10s
";

    #[test]
    fn a_plan_file_is_read_whole() {
        let file = PlanFile::parse(PLAN).unwrap();
        assert_eq!(file.metadata.name.as_deref(), Some("reviews"));
        assert_eq!(file.spec.steps.unwrap().to_string(), "1,10,50:pause,100");
        assert_eq!(file.spec.max_error_rate.unwrap().to_string(), "2");
        assert_eq!(file.spec.route, ["primary"]);
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = PlanFile::parse(PLAN).unwrap();
        let flags = Options {
            steps: Some("5,100".parse().unwrap()),
            ..Options::default()
        };
        let merged = flags.or(file.spec);
        assert_eq!(merged.steps.unwrap().to_string(), "5,100");
        assert_eq!(merged.interval.unwrap().to_string(), "10s");
    }

    #[test]
    fn what_is_not_a_plan_of_this_version_is_refused_by_name() {
        for (text, expected) in [
            (
                PLAN.replace("dev/v1", "dev/v2"),
                "apiVersion \"kubectl-canary.dev/v2\" is not supported, this kubectl canary reads kubectl-canary.dev/v1",
            ),
            (
                PLAN.replace("kind: Rollout", "kind: Canary"),
                "kind \"Canary\" is not supported (try: kind: Rollout)",
            ),
            (PLAN.replace("interval", "intervall"), "intervall"),
            (PLAN.replace("10s", "soon"), "\"soon\" is not a duration"),
            ("{}".to_owned(), "apiVersion \"\" is not supported"),
            (String::new(), "it is empty (try: "),
            ("---\n# later\n".to_owned(), "it is empty"),
            (
                format!("{PLAN}---{PLAN}"),
                "it holds more than one document",
            ),
            (
                "{apiVersion: argoproj.io/v1alpha1, kind: Rollout, spec: {strategy: {}}}"
                    .to_owned(),
                "it is a Rollout of Argo, not a plan of kubectl canary",
            ),
            (
                "{apiVersion: flagger.app/v1beta1, kind: Canary}".to_owned(),
                "it is a Canary of Flagger, not a plan",
            ),
            (
                "{apiVersion: v1, kind: ConfigMap}".to_owned(),
                "it is a ConfigMap of v1, not a plan",
            ),
        ] {
            let error = PlanFile::parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
