//! Reading kubeconfigs, and what is wrong with them in words that quote nothing of them.

use std::path::Path;

use kube::config::{Kubeconfig, KubeconfigError, LoadDataError};

use crate::foreign_text::{foreign_text, root_cause};

/// The kubeconfig at `path`, or those of `$KUBECONFIG` as one, or the one in the home folder.
///
/// # Errors
/// What is wrong, with the file and the place in it, since no line of a kubeconfig is fit to be shown.
pub(super) fn read(path: Option<&Path>) -> Result<Kubeconfig, String> {
    if let Some(path) = path {
        return read_file(path);
    }
    let listed = std::env::var_os("KUBECONFIG");
    let files: Vec<_> = listed
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|file| !file.as_os_str().is_empty())
        .collect();
    if files.is_empty() {
        return Kubeconfig::read().map_err(|error| problem(&error));
    }
    files.iter().try_fold(Kubeconfig::default(), |all, file| {
        all.merge(read_file(file)?).map_err(|error| problem(&error))
    })
}

fn read_file(path: &Path) -> Result<Kubeconfig, String> {
    Kubeconfig::read_from(path).map_err(|error| match error {
        KubeconfigError::Parse(_) => format!("{}: {}", path.display(), problem(&error)),
        other => problem(&other),
    })
}

/// What is wrong with a kubeconfig, or with the files that it names.
pub(super) fn problem(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(cause, path) => {
            format!("cannot read {}: {}", path.display(), root_cause(cause))
        }
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!(
                "not the YAML of a kubeconfig at line {} column {}",
                place.line(),
                place.column()
            ),
            None => "not the YAML of a kubeconfig".into(),
        },
        KubeconfigError::CurrentContextNotSet => "no context is selected".into(),
        KubeconfigError::LoadContext(name) => {
            format!("there is no context {:?}", foreign_text(name))
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            format!("there is no cluster {:?}", foreign_text(name))
        }
        KubeconfigError::FindPath => "there is no home folder to look in".into(),
        KubeconfigError::KindMismatch | KubeconfigError::ApiVersionMismatch => {
            "the files are of different kinds or versions".into()
        }
        KubeconfigError::MissingClusterUrl => "the cluster has no server".into(),
        KubeconfigError::ParseClusterUrl(_) => "the cluster's server is not a URL".into(),
        KubeconfigError::ParseProxyUrl(_) => {
            "proxy-url, or HTTPS_PROXY in the environment, is not a URL".into()
        }
        KubeconfigError::ParseNoProxy(_) => "NO_PROXY in the environment cannot be read".into(),
        KubeconfigError::LoadCertificateAuthority(error) => {
            unusable("certificate-authority", error)
        }
        KubeconfigError::LoadClientCertificate(error) => unusable("client-certificate", error),
        KubeconfigError::LoadClientKey(error) => unusable("client-key", error),
        KubeconfigError::ParseCertificates(_) => "certificate-authority is not PEM".into(),
    }
}

fn unusable(field: &str, error: &LoadDataError) -> String {
    match error {
        LoadDataError::DecodeBase64(_) => format!("{field}-data is not base64"),
        LoadDataError::ReadFile(cause, path) => format!(
            "cannot read {field} {}: {}",
            path.display(),
            root_cause(cause)
        ),
        LoadDataError::NoBase64DataOrFile => format!("{field} is missing"),
    }
}

/// Why there is no client, or no answer, where the API server did not say it itself.
pub(super) fn client_problem(error: &kube::Error) -> String {
    match error {
        kube::Error::InferKubeconfig(error) => problem(error),
        kube::Error::Auth(_) => "the user's auth-provider gives no credentials".into(),
        kube::Error::SerdeError(error) => format!(
            "the answer is not of the expected form: {}",
            crate::foreign_text::json_problem(error)
        ),
        kube::Error::ProxyProtocolUnsupported { proxy_url }
        | kube::Error::ProxyProtocolDisabled { proxy_url, .. } => format!(
            "the proxy {} of proxy-url or HTTPS_PROXY is of a kind that is not supported",
            foreign_text(&proxy_url.to_string())
        ),
        other => root_cause(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_kubeconfig_is_told_by_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        for (text, expected) in [
            (
                "users:\n- name: a\n  user: {token: [hunter2]}",
                "line 3 column",
            ),
            ("a: b\n hunter2: [", "line "),
            ("users: hunter2", "line 1 column"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = read(Some(&file)).unwrap_err();
            let named = format!("{}: not the YAML of a kubeconfig at ", file.display());
            assert!(
                error.starts_with(&named) && error.contains(expected),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
        let absent = read(Some(&folder.path().join("none"))).unwrap_err();
        assert!(
            absent.ends_with("none: no such file or directory"),
            "{absent}"
        );
    }
}
