//! What a seed stands for: a world, a plan, and what happens in it.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::Signal;
use kubectl_canary::commands::{RolloutArgs, Start};
use kubectl_canary::plan::{
    AfterRegression, AnalysisKind, HumanDuration, OnDrift, OnSignal, OnStuck, Options,
};
use kubectl_canary::sandbox::PrometheusFault;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::network::Fault;
use crate::process::{Order, Traits};
use crate::promises::Rules;

/// One seed's world and what happens in it.
#[derive(Debug)]
pub struct Scenario {
    /// The VirtualServices by name, the lead first.
    pub objects: Vec<(String, Value)>,
    pub rules: Rules,
    /// Requests or connections per second.
    pub rate: f64,
    pub over_tcp: bool,
    /// The share of the canary's requests that fail.
    pub fails: f64,
    /// Whether some of the requests are testers', or of users who stay on the canary.
    pub has_testers: bool,
    pub is_sticky: bool,
    /// When something happens, in order.
    pub events: Vec<(Duration, Happening)>,
    /// How what is left is ended.
    pub ends_with: Order,
    /// The network's and the output's own.
    pub dice: Dice,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A process begins.
    Run(Order, Traits),
    /// Calls fail for some time.
    Weather {
        lasting: Duration,
        /// Which of the processes that live then; all without.
        whose: Option<u64>,
        fault: Fault,
        percent: u64,
        times: u64,
        writes_only: bool,
    },
    /// No watch tells anything for some time.
    Silence(Duration),
    /// A process does not run for some time.
    Stall(u64, Duration),
    /// A process is gone.
    Kill(u64),
    /// A process gets a signal.
    Signal(u64, Signal),
    /// Another client edits an object.
    Edit(u64, Edit),
    /// Prometheus is not itself for some time.
    Metrics(PrometheusFault, Duration),
    /// Two replicas of Prometheus answer in turn for some time, one of them a scrape behind.
    Replicas(Duration),
    /// A process's wall clock is set.
    ClockSet(u64, SignedDuration),
    /// Every watch ends, and what they go on from is forgotten.
    WatchesEnd,
    /// The canary's pods are ready, or not.
    Pods(bool),
    /// From now on the canary fails.
    Breaks,
}

/// What another client does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Sets the weights of its first route.
    Weights(i64),
    /// Sets a field that is none of a rollout's business.
    Timeout(u64),
    /// Sets a label.
    Label,
    /// Adds a rule before all others.
    Rule,
    /// Reverses the order of its rules.
    Reverse,
    /// Removes one of several rules that hold both versions.
    RemoveRule,
    /// Gives its first rule another name.
    Rename,
    /// Deletes it.
    Delete,
    /// Deletes it and makes it anew as it was.
    Recreate,
}

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let dice = &mut dice;
        let kind = dice.pick(&["http", "http", "http", "http", "tcp", "tls"]);
        let companions = kind == "http" && dice.chance(25);
        let adds = dice.chance(15);
        let has_testers = kind == "http" && dice.chance(15);
        let mirrors = kind == "http" && dice.chance(15);
        // By dice of its own, so that what a seed meant before is still what it means.
        let is_sticky = kind == "http" && Dice::seeded(!seed).chance(20);
        let is_fine = dice.chance(15);
        let has_a_share = dice.chance(20);
        let made = Made { adds, has_a_share };
        let mut objects = vec![("reviews".to_owned(), lead(kind, companions, made, dice))];
        if companions {
            objects.push((
                "storefront".into(),
                companion("shop.example.com", made, dice),
            ));
            if dice.chance(50) {
                objects.push((
                    "partners".into(),
                    companion("partners.example.com", made, dice),
                ));
            }
        }
        let steps = dice.pick(&[
            "10,50,100",
            "20,100",
            "10,30,60,100",
            "50:pause,100",
            "20:5s,100",
            "10,100",
            "50,100",
        ]);
        let steps = [
            mirrors.then_some("mirror:10%"),
            is_fine.then_some("0.5"),
            Some(steps),
        ];
        let steps = steps.into_iter().flatten().collect::<Vec<_>>().join(",");
        let by_evidence = dice.chance(30);
        let after_regression = dice
            .chance(if has_a_share { 60 } else { 10 })
            .then_some(AfterRegression::Zero);
        let fails = if dice.chance(30) { 0.6 } else { 0.0 };
        let rate = dice.pick(&[100.0, 100.0, 200.0, 3.0]);
        let stuck = [
            OnStuck::Rollback,
            OnStuck::Rollback,
            OnStuck::Hold,
            OnStuck::Promote,
        ];
        let options = Options {
            stable: Some("v1".into()),
            canary: Some("v2".into()),
            also: objects
                .iter()
                .skip(1)
                .map(|(name, _)| name.clone())
                .collect(),
            add_destination: adds,
            fine_weights: is_fine,
            testers: has_testers.then(|| "header:x-canary=1".parse().unwrap()),
            sticky: is_sticky.then(|| "cookie=canary,30s".parse().unwrap()),
            steps: Some(steps.parse().unwrap()),
            dwell: Some("3s".parse().unwrap()),
            bake: dice.chance(15).then(|| "3s".parse().unwrap()),
            interval: Some("1s".parse().unwrap()),
            analysis: (!by_evidence).then_some(AnalysisKind::Threshold),
            min_requests: (!by_evidence).then_some(10),
            tolerance: by_evidence.then(|| "10%".parse().unwrap()),
            // Nothing but failures is ever different here.
            ignore_latency: by_evidence,
            warmup: by_evidence.then_some(HumanDuration::ZERO),
            after_regression,
            step_timeout: Some("10s".parse().unwrap()),
            metrics_grace: Some("5s".parse().unwrap()),
            rollback_timeout: Some("30s".parse().unwrap()),
            on_inconclusive: Some(dice.pick(&stuck)),
            on_no_metrics: Some(dice.pick(&stuck)),
            on_drift: Some(dice.pick(&[OnDrift::Stop, OnDrift::Rollback, OnDrift::Reassert])),
            on_signal: Some(dice.pick(&[OnSignal::Rollback, OnSignal::Rollback, OnSignal::Hold])),
            ..Options::default()
        };
        let judged = options.on_inconclusive != Some(OnStuck::Promote)
            && options.on_no_metrics != Some(OnStuck::Promote);
        let mut rules = Rules {
            objects: objects.iter().map(|(name, _)| name.clone()).collect(),
            steps: has_testers
                .then_some(0)
                .into_iter()
                .chain(steps.split(',').map(hundredths))
                .collect(),
            mirrors_at: mirrors.then_some(usize::from(has_testers)),
            is_sticky,
            takes_all: after_regression == Some(AfterRegression::Zero),
            // Another client's edit of a promoted object keeps `undo` from being finished.
            is_left_alone: true,
            least_millis: 3000,
            canary_is_broken: fails > 0.5 && rate > 50.0 && judged,
            canary_never_fails: fails == 0.0,
            keeps_foreign: options.on_drift == Some(OnDrift::Stop),
        };
        let start = |no_wait: bool| {
            Order::Start(Box::new(Start {
                rollout: RolloutArgs {
                    name: Some("reviews".into()),
                    options: options.clone(),
                    ..RolloutArgs::default()
                },
                no_wait,
                ..Start::default()
            }))
        };
        let first = Happening::Run(start(dice.chance(10)), traits(dice));
        let mut events = vec![(Duration::ZERO, first)];
        for _ in 0..dice.between(0, 8) {
            let at = Duration::from_millis(dice.between(0, 25_000));
            let starts = start(false);
            let happening = happening(dice, &starts);
            events.push((at, happening));
        }
        if dice.chance(30) {
            for _ in 0..dice.between(1, 2) {
                let at = Duration::from_millis(dice.between(5_000, 30_000));
                events.push((at, Happening::Run(Order::Undo, traits(dice))));
                if dice.chance(30) {
                    let later = at + Duration::from_millis(dice.between(0, 300));
                    events.push((later, Happening::Run(start(false), traits(dice))));
                }
            }
        }
        let is_edit =
            |(_, happening): &(Duration, Happening)| matches!(happening, Happening::Edit(..));
        rules.is_left_alone = !events.iter().any(is_edit);
        let fails_later = |(_, happening): &(Duration, Happening)| {
            matches!(happening, Happening::Breaks | Happening::Pods(false))
        };
        rules.canary_never_fails &= !events.iter().any(fails_later);
        events.sort_by_key(|(at, _)| *at);
        let ends_with = dice.pick(&[
            Order::Abort { forget: false },
            Order::Abort { forget: false },
            Order::Promote {
                full: true,
                wait: false,
            },
            Order::Resume,
            Order::Undo,
        ]);
        Self {
            objects,
            rules,
            rate,
            over_tcp: kind != "http",
            fails,
            has_testers,
            is_sticky,
            events,
            ends_with,
            dice: dice.fork(),
        }
    }
}

/// The share of users' requests at a step, in hundredths of a percent.
fn hundredths(step: &str) -> i64 {
    match step.split(':').next().unwrap() {
        "mirror" => 0,
        "0.5" => 50,
        percent => 100 * percent.parse::<i64>().unwrap(),
    }
}

fn seconds(dice: &mut Dice, most: u64) -> Duration {
    Duration::from_millis(dice.between(100, most * 1000))
}

fn traits(dice: &mut Dice) -> Traits {
    Traits {
        deadline: Duration::from_secs(dice.pick(&[2, 5, 10])),
        dies_at: dice.chance(15).then(|| dice.between(1, 300)),
        clock: match dice.chance(10) {
            true => SignedDuration::from_secs(i64::try_from(dice.between(0, 20)).unwrap() - 10),
            false => SignedDuration::ZERO,
        },
        slow_output: match dice.chance(5) {
            true => (10, seconds(dice, 5)),
            false => (0, Duration::ZERO),
        },
    }
}

fn happening(dice: &mut Dice, start: &Order) -> Happening {
    let whom = dice.between(0, 1000);
    match dice.between(1, 100) {
        1..=5 => Happening::Run(start.clone(), traits(dice)),
        6..=13 => Happening::Run(Order::Resume, traits(dice)),
        14..=21 => {
            let order = dice.pick(&[
                Order::Promote {
                    full: false,
                    wait: false,
                },
                Order::Promote {
                    full: false,
                    wait: true,
                },
                Order::Promote {
                    full: true,
                    wait: false,
                },
            ]);
            Happening::Run(order, traits(dice))
        }
        22..=26 => Happening::Run(Order::Pause, traits(dice)),
        27..=34 => Happening::Run(Order::Abort { forget: false }, traits(dice)),
        35..=66 => weather(dice, whom),
        67..=70 => Happening::Silence(seconds(dice, 20)),
        71..=78 => Happening::Stall(whom, seconds(dice, 40)),
        79..=82 => Happening::Kill(whom),
        83..=87 => Happening::Signal(
            whom,
            dice.pick(&[Signal::Interrupt, Signal::Terminate, Signal::HangUp]),
        ),
        88..=93 => {
            let edit = match dice.between(0, 12) {
                0..=4 => Edit::Weights(i64::try_from(dice.between(0, 100)).unwrap()),
                5 => Edit::Timeout(dice.between(1, 9)),
                6 => Edit::Label,
                7 => Edit::Rule,
                8..=9 => Edit::Reverse,
                10 => Edit::RemoveRule,
                11 => Edit::Rename,
                _ => dice.pick(&[Edit::Delete, Edit::Recreate]),
            };
            Happening::Edit(whom, edit)
        }
        94..=96 => {
            let fault = dice.pick(&[
                PrometheusFault::Down,
                PrometheusFault::Empty,
                PrometheusFault::Hang,
                PrometheusFault::Answer { code: 503 },
                PrometheusFault::Malformed,
                PrometheusFault::Partial,
            ]);
            Happening::Metrics(fault, seconds(dice, 12))
        }
        97 => Happening::Replicas(seconds(dice, 20)),
        98 => match dice.chance(50) {
            true => Happening::WatchesEnd,
            false => {
                let seconds = i64::try_from(dice.between(0, 120)).unwrap() - 60;
                Happening::ClockSet(whom, SignedDuration::from_secs(seconds))
            }
        },
        99 => Happening::Pods(dice.chance(50)),
        _ => Happening::Breaks,
    }
}

fn weather(dice: &mut Dice, whom: u64) -> Happening {
    let fault = match dice.between(0, 12) {
        0..=2 => Fault::Status(dice.pick(&[500, 503, 504, 429])),
        3 => Fault::Status(dice.pick(&[401, 403, 404])),
        4 => Fault::DoneBut(dice.pick(&[503, 504, 500])),
        5 => Fault::Refused,
        6 => Fault::Lost,
        7 if dice.chance(30) => Fault::Webhook,
        7 => Fault::AnswerLost,
        8 => Fault::Broken,
        9..=10 => Fault::Late(dice.between(100, 25_000)),
        _ => Fault::Slow(dice.between(100, 12_000)),
    };
    let once = matches!(fault, Fault::Status(401 | 403 | 404));
    Happening::Weather {
        lasting: seconds(dice, 20),
        whose: dice.chance(70).then_some(whom),
        fault,
        percent: dice.pick(&[100, 100, 50, 20]),
        times: if once { 1 } else { dice.pick(&[1, 2, 5, 1000]) },
        writes_only: dice.chance(50),
    }
}

fn target(version: &str, weight: Option<i64>) -> Value {
    let mut target = json!({"destination": {"host": "reviews", "subset": version}});
    if let Some(weight) = weight {
        target["weight"] = weight.into();
    }
    target
}

/// How the routes of a scenario are made.
#[derive(Clone, Copy, Debug)]
struct Made {
    /// Without the canary.
    adds: bool,
    /// With a share that the canary has already.
    has_a_share: bool,
}

/// A list of destinations with both versions, in any order, maybe with a third; or with stable alone.
fn route(made: Made, dice: &mut Dice) -> Value {
    if made.adds {
        let weight = dice.pick(&[None, Some(100)]);
        return json!([target("v1", weight)]);
    }
    let total = dice.pick(&[100, 100, 100, 200, 1000]);
    let had = if made.has_a_share || dice.chance(10) {
        total / 20
    } else {
        0
    };
    let others = if dice.chance(25) { total / 5 } else { 0 };
    let canary = match had {
        0 => dice.pick(&[None, Some(0)]),
        had => Some(had),
    };
    let mut targets = vec![
        target("v1", Some(total - had - others)),
        target("v2", canary),
    ];
    if dice.chance(30) {
        targets.swap(0, 1);
    }
    if others > 0 {
        let place = usize::try_from(dice.between(0, 2)).unwrap();
        let other = json!({"destination": {"host": "legacy"}, "weight": others});
        targets.insert(place, other);
    }
    Value::from(targets)
}

/// The lead: one to three rules of a kind, each to be found again by its name or its match.
fn lead(kind: &str, in_mesh: bool, made: Made, dice: &mut Dice) -> Value {
    let mut rules = Vec::new();
    let count = dice.between(1, 3);
    for number in 1..=count {
        let is_last = number == count;
        let mut rule = json!({"route": route(made, dice)});
        match kind {
            "http" => {
                rule["name"] = format!("rule{number}").into();
                if !is_last {
                    rule["match"] = json!([{"uri": {"prefix": format!("/{number}")}}]);
                }
                if dice.chance(50) {
                    rule["timeout"] = "5s".into();
                }
            }
            "tls" => rule["match"] = json!([{"port": 442 + number, "sniHosts": ["reviews"]}]),
            _ => rule["match"] = json!([{"port": 31_400 + number}]),
        }
        rules.push(rule);
    }
    if kind == "http" && dice.chance(30) {
        let other = json!({"name": "old", "match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/"}});
        rules.insert(0, other);
    }
    let mut spec = json!({"hosts": ["reviews"], kind: rules});
    if kind == "http" && !in_mesh {
        spec["hosts"] = json!(["reviews", "shop.example.com"]);
        spec["gateways"] = json!(["mesh", "shop"]);
    }
    object("reviews", &spec)
}

fn companion(host: &str, made: Made, dice: &mut Dice) -> Value {
    let name = if host.starts_with("shop") {
        "storefront"
    } else {
        "partners"
    };
    let spec = json!({"hosts": [host], "gateways": ["shop"], "http": [
        {"name": "cart", "match": [{"uri": {"prefix": "/cart"}}], "route": [{"destination": {"host": "cart"}}]},
        {"name": "main", "route": route(made, dice)},
    ]});
    object(name, &spec)
}

fn object(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": "shop", "name": name}, "spec": spec,
    })
}
