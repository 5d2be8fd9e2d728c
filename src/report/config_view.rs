//! What a user's own file says here.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Layout, View, escape};
use crate::metrics::{DEFAULT_ADDRESS, take_user};
use crate::plan::{AddressSource, ContextDefaults, Options};

/// What `config` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigView {
    /// The format's version.
    pub version: u32,
    /// The file, whether there is one or not; `null` where there is no home.
    pub file: Option<String>,
    /// The context of the kubeconfig; `null` in a pod.
    pub context: Option<String>,
    /// The name in the file that the context fits; `null` where none does.
    pub entry: Option<String>,
    /// The options that hold unless a flag, the environment or a plan file says something else.
    pub spec: Options,
    /// What the login consists of; its values are not shown.
    pub login: Vec<String>,
    /// Where Prometheus is.
    pub prometheus: String,
    /// Where that is from.
    pub prometheus_from: AddressSource,
}

impl ConfigView {
    /// The format's version.
    pub const VERSION: u32 = 1;

    /// What holds in a context; `of_environment` is the address that the environment sets.
    pub(crate) fn of(
        file: Option<String>,
        context: Option<String>,
        entry: Option<ContextDefaults>,
        of_environment: Option<String>,
    ) -> Self {
        let name = entry.as_ref().map(|entry| entry.name.clone());
        let ContextDefaults {
            mut spec, login, ..
        } = entry.unwrap_or_default();
        // A password in an address is shown to nobody.
        let mut names: Vec<_> = login.names().into_iter().map(str::to_owned).collect();
        if take_user(&mut spec.prometheus).is_some() {
            names.push("password".to_owned());
        }
        let mut of_environment = of_environment.filter(|address| !address.is_empty());
        let _ = take_user(&mut of_environment);
        let (prometheus, prometheus_from) = match (of_environment, &spec.prometheus) {
            (Some(address), _) => (address, AddressSource::Environment),
            (None, Some(address)) => (address.clone(), AddressSource::Config),
            (None, None) => (DEFAULT_ADDRESS.to_owned(), AddressSource::Default),
        };
        Self {
            version: Self::VERSION,
            file,
            context,
            entry: name,
            spec,
            login: names,
            prometheus,
            prometheus_from,
        }
    }
}

impl View for ConfigView {
    fn names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn show(&self, out: &mut dyn Write, _: Layout) -> io::Result<()> {
        let none = || "none".to_owned();
        let context = self.context.clone().unwrap_or_else(none);
        let context = match &self.entry {
            Some(entry) if *entry != context => format!("{context}, by {entry}"),
            Some(_) => context,
            None => format!("{context}, of which the file says nothing"),
        };
        let options = self.spec.flags();
        let login = self.login.join(", ");
        let or_none = |text: String| if text.is_empty() { none() } else { text };
        for (name, text) in [
            ("file", self.file.clone().unwrap_or_else(none)),
            ("context", context),
            ("options", or_none(options)),
            ("login", or_none(login)),
            (
                "metrics",
                format!("{} ({})", self.prometheus, self.prometheus_from),
            ),
        ] {
            writeln!(out, "{name:<9}{}", escape(&text))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::LoginSettings;

    fn shown(view: &ConfigView) -> String {
        let mut out = Vec::new();
        view.show(&mut out, Layout::default()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn it_says_what_holds_and_no_secret() {
        let entry = ContextDefaults {
            name: "prod-*".into(),
            spec: Options {
                prometheus: Some("https://ada:s3cr3t@prometheus.example.com".into()),
                ..Options::default()
            },
            login: LoginSettings {
                headers: vec!["X-Scope-OrgID: shop".into()],
                ..LoginSettings::default()
            },
        };
        let file = Some("/home/ada/.config/kubectl-canary/config.yaml".to_owned());
        let context = Some("prod-eu".to_owned());
        let view = ConfigView::of(file.clone(), context, Some(entry), None);
        insta::assert_snapshot!(shown(&view), @r"
        file     /home/ada/.config/kubectl-canary/config.yaml
        context  prod-eu, by prod-*
        options  --prometheus https://prometheus.example.com/
        login    headers, password
        metrics  https://prometheus.example.com/ (config file)
        ");
        let bare = ConfigView::of(file, None, None, Some("http://localhost:9090".into()));
        insta::assert_snapshot!(shown(&bare), @r"
        file     /home/ada/.config/kubectl-canary/config.yaml
        context  none, of which the file says nothing
        options  none
        login    none
        metrics  http://localhost:9090 (KUBECTL_CANARY_PROMETHEUS_URL)
        ");
    }
}
