//! The plan file: a rollout's options in YAML or JSON, versioned.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Options;
use crate::foreign_text::foreign_text;

const GROUP: &str = "kubectl-canary.dev";
const VERSION: &str = "v1";
const KIND: &str = "Rollout";

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

/// Why a plan file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// It cannot be read.
    #[error("{0} (try: -f with the path of a plan file, or - for standard input)")]
    Unreadable(String),
    /// Nothing stands in it.
    #[error("it is empty (try: kubectl canary schema plan-file, which lists the allowed fields)")]
    Empty,
    /// More than one document stands in it.
    #[error("it holds more than one document (try: a file for each plan)")]
    Documents,
    /// It is an object of something else.
    #[error(
        "it is {0}, not a plan of kubectl canary (try: kubectl canary schema plan-file, which lists the allowed fields)"
    )]
    Foreign(String),
    /// It is of a version that this binary does not know.
    #[error(
        "apiVersion {found:?} is not supported, this kubectl canary reads {GROUP}/{VERSION} (try: a newer kubectl canary, or apiVersion: {GROUP}/{VERSION})"
    )]
    Version {
        /// The `apiVersion` in the file.
        found: String,
    },
    /// It is something else than a plan.
    #[error("kind {found:?} is not supported (try: kind: {KIND})")]
    Kind {
        /// The `kind` in the file.
        found: String,
    },
    /// It is not a well-formed plan; the message says where.
    #[error("{0} (try: kubectl canary schema plan-file, which lists the allowed fields)")]
    Malformed(String),
}

impl PlanFile {
    /// A plan of this version for one VirtualService.
    pub fn of(name: &str, namespace: &str, spec: Options) -> Self {
        Self {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: KIND.to_owned(),
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
    /// The version is looked at before anything else, so that a plan of a newer version is called
    /// just that and not a list of unknown fields.
    pub fn parse(text: &str) -> Result<Self, PlanFileError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            #[serde(default)]
            api_version: String,
            #[serde(default)]
            kind: String,
        }
        // The last line of a parser's report is its reason; a person needs one line, not a picture.
        let malformed = |error: serde_saphyr::Error| {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default().trim();
            let line = line.trim_start_matches("error: ");
            // The parser's own advice is for who calls it, and its list of fields is a screen long.
            let line = line.split(", expected one of").next().unwrap_or(line);
            let line = line.split(" (try: ").next().unwrap_or(line);
            match line.contains("multiple YAML documents") {
                true => PlanFileError::Documents,
                false => PlanFileError::Malformed(foreign_text(line)),
            }
        };
        let says_something = |line: &str| {
            let line = line.trim().trim_start_matches('\u{feff}');
            !line.is_empty() && !line.starts_with('#') && !["---", "...", "null"].contains(&line)
        };
        if !text.lines().any(says_something) {
            return Err(PlanFileError::Empty);
        }
        let head: Head = serde_saphyr::from_str(text).map_err(malformed)?;
        if let Some(kind) = foreign(&head.api_version, &head.kind) {
            return Err(PlanFileError::Foreign(kind));
        }
        if head.api_version != format!("{GROUP}/{VERSION}") {
            return Err(PlanFileError::Version {
                found: head.api_version,
            });
        }
        if head.kind != KIND {
            return Err(PlanFileError::Kind { found: head.kind });
        }
        serde_saphyr::from_str(text).map_err(malformed)
    }
}

/// What an object of another group is called.
fn foreign(api_version: &str, kind: &str) -> Option<String> {
    let (group, _) = api_version.split_once('/').unwrap_or((api_version, ""));
    match (group, kind) {
        ("" | GROUP, _) => None,
        ("argoproj.io", kind) => Some(format!("a {kind} of Argo")),
        ("flagger.app", kind) => Some(format!("a {kind} of Flagger")),
        (_, "") => Some(format!("an object of {api_version}")),
        (_, kind) => Some(format!("a {kind} of {api_version}")),
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
