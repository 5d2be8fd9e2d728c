//! The Job of `start --detach`, as an object.

use std::hash::Hasher;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::plan::PlanFile;

/// The annotation of the Job's pods from which their plan file is made.
const PLAN: &str = "kubectl-canary.dev/plan";

/// Where the plan file lies in the container.
const FOLDER: &str = "/etc/kubectl-canary";

/// Where the Secret of the login at Prometheus lies in the container.
const ACCESS_FOLDER: &str = "/etc/kubectl-canary-prometheus";

/// The file in it that the driver reads.
pub const CONFIG: &str = "/etc/kubectl-canary-prometheus/config.yaml";

/// How often a driver that died without a verdict is replaced.
const REPLACEMENTS: u32 = 6;

/// How long the Job stays to be looked at when it is over, in seconds.
const KEPT: u32 = 24 * 60 * 60;

/// The exit codes that are a result of the rollout: another pod would not change it.
pub const FINAL: [u8; 8] = [2, 4, 5, 10, 11, 12, 14, 20];

/// The most of the VirtualService's name that the Job's has: pods are called after it, and some of
/// their labels end at 63 characters.
const NAME_PART: usize = 40;

/// What a Job is made of.
#[derive(Clone, Debug)]
pub struct JobPlan<'a> {
    /// The VirtualService's namespace, which is the Job's as well.
    pub namespace: &'a str,
    /// The VirtualService's name.
    pub name: &'a str,
    /// The run that all of its pods drive.
    pub run: &'a str,
    /// The image with kubectl-canary on its PATH.
    pub image: &'a str,
    /// Whose rights the driver has.
    pub service_account: &'a str,
    /// The plan.
    pub plan: &'a PlanFile,
    /// The flags of the login at Prometheus.
    pub access: &'a [String],
    /// The Secret in which that login is.
    pub secret: Option<&'a str>,
    /// Until when the rollout may begin.
    pub begin_by: Timestamp,
}

impl JobPlan<'_> {
    /// The Job's name.
    pub fn job_name(&self) -> String {
        let name: String = self.name.replace('.', "-");
        let name = name.get(..NAME_PART).unwrap_or(&name).trim_end_matches('-');
        // Ids that a pipeline chooses may begin and end alike.
        let mut hasher = fnv::FnvHasher::default();
        hasher.write(self.run.as_bytes());
        format!("canary-{name}-{:08x}", hasher.finish() as u32)
    }

    /// The Job.
    ///
    /// A pod that ends with a result of the rollout ends the Job, whatever the result is: only one that
    /// died on the way, or could not do anything yet, is replaced. A pod that has to leave its node
    /// does not count, and its successor goes on from the object.
    ///
    /// # Errors
    /// If the plan has no form in JSON.
    pub fn object(&self) -> serde_json::Result<Value> {
        let labels = json!({
            "app.kubernetes.io/name": "kubectl-canary",
            "app.kubernetes.io/managed-by": "kubectl-canary",
            "kubectl-canary.dev/run": self.run,
        });
        let mut of_pods = labels.clone();
        // A sidecar would outlive the driver, and the Job never end.
        of_pods["sidecar.istio.io/inject"] = "false".into();
        let file = format!("{FOLDER}/plan.json");
        let begin_by = self.begin_by.to_string();
        let args = [
            "start",
            self.name,
            "--namespace",
            self.namespace,
            "--filename",
            &file,
            "--run-id",
            self.run,
            "--begin-by",
            &begin_by,
        ];
        let args: Vec<_> = args
            .into_iter()
            .chain(self.access.iter().map(String::as_str))
            .collect();
        let mut mounts = vec![json!({"name": "plan", "mountPath": FOLDER, "readOnly": true})];
        let mut volumes = vec![json!({
            "name": "plan",
            "downwardAPI": {"items": [{
                "path": "plan.json",
                "fieldRef": {"fieldPath": format!("metadata.annotations['{PLAN}']")},
            }]},
        })];
        if let Some(secret) = self.secret {
            mounts
                .push(json!({"name": "prometheus", "mountPath": ACCESS_FOLDER, "readOnly": true}));
            volumes.push(json!({"name": "prometheus", "secret": {"secretName": secret}}));
        }
        Ok(json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": self.job_name(),
                "namespace": self.namespace,
                "labels": labels,
                "annotations": {"kubectl-canary.dev/virtualservice": self.name},
            },
            "spec": {
                "backoffLimit": REPLACEMENTS,
                "ttlSecondsAfterFinished": KEPT,
                "podFailurePolicy": {"rules": [
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "canary", "operator": "In", "values": FINAL,
                        },
                    },
                ]},
                "template": {
                    "metadata": {
                        "labels": of_pods,
                        "annotations": {PLAN: serde_json::to_string(self.plan)?},
                    },
                    "spec": {
                        "restartPolicy": "Never",
                        "serviceAccountName": self.service_account,
                        "securityContext": {
                            "runAsNonRoot": true,
                            "runAsUser": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [{
                            "name": "canary",
                            "image": self.image,
                            "command": ["kubectl-canary"],
                            "args": args,
                            "env": [{"name": "USER", "value": "job"}],
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "resources": {
                                "requests": {"cpu": "10m", "memory": "32Mi"},
                                "limits": {"memory": "64Mi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": false,
                                "readOnlyRootFilesystem": true,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": mounts,
                        }],
                        "volumes": volumes,
                    },
                },
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::batch::v1::Job;

    fn plan() -> PlanFile {
        PlanFile::parse(
            "{apiVersion: kubectl-canary.dev/v1, kind: Rollout, spec: {steps: [5, 100]}}",
        )
        .unwrap()
    }

    fn job_of(name: &str) -> Value {
        let plan = plan();
        let job = JobPlan {
            namespace: "shop",
            name,
            run: "0198c0de0198c0de0198c0de4711beef",
            image: "canary:1",
            service_account: "rollouts",
            plan: &plan,
            access: &["--prometheus-config".to_owned(), CONFIG.to_owned()],
            secret: Some("prometheus-login"),
            begin_by: "2026-01-01T12:00:00Z".parse().unwrap(),
        };
        job.object().unwrap()
    }

    #[test]
    fn the_api_knows_every_field_of_the_job() {
        let job = job_of("reviews");
        let known: Job = serde_json::from_value(job.clone()).unwrap();
        assert_eq!(serde_json::to_value(known).unwrap(), job);
    }

    #[test]
    fn the_plan_arrives_in_the_container_as_it_was() {
        let job = job_of("reviews");
        let pod = &job["spec"]["template"];
        let text = pod["metadata"]["annotations"][PLAN].as_str().unwrap();
        assert_eq!(PlanFile::parse(text).unwrap(), plan());
        let mounted = format!(
            "{}/{}",
            pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
                .as_str()
                .unwrap(),
            pod["spec"]["volumes"][0]["downwardAPI"]["items"][0]["path"]
                .as_str()
                .unwrap(),
        );
        let args = pod["spec"]["containers"][0]["args"].as_array().unwrap();
        assert!(args.contains(&mounted.into()), "{args:?}");
    }

    #[test]
    fn the_login_at_prometheus_is_mounted_where_its_flag_says() {
        let job = job_of("reviews");
        let pod = &job["spec"]["template"]["spec"];
        let args = pod["containers"][0]["args"].as_array().unwrap();
        let flag = args.iter().position(|arg| arg == "--prometheus-config");
        let file = args[flag.unwrap() + 1].as_str().unwrap();
        let mount = &pod["containers"][0]["volumeMounts"][1];
        assert!(
            file.starts_with(mount["mountPath"].as_str().unwrap()),
            "{file}"
        );
        let volume = &pod["volumes"][1];
        assert_eq!(volume["name"], mount["name"]);
        assert_eq!(volume["secret"]["secretName"], "prometheus-login");
        // Nothing of it is in the way of the plan's own folder.
        assert_ne!(mount["mountPath"], FOLDER);
    }

    #[test]
    fn a_name_fits_into_the_labels_of_its_pods() {
        for (name, expected) in [
            ("reviews", "canary-reviews-4235800a"),
            ("reviews.v2", "canary-reviews-v2-4235800a"),
        ] {
            assert_eq!(job_of(name)["metadata"]["name"], expected);
        }
        let long = job_of(&"a-set-of-rules-with-a-long-name-and-some-more".repeat(3));
        let name = long["metadata"]["name"].as_str().unwrap();
        // Pods add a hyphen and five characters.
        assert!(name.len() + 6 <= 63, "{name}");
    }
}
