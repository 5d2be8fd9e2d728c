//! A rollout that a Job in the cluster drives. There is no kubelet in this world: the tests do with the
//! Job's container what one would do.

use std::io::Write;
use std::time::Duration;

use clap::Parser;
use jiff::SignedDuration;
use kubectl_canary::cli::{Cli, Command};
use kubectl_canary::commands::{self, Carried, Detach, Detached, Start};
use kubectl_canary::istio::VirtualService;
use kubectl_canary::plan::Options;
use kubectl_canary::rollout::{EventKind, Outcome, Phase};
use kubectl_canary::{CommandError, Signal, Signals};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{Shop, brisk_with, signals, start};

/// A shop with the service account that Jobs run as.
async fn shop() -> Shop {
    Shop::open_with(|stage| {
        stage.apply(json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "kubectl-canary", "namespace": "shop"},
        }));
    })
    .await
}

fn detached(options: Options) -> Start {
    Start {
        detach: Detach {
            detach: true,
            image: Some("canary:1".into()),
            ..Detach::default()
        },
        ..start(options)
    }
}

/// `start reviews --detach`.
async fn detach(shop: &Shop, options: Options, signals: Signals) -> Result<Detached, CommandError> {
    let args = detached(options);
    shop.act("alice@desk", signals, async |context| {
        commands::detach(context, &args).await
    })
    .await
}

/// The Job, as soon as there is one.
async fn job(shop: &Shop) -> Value {
    let found = || {
        let mut job = None;
        shop.world.set(|stage| {
            let name = stage.names("jobs", "shop").first().cloned();
            job = name.and_then(|name| stage.object("jobs", "shop", &name));
        });
        job
    };
    shop.until(|_| found().is_some()).await;
    found().unwrap()
}

/// Runs the Job's container as the pod of that name.
async fn run_pod(shop: &Shop, job: &Value, pod: &str) -> Result<Carried, CommandError> {
    let template = &job["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let words = container["args"].as_array().unwrap().iter();
    let words = words.map(|word| word.as_str().unwrap());
    let cli = Cli::try_parse_from(["kubectl-canary"].into_iter().chain(words)).unwrap();
    let Command::Start(start) = cli.command else {
        panic!("{:?}", cli.command);
    };
    let mut args = start.args;
    let volume = &template["spec"]["volumes"][0]["downwardAPI"]["items"][0];
    let field = volume["fieldRef"]["fieldPath"].as_str().unwrap();
    let key = field.split('\'').nth(1).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = template["metadata"]["annotations"][key].as_str().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    args.rollout.filename = Some(file.path().into());
    let begin_by = args.detach.begin_by.unwrap();
    let holder = format!("job@{pod}");
    let driving = shop.act(&holder, Signals::none(), async |context| {
        commands::carry_on(context, &args, begin_by).await
    });
    // Several pods' lives are one future here, which is too much for the stack of a test.
    Box::pin(driving).await
}

fn outcome(carried: Result<Carried, CommandError>) -> Outcome {
    match carried.unwrap() {
        Carried::Ended(outcome) => outcome,
        Carried::Driven(driven) => driven.1.outcome,
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_drives_what_was_asked_for_to_its_end() {
    let shop = shop().await;
    let pod = async {
        let job = job(&shop).await;
        outcome(run_pod(&shop, &job, "canary-a").await)
    };
    let asked = async {
        let detached = detach(&shop, brisk_with("10,100"), Signals::none())
            .await
            .unwrap();
        // Whoever asked is free as soon as the first weight is set.
        (detached, shop.weights())
    };
    let (outcome, (detached, weights)) = tokio::join!(pod, asked);
    assert_eq!(weights, [90, 10]);
    assert_eq!(detached.finish.outcome, Outcome::StepSet);
    let job = detached.job.unwrap();
    assert!(job.starts_with("canary-reviews-"), "{job}");
    assert_eq!(outcome, Outcome::Promoted);
    assert_eq!(shop.weights(), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_dies_has_a_successor_which_goes_on_with_the_same_run() {
    let shop = shop().await;
    let pods = async {
        let job = job(&shop).await;
        let first = run_pod(&shop, &job, "canary-a");
        let died = timeout(Duration::from_secs(8), first).await;
        assert!(died.is_err(), "it was driving");
        let before = shop.rollout().unwrap();
        let last = outcome(run_pod(&shop, &job, "canary-b").await);
        // A third pod, had the second died before it could say how it ended.
        let third = run_pod(&shop, &job, "canary-c").await;
        assert!(matches!(third, Ok(Carried::Ended(Outcome::Promoted))));
        (before, last)
    };
    let (asked, (before, last)) = tokio::join!(
        detach(&shop, brisk_with("10,50,100"), Signals::none()),
        pods
    );
    let run = asked.unwrap().finish.rollout.run;
    assert_eq!(before.run, run);
    assert!(
        before.holder.starts_with("job@canary-a/"),
        "{}",
        before.holder
    );
    assert_eq!(last, Outcome::Promoted);
    assert_eq!(shop.climbed().last().unwrap(), "100");
    assert!(shop.annotation("last").unwrap().contains(&run));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_paused_stays_paused_for_the_next_pod() {
    let shop = shop().await;
    let pods = async {
        let job = job(&shop).await;
        let first = run_pod(&shop, &job, "canary-a");
        let _ = timeout(Duration::from_secs(8), first).await;
        shop.pause("bob@desk").await.unwrap();
        let second = run_pod(&shop, &job, "canary-b");
        let _ = timeout(Duration::from_secs(120), second).await;
    };
    let options = brisk_with("10:1m,100");
    let (asked, ()) = tokio::join!(detach(&shop, options, Signals::none()), pods);
    asked.unwrap();
    let rollout = shop.rollout().unwrap();
    assert_eq!(rollout.phase, Phase::Paused);
    assert!(
        rollout.holder.starts_with("job@canary-b/"),
        "{}",
        rollout.holder
    );
    assert_eq!(shop.weights(), [90, 10]);
    // Who watches the second pod alone is told, too.
    let told = shop.told().into_iter().skip_while(|event| {
        !matches!(
            event,
            EventKind::Planned {
                resumed_from: Some(_),
                ..
            }
        )
    });
    let paused = told.filter_map(|event| match event {
        EventKind::Paused { by } => Some(by),
        _ => None,
    });
    assert_eq!(paused.collect::<Vec<_>>(), ["bob@desk"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_too_late_begins_nothing() {
    let shop = shop().await;
    let before = shop.object();
    let began = shop.world.clock().now();
    let asked = detach(&shop, brisk_with("10,100"), Signals::none()).await;
    let error = asked.unwrap_err().to_string();
    assert!(
        error.starts_with("job shop/canary-reviews-")
            && error.contains("did not start the rollout of virtualservice shop/reviews within 2m and will not start it any more"),
        "{error}"
    );
    let waited = shop.world.clock().now().duration_since(began);
    assert!(waited < SignedDuration::from_secs(140), "{waited:?}");
    let late = run_pod(&shop, &job(&shop).await, "canary-a").await;
    let late = late.unwrap_err().to_string();
    assert!(
        late.contains("had to start by 2026-01-01T12:03:00Z"),
        "{late}"
    );
    assert_eq!(shop.object(), before);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_reported_with_the_last_words_of_its_pod() {
    let shop = shop().await;
    let failing = async {
        let job = job(&shop).await;
        let name = job["metadata"]["name"].as_str().unwrap().to_owned();
        shop.world.set(|stage| {
            stage.apply(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": format!("{name}-x"), "namespace": "shop",
                    "labels": {"batch.kubernetes.io/job-name": name},
                },
                "spec": {"containers": [{"name": "canary", "image": "canary:1"}]},
                "status": {"containerStatuses": [{
                    "name": "canary", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
                }]},
            }));
        });
        let is_told = |shop: &Shop| shop.warnings().join("\n").contains("is not running yet");
        shop.until(is_told).await;
        shop.world.set(|stage| {
            stage.edit("pods", "shop", &format!("{name}-x"), "kubelet", |pod| {
                pod["status"]["containerStatuses"][0]["state"] = json!({"terminated": {
                    "exitCode": 4, "message": "warning: one\nerror: cannot reach Prometheus\n",
                }});
            });
            stage.edit("jobs", "shop", &name, "job-controller", |job| {
                job["status"]["conditions"] = json!([
                    {"type": "Failed", "status": "True", "message": "a pod failed"},
                ]);
            });
        });
    };
    let (asked, ()) = tokio::join!(
        detach(&shop, brisk_with("10,100"), Signals::none()),
        failing
    );
    let warnings = shop.warnings().join("\n");
    assert!(
        warnings.contains("is not running yet: ImagePullBackOff: no such image"),
        "{warnings}"
    );
    let error = asked.unwrap_err().to_string();
    assert!(
        error.contains("ended before it started the rollout of virtualservice shop/reviews: exit code 4, error: cannot reach Prometheus (try: kubectl logs job/canary-reviews-"),
        "{error}"
    );
    shop.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_created_where_the_job_could_not_run() {
    let shop = Shop::open().await;
    let asked = detach(&shop, brisk_with("10,100"), Signals::none()).await;
    let error = asked.unwrap_err().to_string();
    assert_eq!(
        error,
        "serviceaccount shop/kubectl-canary not found (try: kubectl canary rbac -n shop --subject serviceaccount:kubectl-canary | kubectl apply -f -)"
    );
    let writes = shop
        .world
        .calls()
        .into_iter()
        .filter(|call| call.is_write() && call.path.contains("/jobs"));
    assert_eq!(writes.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_signal_while_the_job_is_awaited_says_how_to_stop_it() {
    let shop = shop().await;
    let (tell, queue) = signals();
    let signal = async {
        job(&shop).await;
        tell.send(Signal::Interrupt).unwrap();
    };
    let (asked, ()) = tokio::join!(detach(&shop, brisk_with("10,100"), queue), signal);
    let error = asked.unwrap_err().to_string();
    assert!(
        error.contains("will still start the rollout (try: kubectl delete job canary-reviews-"),
        "{error}"
    );
    assert!(VirtualService::new(shop.object()).is_ok());
}
