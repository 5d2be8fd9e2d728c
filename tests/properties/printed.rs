//! What is printed to be typed or applied: every command of ours is one that the program takes, `start` as
//! `plan` prints it starts the rollout that was planned, and after every object that is printed the next
//! plan has no more need of it.

use clap::Parser;
use kubectl_canary::cli::{Cli, Command};
use kubectl_canary::commands::{self, PlanArgs};
use kubectl_canary::plan::{Finding, Level};
use kubectl_canary::report::PlanView;
use kubectl_canary::{CommandError, Signals};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::Shop;
use crate::seed::cases;
use crate::wild::{plan, service, service_of, virtual_service, world};

/// A namespace, and what is asked of it.
#[derive(Clone, Debug)]
struct Scene {
    http: Vec<Value>,
    subsets: Option<Vec<&'static str>>,
    other: Option<Value>,
    flags: Vec<String>,
    delegated: bool,
}

const HOSTS: [&str; 6] = [
    "tickets",
    "tickets",
    "tickets.w.svc.cluster.local",
    "tickets.w",
    "other",
    "bank.example.org",
];

/// Names as people give them: with what a shell, or a list, would take apart.
const NAMES: [&str; 6] = ["primary", "to tickets", "it's", "a,b", "x[1]", "$HOME"];

fn target() -> impl Strategy<Value = Value> {
    let subset = option::of(prop::sample::select(vec!["v1", "v2", "all pods"]));
    let port = option::weighted(0.1, prop::sample::select(vec![80, 81]));
    (
        prop::sample::select(HOSTS.to_vec()),
        subset,
        port,
        option::of(0_i64..=100),
    )
        .prop_map(|(host, subset, port, weight)| {
            let mut target = json!({"destination": {"host": host}});
            if let Some(subset) = subset {
                target["destination"]["subset"] = subset.into();
            }
            if let Some(port) = port {
                target["destination"]["port"] = json!({"number": port});
            }
            if let Some(weight) = weight {
                target["weight"] = weight.into();
            }
            target
        })
}

fn rule() -> impl Strategy<Value = Value> {
    let name = option::of(prop::sample::select(NAMES.to_vec()));
    let path = option::of(prop::sample::select(vec!["/", "/x", "/static"]));
    (vec(target(), 1..=3), name, path).prop_map(|(targets, name, path)| {
        let mut rule = json!({"route": targets});
        if let Some(name) = name {
            rule["name"] = name.into();
        }
        if let Some(path) = path {
            rule["match"] = json!([{"uri": {"prefix": path}}]);
        }
        rule
    })
}

fn scene() -> impl Strategy<Value = Scene> {
    let subsets = option::weighted(
        0.8,
        prop::sample::subsequence(vec!["v1", "v2", "all pods"], 0..=3),
    );
    let route = option::of(prop::sample::select(NAMES.to_vec()));
    let flags = (route, any::<bool>()).prop_map(|(route, add)| {
        let route = route.map(|name| format!("--route={name}"));
        let add = add.then(|| "--add-destination".to_owned());
        route.into_iter().chain(add).collect::<Vec<_>>()
    });
    let delegated = prop::bool::weighted(0.2);
    (
        vec(rule(), 1..=3),
        subsets,
        option::of(rule()),
        flags,
        delegated,
    )
        .prop_map(|(http, subsets, other, flags, delegated)| Scene {
            http,
            subsets,
            other,
            flags,
            delegated,
        })
}

/// Whether the embedded istiod takes such rules: it wants a total above 0.
fn is_valid(scene: &Scene) -> bool {
    scene.http.iter().chain(&scene.other).all(|rule| {
        let targets = rule["route"].as_array().unwrap();
        let weights = targets
            .iter()
            .map(|target| target["weight"].as_i64().unwrap_or(0));
        targets.len() == 1 || weights.sum::<i64>() > 0
    })
}

impl Scene {
    async fn open(&self) -> Shop {
        world(|stage| {
            service(stage, "w", "tickets");
            service_of(stage, "w", "other", &["v1"]);
            if let Some(names) = &self.subsets {
                let subsets: Vec<_> = names
                    .iter()
                    .map(|name| match *name {
                        "all pods" => json!({"name": name, "labels": {"app": "tickets"}}),
                        name => json!({"name": name, "labels": {"version": name}}),
                    })
                    .collect();
                stage.apply(json!({
                    "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                    "metadata": {"namespace": "w", "name": "tickets"},
                    "spec": {"host": "tickets", "subsets": subsets},
                }));
            }
            let bound = |http: Value| json!({"hosts": ["w.example"], "gateways": ["istio-system/public"], "http": http});
            if self.delegated {
                let root = json!([{"name": "to tickets", "match": [{"uri": {"prefix": "/"}}], "delegate": {"name": "routes"}}]);
                stage.apply(virtual_service("w", "edge", bound(root)));
                stage.apply(virtual_service("w", "routes", json!({"http": self.http})));
            } else {
                stage.apply(virtual_service("w", "edge", bound(json!(self.http))));
            }
            if let Some(other) = &self.other {
                let spec = json!({"hosts": ["o.example"], "gateways": ["public.istio-system"], "http": [other]});
                stage.apply(virtual_service("w", "beside", spec));
            }
        })
        .await
    }
}

/// The commands of ours in a text, each as the words that a shell makes of it.
fn commands_in(text: &str) -> Vec<Vec<String>> {
    let parts = text.split("kubectl canary ").skip(1);
    parts.map(|part| words(&format!("canary {part}"))).collect()
}

/// The words of a line as a shell would split it, up to where the sentence around it goes on.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut letters) = (false, line.chars().peekable());
    while let Some(letter) = letters.next() {
        let is_end = matches!(letters.peek(), None | Some(' '));
        match letter {
            '\'' => quoted = !quoted,
            '\\' if !quoted => words.last_mut().unwrap().extend(letters.next()),
            ')' | ';' | '\n' if !quoted => break,
            ',' if !quoted && is_end => break,
            ' ' if !quoted => words.push(String::new()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    // "to", "with" and "or" go on with the sentence.
    let end = words
        .iter()
        .position(|word| matches!(word.as_str(), "to" | "with" | "or"));
    words.truncate(end.unwrap_or(words.len()));
    words
}

/// What a person is told of a plan.
fn told(answer: &Result<PlanView, CommandError>) -> Vec<String> {
    match answer {
        Ok(view) => {
            let findings = view.findings.iter();
            let fixes = findings.filter_map(|finding| finding.fix.clone());
            fixes.chain(view.next.clone()).collect()
        }
        Err(CommandError::NothingToShift { proposal, .. }) => {
            vec![
                answer.as_ref().unwrap_err().to_string(),
                proposal.to_string(),
            ]
        }
        Err(error) => vec![error.to_string()],
    }
}

/// Types a command of ours: it must be one that the program takes, and a `plan` or `start` must find what it
/// names.
async fn type_in(shop: &Shop, words: &[String]) -> Option<Result<PlanView, CommandError>> {
    let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let rollout = match cli.command {
        Command::Plan(args) => args.rollout,
        Command::Start(args) => args.args.rollout,
        _ => return None,
    };
    let namespace = cli.connection.namespace;
    let args = PlanArgs {
        rollout,
        ..PlanArgs::default()
    };
    let answer = shop
        .act("alice@desk", Signals::none(), async |context| {
            context.namespace = namespace.expect("a printed command names the namespace");
            commands::plan(context, &args).await
        })
        .await;
    Some(answer)
}

/// The objects that a finding prints in full.
fn objects_of(finding: &Finding) -> Vec<Value> {
    let text = finding.snippet.as_deref().unwrap_or_default();
    let parsed: Option<Value> = serde_saphyr::from_str(text).ok();
    let whole = |object: &Value| {
        let kind = object["kind"].as_str();
        matches!(kind, Some("DestinationRule" | "VirtualService"))
    };
    parsed.filter(whole).into_iter().collect()
}

async fn check(scene: Scene) {
    let shop = scene.open().await;
    let flags: Vec<_> = scene.flags.iter().map(String::as_str).collect();
    let mut answer = plan(&shop, "w", "edge", &flags).await;
    for round in 0.. {
        for text in told(&answer) {
            for words in commands_in(&text) {
                let Some(typed) = type_in(&shop, &words).await else {
                    continue;
                };
                let is_next = answer
                    .as_ref()
                    .is_ok_and(|view| view.next.as_ref() == Some(&text));
                match (&answer, &typed) {
                    (Ok(planned), Ok(typed)) if is_next => {
                        assert!(!typed.refused, "{text}");
                        assert_eq!(typed.routes, planned.routes, "{text}");
                    }
                    (_, Err(error)) if is_next => panic!("{text}: {error}"),
                    _ => {}
                }
            }
        }
        let objects: Vec<Value> = match &answer {
            Err(CommandError::NothingToShift { proposal, .. }) => {
                proposal.list()["items"].as_array().unwrap().clone()
            }
            Ok(view) => view.findings.iter().flat_map(objects_of).collect(),
            Err(_) => Vec::new(),
        };
        if objects.is_empty() {
            break;
        }
        // Subsets, then the route.
        assert!(round < 3, "it is printed again and again: {objects:#?}");
        let before = answer.as_ref().ok().map(|view| view.findings.clone());
        for object in objects {
            shop.world.apply(object);
        }
        answer = plan(&shop, "w", "edge", &flags).await;
        if let (Some(before), Ok(now)) = (before, &answer) {
            let is_solved = |finding: &&Finding| !objects_of(finding).is_empty();
            for solved in before.iter().filter(is_solved) {
                assert!(solved.level != Level::Ok);
                let still = now
                    .findings
                    .iter()
                    .any(|finding| finding.what == solved.what);
                assert!(!still, "{solved:#?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn what_is_printed_works_as_printed(scene in scene().prop_filter("istiod takes it", is_valid)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(check(scene));
    }
}

#[test]
fn a_command_ends_where_its_sentence_goes_on() {
    for (text, expected) in [
        (
            "(try: kubectl canary status a -n b, or resume)",
            "status a -n b",
        ),
        (
            "next: kubectl canary start a -n b --route 'it'\\''s, or' --canary v2",
            "start a -n b --route it's, or --canary v2",
        ),
        ("or kubectl canary plan a -n b, which prints", "plan a -n b"),
        ("kubectl canary resume a -n b to shift it", "resume a -n b"),
    ] {
        let found = commands_in(text);
        assert_eq!(found[0][1..].join(" "), expected);
    }
}
