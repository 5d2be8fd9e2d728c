//! Namespaces as others have them, and what is left of them when a part is taken away: whatever YAML `plan`
//! prints is taken by a real API server and istiod's webhook, and the next plan has no more need of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{Ended, Program};
use crate::sources::{is_of_the_mesh, objects};
use crate::stack::Stack;

/// Each a namespace of its own.
const INPUTS: [&str; 21] = [
    include_str!("printed/06-header-route-first-exportto.yaml"),
    include_str!("printed/07-root-delegates.yaml"),
    include_str!("printed/10-gateway-by-old-name.yaml"),
    include_str!("printed/11-owned-by-a-controller.yaml"),
    include_str!("printed/18-external-endpoints-as-subsets.yaml"),
    include_str!("printed/21-two-rules-instead-of-one.yaml"),
    include_str!("printed/22-host-name-dot-namespace.yaml"),
    include_str!("printed/27-delay-fault-left-in.yaml"),
    include_str!("printed/28-canary-answers-404.yaml"),
    include_str!("printed/29-gateway-only-and-mesh-callers.yaml"),
    include_str!("printed/30-pods-of-argo-rollouts.yaml"),
    include_str!("printed/32-argo-cd-by-label.yaml"),
    include_str!("printed/35-ports-instead-of-subsets.yaml"),
    include_str!("printed/37-north-south-and-east-west.yaml"),
    include_str!("printed/40-openshift-deploymentconfig.yaml"),
    include_str!("printed/42-rules-that-stay-plus-503s.yaml"),
    include_str!("printed/43-no-workload-label.yaml"),
    include_str!("printed/44-two-prometheus-replicas.yaml"),
    include_str!("printed/45-only-sidecars-scraped.yaml"),
    include_str!("printed/48-own-cluster-domain.yaml"),
    include_str!("printed/50-start-from-90-10.yaml"),
];

/// After so many rounds of subsets, then routes, nothing more may be printed.
const ROUNDS: usize = 3;
/// How long pods may take to be there.
const PODS_WITHIN: Duration = Duration::from_secs(20);

/// What is taken away of an input.
#[derive(Clone, Copy, Debug)]
enum Without {
    Nothing,
    Rules,
    LastSubset,
    LastDestinations,
    RulesAndDestinations,
}

impl Without {
    const ALL: [Self; 5] = [
        Self::Nothing,
        Self::Rules,
        Self::LastSubset,
        Self::LastDestinations,
        Self::RulesAndDestinations,
    ];

    /// The object, if it is still there.
    fn left(self, object: &Value) -> Option<Value> {
        let mut object = object.clone();
        let is_rule = object["kind"] == "DestinationRule";
        match self {
            Self::Rules | Self::RulesAndDestinations if is_rule => return None,
            Self::LastSubset if is_rule => {
                let subsets = object["spec"]["subsets"].as_array_mut();
                subsets.expect("each has some").pop();
            }
            Self::LastDestinations | Self::RulesAndDestinations => {
                let rules = object.pointer_mut("/spec/http");
                let rules = rules.and_then(Value::as_array_mut);
                for rule in rules.into_iter().flatten() {
                    if let Some(route) = rule.get_mut("route").and_then(Value::as_array_mut) {
                        route.truncate(1);
                        route[0]["weight"] = json!(100);
                    }
                }
            }
            Self::Nothing | Self::Rules | Self::LastSubset => {}
        }
        Some(object)
    }
}

async fn plan(stack: &Stack, (namespace, name): (&str, &str), more: &str) -> Ended {
    let url = &stack.description.prometheus.url;
    let words = format!("plan {name} --prometheus {url} {more}");
    let ended = Program::new(&stack.description, namespace, &words)
        .run()
        .await;
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

/// The objects that a plan prints in full, each with what it is printed for.
async fn printed(stack: &Stack, of: (&str, &str)) -> Vec<(String, String)> {
    let ended = plan(stack, of, "").await;
    // Where nothing can be shifted, stdout is what to apply and nothing else.
    if ended.code == Some(1) && ended.stdout.contains("\nkind: ") {
        return vec![(ended.stderr, ended.stdout)];
    }
    let ended = plan(stack, of, "-o json").await;
    let Ok(view) = serde_json::from_str::<Value>(&ended.stdout) else {
        return Vec::new();
    };
    let findings = view["findings"].as_array().into_iter().flatten();
    findings
        .filter_map(|finding| {
            let snippet = finding["snippet"].as_str()?;
            let object: Value = serde_saphyr::from_str(snippet).ok()?;
            object.get("kind")?;
            Some((finding["what"].as_str()?.to_owned(), snippet.to_owned()))
        })
        .collect()
}

/// Applies what is printed until nothing is, and says how many objects that were.
async fn follow(stack: &Stack, of: (&str, &str), scene: &str) -> usize {
    let mut applied = 0;
    let mut before: Vec<String> = Vec::new();
    for round in 0.. {
        let objects = printed(stack, of).await;
        for (what, yaml) in &objects {
            assert!(
                round < ROUNDS,
                "{scene}: it is printed again and again: {yaml}"
            );
            assert!(!before.contains(what), "{scene}: it is still so: {what}");
            let answer = stack.kubectl("apply -f -", yaml);
            let said = String::from_utf8_lossy(&answer.stderr).into_owned();
            assert!(answer.status.success(), "{scene}: {said}\n{yaml}");
            applied += 1;
        }
        // Nobody labels the pods here, without which the same is printed again.
        let wants_labels = |(_, yaml): &(String, String)| yaml.contains("label the current ones");
        if objects.is_empty() || objects.iter().any(wants_labels) {
            return applied;
        }
        before = objects.into_iter().map(|(what, _)| what).collect();
    }
    applied
}

async fn pods_are_there(stack: &Stack, namespace: &str, count: usize) {
    let began = Instant::now();
    loop {
        let found = stack.kubectl(&format!("get pods -n {namespace} -o name"), "");
        if String::from_utf8_lossy(&found.stdout).lines().count() >= count {
            return;
        }
        assert!(began.elapsed() < PODS_WITHIN, "{namespace}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn every_object_that_is_printed_is_taken_by_a_real_api_server_and_not_printed_again() {
    let stack = Stack::open().await;
    let mut applied = 0;
    for input in INPUTS {
        let (of_mesh, others): (Vec<_>, Vec<_>) =
            objects(input).into_iter().partition(is_of_the_mesh);
        let namespace = others[0]["metadata"]["name"].as_str().expect("a Namespace");
        for object in &others {
            stack.apply(object).await.expect("it is taken");
        }
        let replicas = others
            .iter()
            .filter_map(|object| object["spec"]["replicas"].as_u64());
        let replicas = usize::try_from(replicas.sum::<u64>()).expect("a few");
        pods_are_there(&stack, namespace, replicas).await;
        let routes = of_mesh
            .iter()
            .filter(|object| object["kind"] == "VirtualService");
        let names: Vec<_> = routes
            .filter_map(|object| object["metadata"]["name"].as_str())
            .collect();
        for without in Without::ALL {
            let delete = format!("delete virtualservices,destinationrules --all -n {namespace}");
            stack.kubectl(&delete, "");
            for object in of_mesh.iter().filter_map(|object| without.left(object)) {
                stack.apply(&object).await.expect("it is taken");
            }
            for name in &names {
                let scene = format!("{namespace}/{name} without {without:?}");
                applied += follow(&stack, (namespace, name), &scene).await;
            }
        }
        stack.kubectl(&format!("delete namespace {namespace} --wait=false"), "");
    }
    // Most inputs print something as soon as a part is missing.
    assert!(applied > INPUTS.len(), "{applied}");
}
