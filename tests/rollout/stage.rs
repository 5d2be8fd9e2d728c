//! The stage that the tests play on: the shop, a client, a recorder of events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kubectl_canary::clock::Clock;
use kubectl_canary::cluster::Cluster;
use kubectl_canary::commands::{self, CommandError, Environment, RolloutArgs, Start};
use kubectl_canary::engine::{Finish, Signal, Signals};
use kubectl_canary::plan::{AnalysisKind, Options};
use kubectl_canary::record::{Event, EventKind};
use kubectl_canary::sandbox::{World, scene};
use serde_json::Value;
use tokio::sync::mpsc;

/// When every test begins.
pub const NOON: &str = "2026-01-01T12:00:00Z";

/// One world and what a test needs to act in it.
pub struct Shop {
    pub world: World,
    pub events: Arc<Mutex<Vec<Event>>>,
    pub before: Value,
}

impl Shop {
    /// The shop at noon: 200 requests a second, all on v1, one minute of history.
    pub async fn open() -> Self {
        let origin: Timestamp = NOON.parse().unwrap();
        let world = World::new(Clock::starting_at(origin));
        world.set(scene::shop);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = world.object("virtualservices", "shop", "reviews").unwrap()["spec"].clone();
        Self {
            world,
            events: Arc::default(),
            before,
        }
    }

    /// The spec as it is now.
    pub fn spec(&self) -> Value {
        self.world
            .object("virtualservices", "shop", "reviews")
            .unwrap()["spec"]
            .clone()
    }

    /// An annotation as it is now.
    pub fn annotation(&self, name: &str) -> Option<String> {
        let object = self
            .world
            .object("virtualservices", "shop", "reviews")
            .unwrap();
        object["metadata"]["annotations"][format!("kubectl-canary.dev/{name}")]
            .as_str()
            .map(str::to_owned)
    }

    /// Weights of the primary route.
    pub fn weights(&self) -> Vec<i64> {
        let spec = self.spec();
        let targets = spec["http"][0]["route"].as_array().unwrap();
        targets
            .iter()
            .map(|target| target["weight"].as_i64().unwrap_or(0))
            .collect()
    }

    /// Events so far.
    pub fn told(&self) -> Vec<EventKind> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|event| event.event.clone())
            .collect()
    }

    /// Acts as `actor` with the signals given.
    pub async fn act<T>(
        &self,
        actor: &str,
        signals: Signals,
        command: impl AsyncFnOnce(&mut Environment<'_>) -> T,
    ) -> T {
        let events = Arc::clone(&self.events);
        let mut observer = move |event: &Event| events.lock().unwrap().push(event.clone());
        let mut environment = Environment {
            cluster: Cluster::new(self.world.client("shop"), Duration::from_secs(10)),
            namespace: "shop".into(),
            clock: self.world.clock().clone(),
            actor: actor.into(),
            run: "run-1".into(),
            observer: &mut observer,
            signals,
        };
        command(&mut environment).await
    }

    /// `start reviews` with these options, to the end.
    pub async fn start(&self, options: Options) -> Result<Finish, CommandError> {
        self.start_with(options, Signals::none()).await
    }

    /// `start reviews` that hears these signals.
    pub async fn start_with(
        &self,
        options: Options,
        signals: Signals,
    ) -> Result<Finish, CommandError> {
        let args = Start {
            rollout: RolloutArgs {
                name: Some("reviews".into()),
                filename: None,
                options,
            },
            ..Start::default()
        };
        let (_, finish) = self
            .act("alice@desk", signals, async |environment| {
                commands::start(environment, &args).await
            })
            .await?;
        Ok(finish)
    }
}

/// Options that make a rollout short: a dwell of 5 s, a look a second.
pub fn brisk() -> Options {
    Options {
        dwell: Some("5s".parse().unwrap()),
        interval: Some("1s".parse().unwrap()),
        analysis: Some(AnalysisKind::Threshold),
        min_requests: Some(10),
        ..Options::default()
    }
}

/// A queue of signals and the end to send them from.
pub fn signals() -> (mpsc::UnboundedSender<Signal>, Signals) {
    let (tell, queue) = mpsc::unbounded_channel();
    (tell, Signals::from_queue(queue))
}
