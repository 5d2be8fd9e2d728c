//! The user's own file of defaults, where it is and what it says here.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::CommandError;
use crate::foreign_text::root_cause;
use crate::metrics::{PrometheusFlags, PrometheusLogin};
use crate::plan::{ConfigFile, ContextDefaults, FileError, LoginSettings};

/// Names another file than the usual one.
pub(super) const VARIABLE: &str = "KUBECTL_CANARY_CONFIG";

/// The file, and what stands in it.
pub(super) struct UserConfig {
    path: PathBuf,
    file: ConfigFile,
}

impl UserConfig {
    /// Where it is, or would be: `kubectl-canary/config.yaml` where the XDG specification places it.
    pub fn path(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let set = |key: &str| {
            env(key)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        if let Some(path) = set(VARIABLE) {
            return Some(path);
        }
        let absolute = |path: &PathBuf| path.is_absolute();
        let home = || Some(set("HOME").filter(absolute)?.join(".config"));
        let directory = set("XDG_CONFIG_HOME").filter(absolute).or_else(home)?;
        Some(directory.join("kubectl-canary/config.yaml"))
    }

    /// Reads it. That there is none is no error, unless it was named.
    ///
    /// # Errors
    /// Names the file that cannot be used, and why.
    pub fn read(env: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, CommandError> {
        let is_named = env(VARIABLE).is_some_and(|value| !value.is_empty());
        let Some(path) = Self::path(env) else {
            return Ok(None);
        };
        let parsed = match fs::read_to_string(&path) {
            Ok(text) => ConfigFile::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => return Ok(None),
            Err(error) => Err(FileError::Unreadable {
                why: root_cause(&error),
                fix: "KUBECTL_CANARY_CONFIG with the path of a file, or without it",
            }),
        };
        match parsed {
            Ok(file) => Ok(Some(Self { path, file })),
            Err(source) => Err(CommandError::File {
                what: "config file",
                file: path.display().to_string(),
                source,
            }),
        }
    }

    /// What it says for a context; in a pod, where there is none, what it says for any.
    pub fn of_context(&self, context: Option<&str>) -> Option<ContextDefaults> {
        self.file.of_context(context.unwrap_or_default()).cloned()
    }

    /// A login of it as flags.
    pub fn flags(&self, login: &LoginSettings) -> PrometheusFlags {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| directory.join(path));
        PrometheusFlags {
            prometheus_config: path(&login.config),
            prometheus_header: login.headers.clone(),
            prometheus_param: login.params.clone(),
            prometheus_token_file: path(&login.token_file),
            prometheus_token_command: login.token_command.clone(),
            prometheus_login: login.cluster.then_some(PrometheusLogin::Cluster),
            prometheus_ca: path(&login.ca),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_where_users_look_for_it() {
        let at = |set: &[(&str, &str)]| {
            UserConfig::path(|key| {
                let found = set.iter().find(|(name, _)| *name == key);
                found.map(|(_, value)| value.into())
            })
        };
        let home = ("HOME", "/home/ada");
        for (set, path) in [
            (&[home][..], "/home/ada/.config/kubectl-canary/config.yaml"),
            (
                &[home, ("XDG_CONFIG_HOME", "/etc/x")],
                "/etc/x/kubectl-canary/config.yaml",
            ),
            (
                &[home, ("XDG_CONFIG_HOME", "x")],
                "/home/ada/.config/kubectl-canary/config.yaml",
            ),
            (&[home, (VARIABLE, "mine.yaml")], "mine.yaml"),
            (
                &[home, (VARIABLE, "")],
                "/home/ada/.config/kubectl-canary/config.yaml",
            ),
        ] {
            assert_eq!(at(set), Some(path.into()), "{set:?}");
        }
        assert_eq!(at(&[]), None);
    }
}
