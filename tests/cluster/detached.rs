//! A rollout that a Job drives. The stack has no kubelet, so the tests run what a pod's container would
//! run, as the pod's service account, and tell the API server what became of it.

use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::app::App;
use crate::program::Program;
use crate::stack::Stack;

/// How long the controllers may take; a pod that died is replaced after ten seconds.
const CONTROLLED_WITHIN: Duration = Duration::from_secs(40);

/// The Job's pods, and whose rights they have.
struct Pods {
    api: Api<DynamicObject>,
    token: String,
    plan: NamedTempFile,
}

impl Pods {
    /// Pods of the application's namespace, with a token of their service account.
    async fn of(app: &App) -> Self {
        let kubectl = std::process::Command::new(&app.stack.description.kubectl)
            .arg("--kubeconfig")
            .arg(&app.stack.description.kubeconfig.admin)
            .args(["create", "token", "kubectl-canary", "-n", &app.namespace])
            .output()
            .expect("kubectl is there");
        assert!(kubectl.status.success(), "{kubectl:?}");
        let token = String::from_utf8(kubectl.stdout).expect("a token is text");
        Self {
            api: app.stack.api("v1", "Pod", &app.namespace),
            token: token.trim().to_owned(),
            plan: NamedTempFile::new().expect("there is a folder for temporary files"),
        }
    }

    /// The Job's pod that runs and is not the one called so.
    async fn running(&self, other_than: &str) -> DynamicObject {
        let begun = Instant::now();
        loop {
            let params = ListParams::default().labels("app.kubernetes.io/name=kubectl-canary");
            let pods = self.api.list(&params).await.expect("pods are listed");
            let found = pods.into_iter().find(|pod| {
                pod.data["status"]["phase"] == "Running"
                    && pod.metadata.name.as_deref() != Some(other_than)
            });
            if let Some(pod) = found {
                return pod;
            }
            assert!(
                begun.elapsed() < CONTROLLED_WITHIN,
                "no pod of the Job runs"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the pod's container runs.
    fn program(&self, app: &App, pod: &DynamicObject) -> Program {
        let volumes = pod.data["spec"]["volumes"].as_array().expect("it has some");
        let volume = volumes.iter().find(|volume| volume["name"] == "plan");
        let field = &volume.expect("one is the plan")["downwardAPI"]["items"][0]["fieldRef"];
        let field = field["fieldPath"]
            .as_str()
            .expect("it is a field of the pod");
        let key = field.split('\'').nth(1).expect("it is an annotation");
        let annotations = pod.metadata.annotations.as_ref().expect("it has some");
        std::fs::write(self.plan.path(), &annotations[key]).expect("it is written");
        let container = &pod.data["spec"]["containers"][0];
        assert_eq!(container["command"], json!(["kubectl-canary"]));
        let args = container["args"].as_array().expect("it has arguments");
        let words = args
            .iter()
            .map(|word| match word.as_str().expect("a word") {
                "/etc/kubectl-canary/plan.json" => self.plan.path().display().to_string(),
                word => word.to_owned(),
            });
        let words = words.chain(["--token".into(), self.token.clone()]);
        Program::exactly(&app.stack.description, words)
    }

    /// Tells the API server how the pod's container ended.
    async fn ended(&self, pod: &DynamicObject, code: i32) {
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let status = json!({"status": {
            "phase": phase,
            "containerStatuses": [{
                "name": "canary", "image": "canary:1", "imageID": "", "ready": false,
                "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "reason": "Ended"}},
            }],
        }});
        let name = pod.metadata.name.as_deref().expect("it has a name");
        self.api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .expect("the status is taken");
    }
}

/// Applies what `kubectl canary rbac` prints.
pub(crate) async fn grant(app: &App, words: &str) {
    let printed = app
        .canary(&format!("rbac -o json {words}"))
        .launch()
        .wait()
        .await;
    assert_eq!(printed.code, Some(0));
    let list: Value = serde_json::from_str(&printed.stdout).expect("it prints JSON");
    for object in list["items"].as_array().expect("it is a list") {
        app.stack.apply(object).await.expect("it can be applied");
    }
}

/// The conditions of the Job that are true.
async fn conditions(app: &App, job: &str) -> Vec<String> {
    let jobs = app.stack.api("batch/v1", "Job", &app.namespace);
    let job = jobs.get(job).await.expect("it is kept");
    let conditions = job.data["status"]["conditions"].as_array();
    let conditions = conditions.into_iter().flatten();
    conditions
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["type"].as_str().map(str::to_owned))
        .collect()
}

/// Waits until the Job has this condition.
async fn until(app: &App, job: &str, condition: &str) {
    let begun = Instant::now();
    while !conditions(app, job).await.iter().any(|is| is == condition) {
        assert!(
            begun.elapsed() < CONTROLLED_WITHIN,
            "job {job} is not {condition}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The name of the Job in what `start --detach` prints.
fn job_of(stdout: &str) -> String {
    let line = stdout.lines().next().unwrap_or_default();
    let name = line
        .strip_prefix("job.batch/")
        .and_then(|line| line.strip_suffix(" created"));
    name.unwrap_or_else(|| panic!("no job in {stdout:?}"))
        .to_owned()
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_job_drives_with_the_printed_rights_and_survives_the_death_of_its_pod() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "detached").await;
    grant(&app, "").await;
    let pods = Pods::of(&app).await;
    let _load = app.load().rate(200.0).start();
    let asked = app
        .rollout("--steps 20:8s,50,100 --detach --image canary:1")
        .launch();

    let first = pods.running("").await;
    let mut driver = pods.program(&app, &first).launch();
    driver.until_flowing_at("20").await;
    let asked = asked.end().await;
    assert_eq!(asked.code, Some(0));
    assert!(
        asked.stdout.ends_with("/reviews holding at 20 %\n"),
        "{}",
        asked.stdout
    );
    let job = job_of(&asked.stdout);

    let onlooker = app.canary("status reviews --watch").launch();
    driver.kill().await;
    pods.ended(&first, 137).await;
    let second = pods
        .running(first.metadata.name.as_deref().unwrap_or_default())
        .await;
    let ended = pods.program(&app, &second).launch().end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.steps().last().map(String::as_str), Some("100"));
    let forbidden = ended.stderr.lines().find(|line| line.contains("forbidden"));
    assert_eq!(forbidden, None);
    pods.ended(&second, 0).await;
    until(&app, &job, "Complete").await;

    let onlooker = onlooker.end().await;
    assert_eq!(onlooker.code, Some(0));
    assert!(
        onlooker
            .stdout
            .ends_with("virtualservice.networking.istio.io/reviews promoted\n"),
        "{}",
        onlooker.stdout
    );
    assert_eq!(app.annotation("rollout").await, None);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_result_ends_the_job_whatever_it_is() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "result").await;
    let before = app.spec().await;
    grant(&app, "").await;
    let pods = Pods::of(&app).await;
    let _load = app.load().rate(200.0).start();
    let asked = app
        .rollout("--steps 20:60s,100 --detach --image canary:1")
        .launch();
    let pod = pods.running("").await;
    let mut driver = pods.program(&app, &pod).launch();
    driver.until_flowing_at("20").await;
    let job = job_of(&asked.end().await.stdout);
    let onlooker = app.canary("status reviews --watch -o json").launch();
    app.behave("v2", json!({"errors": 0.5})).await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(10));
    app.is_restored_to(&before).await;
    // Whoever looks on has the same exit code as whoever drove.
    assert_eq!(onlooker.end().await.code, Some(10));
    pods.ended(&pod, 10).await;
    until(&app, &job, "Failed").await;
    app.finish().await;
}
