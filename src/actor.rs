//! Who acts: the caller as the cluster knows it, the machine, and the job of a pipeline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::cluster::Cluster;

/// How long the cluster may take to say who the caller is.
const DEADLINE: Duration = Duration::from_secs(2);

/// The longest address of a job that is kept, as the state on the object has to be small.
const LONGEST_JOB: usize = 200;

/// Who acts, for records and for other people.
#[derive(Clone)]
pub struct Actor {
    /// `user@host` as this machine knows it, or a name that is not to be asked for.
    here: String,
    /// Whom to ask, and the host that is added to the answer.
    asked: Option<(Cluster, String)>,
    known: Arc<OnceCell<String>>,
    job: Option<String>,
}

impl From<String> for Actor {
    /// Somebody whose name is known.
    fn from(here: String) -> Self {
        Self {
            here,
            asked: None,
            known: Arc::default(),
            job: None,
        }
    }
}

impl From<&str> for Actor {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

impl Actor {
    /// The caller of `cluster`, who is `user` on `host` where the cluster does not say, in this environment.
    pub fn calling(
        cluster: &Cluster,
        user: &str,
        host: &str,
        env: impl Fn(&str) -> Option<String>,
    ) -> Self {
        Self {
            here: format!("{user}@{host}"),
            asked: Some((cluster.clone(), host.to_owned())),
            known: Arc::default(),
            job: job(env),
        }
    }

    /// Begins to ask the cluster, without waiting for it.
    pub fn ask(&self) {
        let this = self.clone();
        tokio::spawn(async move { this.known().await });
    }

    /// Waits until it is known who acts, be it that the cluster does not say: two seconds at most.
    ///
    /// After this the name stays the same, as a driver is told by it.
    pub async fn known(&self) {
        let asked = async || {
            let Some((cluster, host)) = &self.asked else {
                return self.here.clone();
            };
            match tokio::time::timeout(DEADLINE, cluster.caller()).await {
                Ok(Ok(caller)) => format!("{caller}@{host}"),
                Ok(Err(_)) | Err(_) => self.here.clone(),
            }
        };
        self.known.get_or_init(asked).await;
    }

    fn name(&self) -> &str {
        self.known.get().unwrap_or(&self.here)
    }

    /// Who acts, with the job where there is one, as far as it is known by now.
    pub fn by(&self) -> String {
        self.with_job(self.name().to_owned())
    }

    /// The name under which this process drives.
    pub fn holder(&self) -> String {
        self.with_job(format!("{}/{}", self.name(), std::process::id()))
    }

    fn with_job(&self, name: String) -> String {
        match &self.job {
            Some(job) => format!("{name} ({job})"),
            None => name,
        }
    }
}

/// The address of the pipeline's job that this process runs in, if its environment has one.
fn job(env: impl Fn(&str) -> Option<String>) -> Option<String> {
    let github = || {
        let (server, repository) = (env("GITHUB_SERVER_URL")?, env("GITHUB_REPOSITORY")?);
        let run = env("GITHUB_RUN_ID")?;
        Some(format!("{server}/{repository}/actions/runs/{run}"))
    };
    // GitLab, Jenkins, Buildkite and CircleCI. Tekton and Argo Workflows have none.
    let others = [
        "CI_JOB_URL",
        "BUILD_URL",
        "BUILDKITE_BUILD_URL",
        "CIRCLE_BUILD_URL",
    ];
    let url = github().or_else(|| others.into_iter().find_map(&env))?;
    // What stands behind the path, or before the host, may be a secret.
    let url = url.split(['?', '#']).next()?;
    let (scheme, rest) = url.split_once("://")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%+,".contains(&byte);
    let is_usable = ["http", "https"].contains(&scheme)
        && !rest.is_empty()
        && url.len() <= LONGEST_JOB
        && rest.bytes().all(plain);
    is_usable.then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_by_its_address_without_what_may_be_secret() {
        const GITHUB: [(&str, &str); 3] = [
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "shop/reviews"),
            ("GITHUB_RUN_ID", "4711"),
        ];
        for (variables, expected) in [
            (&[][..], None),
            (
                &GITHUB,
                Some("https://github.com/shop/reviews/actions/runs/4711"),
            ),
            (&GITHUB[..2], None),
            (
                &[("CI_JOB_URL", "https://gitlab.example/shop/-/jobs/1")],
                Some("https://gitlab.example/shop/-/jobs/1"),
            ),
            (
                &[(
                    "BUILD_URL",
                    "http://jenkins:8080/job/a%20b/7/?token=secret#x",
                )],
                Some("http://jenkins:8080/job/a%20b/7/"),
            ),
            (
                &[("CI_JOB_URL", "https://user:secret@gitlab.example/1")],
                None,
            ),
            (&[("CI_JOB_URL", "javascript:alert")], None),
            (&[("BUILD_URL", "https://ci/\u{1b}[2J")], None),
        ] {
            let env = |key: &str| {
                let found = variables.iter().find(|(name, _)| *name == key);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(job(env).as_deref(), expected, "{variables:?}");
        }
    }
}
