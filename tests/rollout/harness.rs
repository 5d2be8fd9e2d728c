//! The stage that the tests play on: the shop, its processes, a recorder of events.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jsonschema::Validator;
use kubectl_canary::clock::Clock;
use kubectl_canary::cluster::Cluster;
use kubectl_canary::commands::{
    self, Abort, Aborted, Drive, Promote, Resume, RolloutArgs, Start, Undo,
};
use kubectl_canary::driver::Finish;
use kubectl_canary::istio::VirtualService;
use kubectl_canary::plan::{AnalysisKind, HumanDuration, OnStuck, Options};
use kubectl_canary::report::Document;
use kubectl_canary::rollout::{Event, EventKind, Observed, Rollout, compare};
use kubectl_canary::sandbox::{Call, Setup, World, fixtures};
use kubectl_canary::{BeforeStep, CommandError, Context, Signal, Signals};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// When the world begins; the tests begin a minute later.
pub const NOON: &str = "2026-01-01T12:00:00Z";

/// One world and what a test needs to act in it. Clones are the same.
#[derive(Clone)]
pub struct Shop {
    pub world: World,
    pub events: Arc<Mutex<Vec<Event>>>,
    pub before: Value,
    /// What the machine of those who act shows; the world's own is the cluster's.
    pub clock: Clock,
    /// What those who drive run before each step.
    before_step: Option<BeforeStep>,
    acts: Arc<AtomicUsize>,
}

/// What a command that drives or moves a rollout comes to.
pub type Result<T = Finish> = std::result::Result<T, CommandError>;

static EVENT: LazyLock<Validator> = LazyLock::new(|| validator(Document::Event));
static ROLLOUT: LazyLock<Validator> = LazyLock::new(|| validator(Document::Rollout));

fn validator(document: Document) -> Validator {
    let schema = serde_json::to_value(document.schema()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Fails unless the text is of the schema that programs read it by.
#[track_caller]
fn assert_is(schema: &Validator, text: &str) {
    let value = serde_json::from_str(text).unwrap();
    if let Err(error) = schema.validate(&value) {
        panic!("{}: {error} in {text}", error.instance_path());
    }
}

impl Shop {
    /// The shop: 200 requests a second, all on v1, one minute of history.
    pub async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    /// The shop with something else about it.
    pub async fn open_with(change: impl FnOnce(&mut Setup<'_>)) -> Self {
        // As the program does it; another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let origin: Timestamp = NOON.parse().unwrap();
        let world = World::new(Clock::starting_at(origin));
        world.set(|stage| {
            fixtures::shop(stage);
            change(stage);
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = world.object("virtualservices", "shop", "reviews").unwrap()["spec"].clone();
        Self {
            clock: world.clock().apart(),
            world,
            events: Arc::default(),
            before,
            before_step: None,
            acts: Arc::default(),
        }
    }

    /// The shop whose VirtualService has this list of HTTP routes.
    pub async fn with_routes(http: Value) -> Self {
        Self::open_with(|stage| {
            stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
                vs["spec"]["http"] = http;
            });
        })
        .await
    }

    /// The same shop, for those who run this before each step.
    pub fn with_hook(&self, before_step: Option<BeforeStep>) -> Self {
        Self {
            before_step,
            ..self.clone()
        }
    }

    /// So many seconds from now.
    pub fn after(&self, seconds: i64) -> Timestamp {
        self.world.clock().now() + SignedDuration::from_secs(seconds)
    }

    /// The object as it is now.
    pub fn object(&self) -> Value {
        self.world
            .object("virtualservices", "shop", "reviews")
            .unwrap()
    }

    /// The spec as it is now.
    pub fn spec(&self) -> Value {
        self.object()["spec"].clone()
    }

    /// An annotation as it is now.
    pub fn annotation(&self, name: &str) -> Option<String> {
        self.object()["metadata"]["annotations"][format!("kubectl-canary.dev/{name}")]
            .as_str()
            .map(str::to_owned)
    }

    /// The rollout on the object.
    pub fn rollout(&self) -> Option<Rollout> {
        if let Some(text) = self.annotation("rollout") {
            assert_is(&ROLLOUT, &text);
        }
        Rollout::read(&VirtualService::new(self.object()).unwrap()).unwrap()
    }

    /// Fails unless weights and state on the object agree.
    pub fn assert_whole(&self) {
        let vs = VirtualService::new(self.object()).unwrap();
        match Rollout::read(&vs).unwrap() {
            Some(rollout) => assert_eq!(compare(&rollout, &vs), Observed::InSync),
            None => assert!(
                self.spec() == self.before || self.weights() == [0, 100],
                "{:?} without a state",
                self.weights()
            ),
        }
    }

    /// Fails unless everything is as it was before the rollout.
    pub fn assert_restored(&self) {
        assert_eq!(self.spec(), self.before);
        assert_eq!(self.annotation("rollout"), None);
    }

    /// Weights of the first route.
    pub fn weights(&self) -> Vec<i64> {
        let spec = self.spec();
        let targets = spec["http"][0]["route"].as_array().unwrap();
        targets
            .iter()
            .map(|target| target["weight"].as_i64().unwrap_or(0))
            .collect()
    }

    /// A foreign edit of the VirtualService.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        self.world
            .edit("virtualservices", "shop", "reviews", "argocd", change);
    }

    /// A foreign edit of the first route's weights.
    pub fn set_weights(&self, stable: i64, canary: i64) {
        self.edit(|vs| {
            vs["spec"]["http"][0]["route"][0]["weight"] = stable.into();
            vs["spec"]["http"][0]["route"][1]["weight"] = canary.into();
        });
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

    /// When an event of this kind first happened.
    pub fn when(&self, is: impl Fn(&EventKind) -> bool) -> Timestamp {
        let events = self.events.lock().unwrap();
        let found = events.iter().find(|event| is(&event.event));
        found.expect("it happened").at
    }

    /// The canary's percentages in the order in which they were set.
    pub fn climbed(&self) -> Vec<String> {
        let told = self.told().into_iter();
        told.filter_map(|event| match event {
            EventKind::StepStarted { exposure, .. } => Some(exposure.share().to_string()),
            _ => None,
        })
        .collect()
    }

    /// Who changed the routes under our hands, and what.
    pub fn drifts(&self) -> Vec<(String, String)> {
        let told = self.told().into_iter();
        told.filter_map(|event| match event {
            EventKind::Drifted { manager, drift, .. } => Some((manager, drift.to_string())),
            _ => None,
        })
        .collect()
    }

    /// Warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        let told = self.told().into_iter();
        told.filter_map(|event| match event {
            EventKind::Warning { text } => Some(text),
            _ => None,
        })
        .collect()
    }

    /// The PATCHes of VirtualServices that the API server took.
    pub fn patches(&self) -> Vec<Call> {
        let mut calls = self.world.calls();
        calls.retain(|call| call.verb == "patch" && call.status == Some(200));
        calls
    }

    /// Waits until something holds of the shop.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never came to that: {:#?}", self.told().last());
    }

    /// Waits until the first route gives the canary this weight.
    pub async fn until_weight(&self, canary: i64) {
        self.until(|shop| shop.weights()[1] == canary).await;
    }

    /// Acts as `actor` with the signals given.
    pub async fn act<T>(
        &self,
        actor: &str,
        signals: Signals,
        command: impl AsyncFnOnce(&mut Context<'_>) -> T,
    ) -> T {
        let events = Arc::clone(&self.events);
        let mut observer = move |event: &Event| {
            assert_is(&EVENT, &serde_json::to_string(event).unwrap());
            events.lock().unwrap().push(event.clone());
        };
        let client = self.world.client_as(actor, "shop");
        let mut context = Context {
            cluster: Cluster::new(client, Duration::from_secs(10)),
            namespace: "shop".into(),
            prometheus: Default::default(),
            clock: self.clock.clone(),
            actor: actor.into(),
            // Not by the time: two runs may begin at the same.
            run: format!(
                "run-of-{}-{}",
                actor.replace(|char: char| !char.is_ascii_alphanumeric(), "-"),
                self.acts.fetch_add(1, Ordering::Relaxed)
            ),
            observer: &mut observer,
            signals,
            before_step: self.before_step.clone(),
        };
        // Boxed: a test holds every command of its own until its end, and the stack of its thread is small.
        Box::pin(command(&mut context)).await
    }

    /// `start reviews` with these options, to the end.
    pub async fn start(&self, options: Options) -> Result {
        self.start_with(options, Signals::none()).await
    }

    /// `start reviews` that hears these signals.
    pub async fn start_with(&self, options: Options, signals: Signals) -> Result {
        self.start_as("alice@desk", start(options), signals).await
    }

    /// `start` with every argument.
    pub async fn start_as(&self, actor: &str, args: Start, signals: Signals) -> Result {
        let (_, finish) = self
            .act(actor, signals, async |context| {
                commands::start(context, &args).await
            })
            .await?;
        Ok(finish)
    }

    /// `promote reviews`.
    pub async fn promote(&self, actor: &str) -> Result {
        self.promote_with(actor, Promote::default()).await
    }

    /// `promote reviews --wait`.
    pub async fn promote_and_wait(&self, actor: &str) -> Result {
        let args = Promote {
            wait: true,
            ..Promote::default()
        };
        self.promote_with(actor, args).await
    }

    /// `promote reviews` with these flags.
    pub async fn promote_with(&self, actor: &str, args: Promote) -> Result {
        let args = Promote {
            name: "reviews".into(),
            ..args
        };
        let (_, finish) = self
            .act(actor, Signals::none(), async |context| {
                commands::promote(context, &args).await
            })
            .await?;
        Ok(finish)
    }

    /// `pause reviews`.
    pub async fn pause(&self, actor: &str) -> Result {
        let (_, finish) = self
            .act(actor, Signals::none(), async |context| {
                commands::pause(context, "reviews").await
            })
            .await?;
        Ok(finish)
    }

    /// `resume reviews`.
    pub async fn resume(&self, actor: &str) -> Result {
        self.resume_with(actor, Drive::default()).await
    }

    /// `resume reviews` with flags for the driver.
    pub async fn resume_with(&self, actor: &str, drive: Drive) -> Result {
        let args = Resume {
            name: "reviews".into(),
            drive,
            ..Resume::default()
        };
        let (_, finish) = self
            .act(actor, Signals::none(), async |context| {
                commands::resume(context, &args).await
            })
            .await?;
        Ok(finish)
    }

    /// `abort reviews`; nothing where nothing was left to do.
    pub async fn abort(&self, actor: &str) -> Result<Option<Finish>> {
        let aborted = self.abort_with(actor, Abort::of("reviews"), Signals::none());
        Ok(aborted.await?.finish())
    }

    /// `abort` with every argument.
    pub async fn abort_with(&self, actor: &str, args: Abort, signals: Signals) -> Result<Aborted> {
        self.act(actor, signals, async |context| {
            commands::abort(context, &args).await
        })
        .await
    }
}

impl Shop {
    /// `undo reviews`; nothing where nothing was left to do.
    pub async fn undo(&self, actor: &str) -> Result<Option<Finish>> {
        self.undo_object(actor, "reviews").await
    }

    /// `undo` of another object.
    pub async fn undo_object(&self, actor: &str, name: &str) -> Result<Option<Finish>> {
        let args = Undo {
            name: name.into(),
            timeout: HumanDuration::minutes(1),
        };
        let (_, finish) = self
            .act(actor, Signals::none(), async |context| {
                commands::undo(context, &args).await
            })
            .await?;
        Ok(finish)
    }
}

/// The arguments of `start reviews` with these options.
pub fn start(options: Options) -> Start {
    Start {
        rollout: RolloutArgs {
            name: Some("reviews".into()),
            options,
            ..RolloutArgs::default()
        },
        ..Start::default()
    }
}

/// The same to a first step that is left to whoever comes.
pub fn begin(options: Options) -> Start {
    Start {
        no_wait: true,
        ..start(options)
    }
}

/// The destinations of the shop's route at these weights.
pub fn two(stable: i64, canary: i64) -> Value {
    json!([
        {"destination": {"host": "reviews", "subset": "v1"}, "weight": stable},
        {"destination": {"host": "reviews", "subset": "v2"}, "weight": canary},
    ])
}

/// Options that make a rollout short: a dwell of 5 s, a look a second.
pub fn brisk() -> Options {
    Options {
        dwell: Some("5s".parse().unwrap()),
        interval: Some("1s".parse().unwrap()),
        analysis: Some(AnalysisKind::Threshold),
        min_requests: Some(10),
        // A test that waits for a verdict is to end without one.
        on_inconclusive: Some(OnStuck::Rollback),
        ..Options::default()
    }
}

/// Short, with these steps.
pub fn brisk_with(steps: &str) -> Options {
    Options {
        steps: Some(steps.parse().unwrap()),
        ..brisk()
    }
}

/// The options that `start` reads from these flags.
pub fn with_flags<'a>(flags: impl IntoIterator<Item = &'a str>) -> Options {
    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }
    let words = ["start"].into_iter().chain(flags);
    <Command as clap::Parser>::parse_from(words).options
}

/// A queue of signals and the end to send them from.
pub fn signals() -> (mpsc::UnboundedSender<Signal>, Signals) {
    let (tell, queue) = mpsc::unbounded_channel();
    (tell, Signals::from_queue(queue))
}

/// Numbers that are the same in every run, for tests that try many moments.
pub struct Dice(u64);

impl Dice {
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
