//! The files that people write, in YAML or JSON, versioned.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::foreign_text::foreign_text;

const GROUP: &str = "kubectl-canary.dev";

/// The version of every file that this binary reads.
pub(super) const API_VERSION: &str = "kubectl-canary.dev/v1";

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The options of one rollout, for `-f`.
    Plan,
    /// A user's defaults, by context.
    Config,
}

impl FileKind {
    /// Its `kind`.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Plan => "Rollout",
            Self::Config => "Config",
        }
    }

    /// What `kubectl canary schema` calls it.
    fn schema(self) -> &'static str {
        match self {
            Self::Plan => "plan-file",
            Self::Config => "config-file",
        }
    }

    fn allowed(self) -> String {
        format!(
            "(try: kubectl canary schema {}, which lists the allowed fields)",
            self.schema()
        )
    }

    /// Reads a file of this kind from YAML, of which JSON is a part.
    ///
    /// # Errors
    /// The version is looked at before anything else, so that a file of a newer version is called
    /// just that and not a list of unknown fields.
    pub(super) fn parse<T: DeserializeOwned>(self, text: &str) -> Result<T, FileError> {
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
                true => FileError::Documents,
                false => FileError::Malformed {
                    why: foreign_text(line),
                    fix: self.allowed(),
                },
            }
        };
        let says_something = |line: &str| {
            let line = line.trim().trim_start_matches('\u{feff}');
            !line.is_empty() && !line.starts_with('#') && !["---", "...", "null"].contains(&line)
        };
        if !text.lines().any(says_something) {
            return Err(FileError::Empty {
                fix: self.allowed(),
            });
        }
        let head: Head = serde_saphyr::from_str(text).map_err(malformed)?;
        if let Some(what) = foreign(&head.api_version, &head.kind) {
            let of = match self {
                Self::Plan => "a plan",
                Self::Config => "a configuration",
            };
            return Err(FileError::Foreign {
                what,
                of,
                fix: self.allowed(),
            });
        }
        if head.api_version != API_VERSION {
            return Err(FileError::Version {
                found: head.api_version,
            });
        }
        if head.kind != self.kind() {
            return Err(FileError::Kind {
                found: head.kind,
                known: self.kind(),
            });
        }
        serde_saphyr::from_str(text).map_err(malformed)
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{why} (try: {fix})")]
    Unreadable {
        /// The system's reason.
        why: String,
        /// Which file to give.
        fix: &'static str,
    },
    /// Nothing stands in it.
    #[error("it is empty {fix}")]
    Empty {
        /// What may stand in it.
        fix: String,
    },
    /// More than one document stands in it.
    #[error("it holds more than one document (try: a file for each)")]
    Documents,
    /// It is an object of something else.
    #[error("it is {what}, not {of} of kubectl canary {fix}")]
    Foreign {
        /// What it is.
        what: String,
        /// What was expected.
        of: &'static str,
        /// What may stand in it.
        fix: String,
    },
    /// It is of a version that this binary does not know.
    #[error(
        "apiVersion {found:?} is not supported, this kubectl canary reads {API_VERSION} (try: a newer kubectl canary, or apiVersion: {API_VERSION})"
    )]
    Version {
        /// The `apiVersion` in the file.
        found: String,
    },
    /// It is of another kind.
    #[error("kind {found:?} is not supported (try: kind: {known})")]
    Kind {
        /// The `kind` in the file.
        found: String,
        /// The one that is read.
        known: &'static str,
    },
    /// It is not well-formed; the message says where.
    #[error("{why} {fix}")]
    Malformed {
        /// What is wrong.
        why: String,
        /// What may stand in it.
        fix: String,
    },
    /// It says of every rollout what can be true of one.
    #[error("{field} is of one rollout (try: a plan file for -f)")]
    OfOneRollout {
        /// The field.
        field: &'static str,
    },
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
