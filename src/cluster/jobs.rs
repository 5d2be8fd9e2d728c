//! The Job that drives a rollout in the cluster, as far as its owner looks at it.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, Pod, ServiceAccount};
use kube::core::Request;
use kube::core::params::{GetParams, PostParams};
use serde_json::Value;

use super::Cluster;
use super::call::{CallError, ErrorKind};
use crate::istio::FIELD_MANAGER;

/// How the Job in which a rollout is to begin fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobStanding {
    /// It has not ended; the reason why its pod does not run, where its status has one.
    UnderWay {
        /// `ImagePullBackOff: ...`, for instance.
        waiting: Option<String>,
    },
    /// It will not go on.
    Failed {
        /// The last words of its pod, or of the Job's own condition.
        why: String,
    },
    /// It is done.
    Complete,
    /// It was deleted.
    Gone,
}

impl Cluster {
    /// Whether there is a service account of that name.
    ///
    /// RBAC: `get` on `serviceaccounts`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn has_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<bool, CallError> {
        let attempted = format!("get serviceaccount {namespace}/{name}");
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/serviceaccounts"))
            .get(name, &GetParams::default());
        match self.send::<ServiceAccount>(&attempted, request).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::Missing => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a Job.
    ///
    /// RBAC: `create` on `jobs`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn create_job(&self, namespace: &str, job: &Value) -> Result<(), CallError> {
        let name = job.pointer("/metadata/name").and_then(Value::as_str);
        let attempted = format!("create job {namespace}/{}", name.unwrap_or_default());
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        let body = serde_json::to_vec(job)
            .map_err(|error| CallError::new(ErrorKind::Refused, &attempted, error.to_string()))?;
        let request = Request::new(jobs(namespace)).create(&params, body);
        self.send::<Value>(&attempted, request).await.map(|_| ())
    }

    /// How the Job fares, and what its pods say where it does not run.
    ///
    /// RBAC: `get` on `jobs`, `list` on `pods`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn job_standing(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<JobStanding, CallError> {
        let attempted = format!("get job {namespace}/{name}");
        let request = Request::new(jobs(namespace)).get(name, &GetParams::default());
        let job = match self.send::<Job>(&attempted, request).await {
            Err(error) if error.kind == ErrorKind::Missing => return Ok(JobStanding::Gone),
            job => job?,
        };
        let conditions = job.status.and_then(|status| status.conditions);
        let holds = |wanted: &str| {
            let mut conditions = conditions.iter().flatten();
            conditions.find(|condition| condition.type_ == wanted && condition.status == "True")
        };
        if holds("Complete").is_some() {
            return Ok(JobStanding::Complete);
        }
        let failed = holds("Failed").map(|condition| condition.message.clone().unwrap_or_default());
        let label = [("batch.kubernetes.io/job-name".to_owned(), name.to_owned())];
        let pods = self.pod_list(namespace, &label.into()).await;
        // What a pod says is a help, and no condition for knowing how the Job fares.
        let words = pods.ok().and_then(|pods| last_words(&pods));
        Ok(match failed {
            Some(why) => JobStanding::Failed {
                why: words.unwrap_or(why),
            },
            None => JobStanding::UnderWay { waiting: words },
        })
    }
}

fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs")
}

/// What the youngest pod says of itself.
fn last_words(pods: &[Pod]) -> Option<String> {
    let youngest = pods
        .iter()
        .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    let status = youngest.status.as_ref()?;
    let states = status.container_statuses.iter().flatten();
    let spoken = states
        .filter_map(|container| container.state.as_ref())
        .find_map(words_of);
    let unscheduled = || {
        let mut conditions = status.conditions.iter().flatten();
        conditions
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
            .and_then(|condition| condition.message.clone())
    };
    spoken.or_else(unscheduled)
}

fn words_of(state: &ContainerState) -> Option<String> {
    if let Some(ended) = &state.terminated {
        let message = ended.message.as_deref().unwrap_or_default().trim();
        let last = message.lines().last().unwrap_or_default();
        return Some(match last {
            "" => format!("exit code {}", ended.exit_code),
            last => format!("exit code {}, {last}", ended.exit_code),
        });
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or("waiting");
    Some(match &waiting.message {
        Some(message) => format!("{reason}: {message}"),
        None => reason.to_owned(),
    })
}
