//! What is to be rolled out, and how: flags and plan file as one.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::context::{Context, object_name};
use crate::discovery::RolloutRequest;
use crate::error::CommandError;
use crate::foreign_text::root_cause;
use crate::metrics::PrometheusFlags;
use crate::plan::{AddressSource, FileError, Options, PlanFile, shell_word};

/// What `start` and `plan` take.
#[derive(Args, Clone, Debug, Default)]
pub struct RolloutArgs {
    /// The VirtualService: `reviews`, `vs/reviews` or `virtualservice/reviews`.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// A plan file; flags override it. `-` reads from standard input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// The options.
    #[command(flatten)]
    pub options: Options,
    /// How to log in at Prometheus.
    #[command(flatten)]
    pub access: PrometheusFlags,
    /// The namespace given by flag, which wins over the plan file's.
    #[arg(skip)]
    pub namespace: Option<String>,
    /// Whether the address of Prometheus is the environment's rather than a flag's.
    #[arg(skip)]
    pub address_of_environment: bool,
    /// What the user's own file says for this context.
    #[arg(skip)]
    pub defaults: Options,
}

impl RolloutArgs {
    /// The words after a command's name and the object's that say the same again.
    pub fn words(&self) -> String {
        let file = self
            .filename
            .as_ref()
            .map(|path| path.display().to_string());
        let file = file.map(|file| format!("-f {}", shell_word(&file)));
        let words: Vec<_> = file.into_iter().chain([self.options.flags()]).collect();
        words.join(" ").trim_end().to_owned()
    }

    /// The object's name, its namespace and the options, flags before the file.
    pub fn resolve(&self, context: &Context<'_>) -> Result<RolloutRequest, CommandError> {
        let mut options = self.options.clone();
        let mut address_source = match (&options.prometheus, self.address_of_environment) {
            (None, _) => AddressSource::Default,
            (Some(_), false) => AddressSource::Flag,
            (Some(_), true) => AddressSource::Environment,
        };
        let (mut name, mut namespace) = (self.name.clone(), context.namespace.clone());
        if let Some(path) = &self.filename {
            let plan = plan_file(path)?;
            if options.prometheus.is_none() && plan.spec.prometheus.is_some() {
                address_source = AddressSource::File;
            }
            options = options.or(plan.spec);
            name = name.or(plan.metadata.name);
            if let Some(given) = self.namespace.clone().or(plan.metadata.namespace) {
                namespace = given;
            }
        }
        if options.prometheus.is_none() && self.defaults.prometheus.is_some() {
            address_source = AddressSource::Config;
        }
        options = options.or(self.defaults.clone());
        let name = name.ok_or_else(|| {
            CommandError::Usage("no VirtualService given (try: kubectl canary start NAME, or metadata.name in the plan file)".into())
        })?;
        Ok(RolloutRequest {
            name: object_name(&name)?.to_owned(),
            namespace,
            options,
            address_source,
        })
    }
}

/// Reads a plan file; `-` is standard input.
///
/// # Errors
/// If it cannot be read, or is no plan of this version.
pub fn plan_file(path: &Path) -> Result<PlanFile, CommandError> {
    let file = path.display().to_string();
    let read = if file == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let parsed = match read {
        Ok(text) => PlanFile::parse(&text),
        Err(error) => Err(FileError::Unreadable {
            why: root_cause(&error),
            fix: "-f with the path of a plan file, or - for standard input",
        }),
    };
    parsed.map_err(|source| CommandError::File {
        what: "plan file",
        file,
        source,
    })
}
