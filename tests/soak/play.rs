//! Plays a seed: sets its world up, lets everything happen, waits until it is quiet, and has it checked.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubectl_canary::clock::Clock;
use kubectl_canary::sandbox::{Rule, World, fixtures};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::network::Weather;
use crate::process::{Order, Process, Traits, run};
use crate::promises::Promises;
use crate::scenario::{Edit, Happening, Scenario};
use crate::stage::{Stage, described};

/// How long the past is that a rollout finds.
const PAST: Duration = Duration::from_secs(10);
/// How long everything may go on by itself once nothing happens any more.
const AFTERMATH: Duration = Duration::from_secs(40);
/// How long an abort, and everybody whom it ends, may take.
const LAST: Duration = Duration::from_secs(60);

/// How long a call may be on its way.
const LATEST: Duration = Duration::from_secs(30);

/// What came of a seed.
pub struct Played {
    pub log: String,
    pub violations: Vec<String>,
}

/// Plays a seed in virtual time; the log is kept where it is asked for.
pub fn play(seed: u64, verbose: bool) -> Played {
    // As the program does it; another seed may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (log, violations) = LocalSet::new().block_on(&runtime, all(seed, verbose));
    Played { log, violations }
}

async fn all(seed: u64, verbose: bool) -> (String, Vec<String>) {
    let scenario = Scenario::of(seed);
    let stage = set_up(&scenario, verbose).await;
    let mut processes = Vec::new();
    let began = Instant::now();
    for (at, happening) in &scenario.events {
        sleep_until(began + *at).await;
        perform(&stage, &mut processes, happening);
    }
    let last = scenario.events.last().map_or(Duration::ZERO, |(at, _)| *at);
    // What was said to last longer may do so a little.
    sleep_until(began + last + Duration::from_secs(5)).await;
    stage.log(|| "calm".to_owned());
    stage.calm();
    stage.world().faults().clear();
    let quiet = async |processes: &[Process], within: Duration| {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if processes.iter().all(|process| process.task.is_finished()) {
                return true;
            }
            sleep(Duration::from_millis(200)).await;
        }
        false
    };
    let ended = quiet(&processes, AFTERMATH).await;
    if !ended || stage.is_under_way() {
        processes.push(run(&stage, scenario.ends_with.clone(), careful()));
        quiet(&processes, AFTERMATH).await;
    }
    for _ in stage.objects() {
        if stage.is_under_way() || !quiet(&processes, Duration::from_secs(5)).await {
            processes.push(run(&stage, Order::Abort { forget: true }, careful()));
            quiet(&processes, LAST).await;
        }
    }
    if stage.is_half_undone() {
        processes.push(run(&stage, Order::Undo, careful()));
        quiet(&processes, LAST).await;
    }
    // Whatever is still on its way arrives; a query that hangs never does.
    let until = Instant::now() + LATEST;
    while !stage.all_arrived() && Instant::now() < until {
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(1)).await;
    for process in processes {
        if !process.task.is_finished() {
            process.task.abort();
            stage.violation(format!("p{} never ended", process.number));
        } else if process.task.await.is_err_and(|error| error.is_panic()) {
            stage.violation(format!("p{} panicked", process.number));
        }
    }
    stage.finish()
}

/// A process that nothing happens to.
fn careful() -> Traits {
    Traits {
        deadline: Duration::from_secs(10),
        dies_at: None,
        clock: SignedDuration::ZERO,
        slow_output: (0, Duration::ZERO),
    }
}

async fn set_up(scenario: &Scenario, verbose: bool) -> Stage {
    let origin: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let world = World::new(Clock::starting_at(origin));
    world.set(|setup| {
        fixtures::shop(setup);
        for (_, object) in &scenario.objects {
            setup.apply(object.clone());
        }
        let demand = setup.traffic().demand(fixtures::REVIEWS);
        demand.per_second(scenario.rate);
        if scenario.over_tcp {
            demand.over_tcp();
        }
        if scenario.has_testers || scenario.is_sticky {
            demand.through("kubectl-canary-run0-0", 0.1);
        }
        setup
            .traffic()
            .version("shop", "reviews-v2")
            .fails(scenario.fails);
    });
    sleep(PAST).await;
    let promises = Promises::new(scenario.rules.clone());
    let stage = Stage::new(world, scenario.dice.clone(), promises, verbose);
    for (name, _) in &scenario.objects {
        let object = stage.world().object("virtualservices", "shop", name);
        stage.log(|| format!("set up: {name} {}", described(object.as_ref().unwrap())));
        stage.written_by_others(name, object);
    }
    stage.log(|| {
        format!(
            "plan: {:?} fails {} of {}/s",
            scenario.rules, scenario.fails, scenario.rate
        )
    });
    stage
}

fn perform(stage: &Stage, processes: &mut Vec<Process>, happening: &Happening) {
    let living: Vec<_> = processes
        .iter()
        .filter(|process| !process.task.is_finished())
        .map(|process| process.number)
        .collect();
    let one = |whom: u64| {
        let place = whom.checked_rem(living.len() as u64)?;
        Some(living[usize::try_from(place).unwrap()])
    };
    if !matches!(happening, Happening::Run(..)) {
        stage.log(|| format!("happens: {happening:?}"));
    }
    let at = stage.world().clock().now();
    match happening {
        Happening::Run(order, traits) => processes.push(run(stage, order.clone(), *traits)),
        Happening::Weather {
            lasting,
            whose,
            fault,
            percent,
            times,
            writes_only,
        } => stage.add_weather(Weather {
            until: Instant::now() + *lasting,
            whose: whose.and_then(one),
            fault: *fault,
            percent: *percent,
            times: *times,
            writes_only: *writes_only,
        }),
        Happening::Silence(lasting) => stage.silence(*lasting),
        Happening::Stall(whom, lasting) => {
            if let Some(process) = one(*whom) {
                stage.stall(process, *lasting);
            }
        }
        Happening::Kill(whom) => {
            if let Some(process) = one(*whom) {
                stage.life(process, |life| life.dead = true);
                stage.log(|| format!("killed: p{process}"));
                processes[process].task.abort();
            }
        }
        Happening::Signal(whom, signal) => {
            if let Some(process) = one(*whom) {
                stage.log(|| format!("signal: p{process}"));
                stage.life(process, |life| life.signalled = true);
                let _ = processes[process].signals.send(*signal);
            }
        }
        Happening::Edit(whom, edit) => {
            let names = stage.objects();
            let name = &names[usize::try_from(*whom).unwrap() % names.len()];
            let world = stage.world();
            let Some(found) = world.object("virtualservices", "shop", name) else {
                return;
            };
            if matches!(edit, Edit::Delete | Edit::Recreate) {
                world.set(|setup| setup.delete("virtualservices", "shop", name));
                stage.log(|| format!("deleted: {name}"));
                stage.written_by_others(name, None);
            }
            match edit {
                Edit::Delete => return,
                Edit::Recreate => world.apply(found),
                edit => world.edit("virtualservices", "shop", name, "argocd", |object| {
                    change(object, *edit);
                }),
            }
            let object = world.object("virtualservices", "shop", name);
            stage.log(|| format!("edited: {name} {}", described(object.as_ref().unwrap())));
            stage.written_by_others(name, object);
        }
        Happening::Metrics(fault, lasting) => {
            let until = at + SignedDuration::try_from(*lasting).unwrap();
            stage
                .world()
                .faults()
                .prometheus(Rule::new(fault.clone()).until(until));
        }
        Happening::Replicas(lasting) => stage.replicas(*lasting),
        Happening::ClockSet(whom, by) => {
            if let Some(process) = one(*whom) {
                processes[process].clock.set_forward(*by);
            }
        }
        Happening::WatchesEnd => stage.world().set(|setup| {
            setup.end_watches();
            setup.compact();
        }),
        Happening::Pods(ready) => {
            stage
                .world()
                .set(|setup| setup.pods("shop", "version=v2").ready(*ready));
        }
        Happening::Breaks => {
            stage
                .world()
                .traffic()
                .version("shop", "reviews-v2")
                .fails_from(at, 0.6);
        }
    }
}

/// Another client's edit.
fn change(object: &mut Value, edit: Edit) {
    let kind = ["http", "tls", "tcp"]
        .into_iter()
        .find(|kind| object["spec"].get(kind).is_some());
    let kind = kind.expect("it has routes");
    let rules = object["spec"][kind]
        .as_array_mut()
        .expect("they are a list");
    match edit {
        Edit::Weights(canary) => {
            let both = |rule: &&mut Value| {
                rule["route"]
                    .as_array()
                    .is_some_and(|route| route.len() > 1)
            };
            if let Some(rule) = rules.iter_mut().find(both) {
                for target in rule["route"].as_array_mut().into_iter().flatten() {
                    match target["destination"]["subset"].as_str() {
                        Some("v1") => target["weight"] = (100 - canary).into(),
                        Some("v2") => target["weight"] = canary.into(),
                        _ => {}
                    }
                }
            }
        }
        Edit::Timeout(seconds) if kind == "http" => {
            let last = rules.last_mut().expect("there are some");
            last["retries"] = json!({"attempts": seconds});
        }
        Edit::Timeout(_) | Edit::Label => object["metadata"]["labels"] = json!({"team": "shop"}),
        Edit::Rule if kind == "http" => {
            let rule = json!({"name": "new", "match": [{"uri": {"prefix": "/new"}}], "redirect": {"uri": "/"}});
            rules.insert(0, rule);
        }
        Edit::Rule | Edit::Reverse => rules.reverse(),
        Edit::RemoveRule => {
            if rules.len() > 1 {
                rules.remove(0);
            }
        }
        Edit::Rename if kind == "http" => rules[0]["name"] = "other".into(),
        Edit::Rename | Edit::Delete | Edit::Recreate => {}
    }
}
