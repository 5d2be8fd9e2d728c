//! One rollout of a case on the real stack.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kubectl_canary::rollout::{Event, EventKind};
use serde_json::json;

use super::case::{AGE, Case, RATE};
use super::scraper::Scraper;
use crate::app::App;
use crate::stack::Stack;

/// No rollout takes longer.
const LONGEST: Duration = Duration::from_secs(600);

/// How long the pods may take to be of age.
const AGED_WITHIN: Duration = Duration::from_secs(2 * AGE);

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The canary has all the traffic.
    Promoted,
    /// The canary's traffic was taken away for good.
    RolledBack,
    /// Something else, such as no verdict.
    Otherwise,
}

/// What one rollout came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) ended: Ended,
    /// Seconds from the first weight until the canary had none again, or all.
    pub(super) seconds: f64,
    /// Failed requests of the canary, as its backends counted them.
    pub(super) failed: u64,
    /// The highest percentage the canary came to.
    pub(super) reached: f64,
}

impl Run {
    /// The seconds of each.
    pub(super) fn seconds(runs: &[Self]) -> Vec<f64> {
        runs.iter().map(|run| run.seconds).collect()
    }

    /// The failed requests of each.
    pub(super) fn failed(runs: &[Self]) -> Vec<f64> {
        runs.iter().map(|run| run.failed as f64).collect()
    }
}

/// All runs of a case. Their applications are made together, so that they come of age together.
pub(super) async fn all(stack: &Stack, case: &Case, times: u64) -> Vec<Run> {
    let scraper = Scraper::start(stack, case.scrape).await;
    let mut apps = Vec::new();
    for number in 0..times {
        apps.push(App::start(stack, &format!("scene-{}-{number}", case.name)).await);
    }
    let mut runs = Vec::new();
    for (number, app) in apps.into_iter().enumerate() {
        let run = one(stack, case, &scraper, (&app, number as u64)).await;
        eprintln!("{} {number}: {run:?}", case.name);
        app.finish().await;
        runs.push(run);
    }
    runs
}

async fn one(stack: &Stack, case: &Case, scraper: &Scraper, (app, number): (&App, u64)) -> Run {
    // By chance, as in life; the runs differ, and can be repeated.
    for (version, errors, seed) in [
        ("v1", case.stable, 2 * number),
        ("v2", case.canary, 2 * number + 1),
    ] {
        let behaviour = json!({"errors": errors, "spread": {"random": seed}});
        app.behave(version, behaviour).await;
    }
    let load = app.load().rate(RATE).start();
    tokio::time::sleep(Duration::from_secs(case.watched())).await;
    of_age(stack, app).await;
    app.take_counts().await;
    let start = format!("start reviews --prometheus {} {}", scraper.url, case.flags);
    let driver = app.canary(&start).patient(LONGEST).launch();
    let ended = driver.wait().await;
    drop(load.stop().await);
    let counts = app.counts().await.versions;
    let failed = counts.get("v2").map_or(0, |canary| canary.failed);
    eprintln!("exit {:?}\n{}", ended.code, ended.stderr);
    let (outcome, at) = match ended.code {
        Some(0) => (Ended::Promoted, whole(&ended.events)),
        Some(10) => (Ended::RolledBack, taken_away(&ended.events)),
        _ => (Ended::Otherwise, None),
    };
    let first = ended.events.iter().find_map(started);
    let seconds = first.zip(at).map(|((first, _), at)| {
        let took: SignedDuration = at.duration_since(first);
        took.as_secs_f64()
    });
    let steps = ended.events.iter().filter_map(started);
    Run {
        ended: outcome,
        seconds: seconds.unwrap_or(f64::NAN),
        failed,
        reached: steps.map(|(_, weight)| weight).fold(0.0, f64::max),
    }
}

/// Waits until the youngest pod of the canary is older than the warm-up.
async fn of_age(stack: &Stack, app: &App) {
    let pods: Api<Pod> = Api::namespaced(stack.client.clone(), &app.namespace);
    let canary = ListParams::default().labels("version=v2");
    let begun = Instant::now();
    loop {
        let pods = pods.list(&canary).await.expect("the stack lists pods");
        let started = |pod: &Pod| pod.status.as_ref()?.start_time.as_ref().map(|time| time.0);
        let youngest = pods.iter().filter_map(started).max();
        let age = youngest.map(|youngest| Timestamp::now().duration_since(youngest));
        if age.is_some_and(|age| age.as_secs() >= AGE as i64) {
            return;
        }
        assert!(begun.elapsed() < AGED_WITHIN, "the pods are {age:?} old");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// When a step's weights were set, and the canary's percentage.
fn started(event: &Event) -> Option<(Timestamp, f64)> {
    match &event.event {
        EventKind::StepStarted { exposure, .. } => {
            Some((event.at, exposure.share().share() * 100.0))
        }
        _ => None,
    }
}

/// When the canary got all the traffic.
fn whole(events: &[Event]) -> Option<Timestamp> {
    let mut steps = events.iter().filter_map(started);
    steps.find(|(_, weight)| *weight >= 100.0).map(|(at, _)| at)
}

/// When the canary lost its traffic for good: at the trip that was confirmed, or at the rollback.
fn taken_away(events: &[Event]) -> Option<Timestamp> {
    let mut at = None;
    for event in events {
        match event.event {
            EventKind::Tripped { .. } | EventKind::RolledBack { .. } => {
                at.get_or_insert(event.at);
            }
            EventKind::FalseAlarm { .. } => at = None,
            _ => {}
        }
    }
    at
}
