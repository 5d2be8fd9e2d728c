//! What the log of a pipeline's job can show beyond lines: groups that fold, and annotations beside the log.

use std::borrow::Cow;

use jiff::Timestamp;

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipeline {
    /// GitHub Actions, whose runner takes lines that begin with `::`, and `##[` anywhere, for commands.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Another one.
    Other,
}

/// How serious something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Annotation {
    Error,
    Warning,
}

impl Pipeline {
    /// The pipeline that a job's environment tells of.
    pub fn detect(is_set: impl Fn(&str) -> bool) -> Option<Self> {
        let known = [
            ("GITHUB_ACTIONS", Self::GitHub),
            ("GITLAB_CI", Self::GitLab),
            ("CI", Self::Other),
        ];
        let found = known.into_iter().find(|(name, _)| is_set(name));
        found.map(|(_, pipeline)| pipeline)
    }

    /// Text as it can stand in the log without being a command.
    pub(super) fn harmless(self, text: &str) -> Cow<'_, str> {
        let is_command = |line: &str| line.trim_start().starts_with("::") || line.contains("##[");
        if self != Self::GitHub || !text.lines().any(is_command) {
            return text.into();
        }
        let harmless = |line: &str| match line.trim_start().starts_with("::") {
            true => line.replacen("::", ": :", 1),
            false => line.to_owned(),
        };
        let lines: Vec<_> = text.lines().map(harmless).collect();
        lines.join("\n").replace("##[", "# #[").into()
    }

    /// What begins a group named `id`, which holds letters, digits, `-` and `_`.
    pub(super) fn begin_group(self, id: &str, title: &str, at: Timestamp) -> Option<String> {
        match self {
            Self::GitHub => Some(format!("::group::{}", data(title))),
            Self::GitLab => Some(format!(
                "\x1b[0Ksection_start:{}:{id}\r\x1b[0K{title}",
                at.as_second()
            )),
            Self::Other => None,
        }
    }

    /// What ends it.
    pub(super) fn end_group(self, id: &str, at: Timestamp) -> String {
        match self {
            Self::GitHub => "::endgroup::".into(),
            Self::GitLab => format!("\x1b[0Ksection_end:{}:{id}\r\x1b[0K", at.as_second()),
            Self::Other => String::new(),
        }
    }

    /// What shows a text beside the log.
    pub(super) fn annotation(self, level: Annotation, title: &str, text: &str) -> Option<String> {
        let level = match level {
            Annotation::Error => "error",
            Annotation::Warning => "warning",
        };
        let title = data(title).replace(':', "%3A").replace(',', "%2C");
        let text = data(text);
        (self == Self::GitHub)
            .then(|| format!("::{level} title={title}::{text}").replace("##[", "# #["))
    }
}

/// Text as a workflow command carries it.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}
