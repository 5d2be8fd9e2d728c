//! What all processes of a played seed share: the world, the network's weather, what was written, and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::sandbox::World;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::dice::Dice;
use crate::history::{Author, History, Version, revision_of};
use crate::network::{Fault, Weather};
use crate::process::{Order, Traits};
use crate::promises::{Promises, Writer};
use crate::routes::{record, shifted};

/// How long a process that was stalled may need to find its way.
const AWAKE: Duration = Duration::from_secs(15);

/// One played seed. Clones are the same.
#[derive(Clone)]
pub struct Stage {
    world: World,
    began: Instant,
    state: Arc<Mutex<State>>,
}

struct State {
    dice: Dice,
    weather: Vec<Weather>,
    /// Until when no watch tells anything.
    silent_until: Instant,
    /// Until when two replicas of Prometheus answer in turn.
    replicas_until: Instant,
    lives: Vec<Life>,
    history: History,
    promises: Promises,
    log: Option<String>,
    /// How many calls are on their way to the server.
    in_flight: usize,
}

/// A call on its way to the server, until it is dropped.
pub struct InFlight(Stage);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
    }
}

/// How a process fares.
pub struct Life {
    pub actor: String,
    pub order: Order,
    /// How far its clock is off.
    pub clock: SignedDuration,
    /// Until when it does not run.
    pub stalled_until: Instant,
    pub dead: bool,
    /// Whether a signal was to cut its work short.
    pub signalled: bool,
    /// How often it has run, and after how often it dies.
    pub polls: u64,
    pub dies_at: Option<u64>,
    /// The newest version of each object that it knows of.
    pub known: BTreeMap<String, u64>,
    /// How many versions each object had when it began.
    pub versions_at_start: BTreeMap<String, usize>,
}

impl Stage {
    pub fn new(world: World, dice: Dice, promises: Promises, verbose: bool) -> Self {
        let now = Instant::now();
        let state = State {
            dice,
            weather: Vec::new(),
            silent_until: now,
            replicas_until: now,
            lives: Vec::new(),
            history: History::default(),
            promises,
            log: verbose.then(String::new),
            in_flight: 0,
        };
        Self {
            world,
            began: now,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the log, where there is one.
    pub fn log(&self, line: impl FnOnce() -> String) {
        let elapsed = self.began.elapsed();
        if let Some(log) = &mut self.state().log {
            let _ = writeln!(log, "{:>9.3} {}", elapsed.as_secs_f64(), line());
        }
    }

    // Processes.

    /// A new process; its number.
    pub fn enter(&self, actor: &str, order: Order, traits: &Traits) -> usize {
        let mut state = self.state();
        let names = state.promises.objects().to_vec();
        let versions = names
            .iter()
            .map(|name| (name.clone(), state.history.of(name).len()));
        let life = Life {
            actor: actor.to_owned(),
            order,
            clock: traits.clock,
            stalled_until: Instant::now(),
            dead: false,
            signalled: false,
            polls: 0,
            dies_at: traits.dies_at,
            known: BTreeMap::new(),
            versions_at_start: versions.collect(),
        };
        state.lives.push(life);
        state.lives.len() - 1
    }

    /// How many processes there were.
    pub fn count(&self) -> usize {
        self.state().lives.len()
    }

    /// Keeps a process from running for this long.
    pub fn stall(&self, process: usize, lasting: Duration) {
        self.life(process, |life| {
            life.stalled_until = Instant::now() + lasting
        });
    }

    pub fn life<T>(&self, process: usize, look: impl FnOnce(&mut Life) -> T) -> T {
        look(&mut self.state().lives[process])
    }

    /// Waits while a process is stalled, and for ever once it is dead.
    pub async fn running(&self, process: usize) {
        loop {
            let (dead, until) = self.life(process, |life| (life.dead, life.stalled_until));
            if dead {
                std::future::pending::<()>().await;
            }
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    pub fn known(&self, process: usize, name: &str) -> u64 {
        self.life(process, |life| life.known.get(name).copied().unwrap_or(0))
    }

    pub fn knows(&self, process: usize, name: &str, revision: u64) {
        self.life(process, |life| {
            let known = life.known.entry(name.to_owned()).or_default();
            *known = revision.max(*known);
        });
    }

    // The network.

    /// A call has been sent.
    pub fn sent(&self) -> InFlight {
        self.state().in_flight += 1;
        InFlight(self.clone())
    }

    /// Whether every call has arrived that ever will.
    pub fn all_arrived(&self) -> bool {
        self.state().in_flight == 0
    }

    pub fn add_weather(&self, weather: Weather) {
        self.state().weather.push(weather);
    }

    /// No watch tells anything for this long.
    pub fn silence(&self, lasting: Duration) {
        self.state().silent_until = Instant::now() + lasting;
    }

    /// Two replicas of Prometheus answer in turn for this long.
    pub fn replicas(&self, lasting: Duration) {
        self.state().replicas_until = Instant::now() + lasting;
    }

    /// Whether the other replica answers now.
    pub fn other_replica(&self) -> bool {
        let mut state = self.state();
        state.replicas_until > Instant::now() && state.dice.chance(50)
    }

    /// The network is sound again; whoever is stalled still is.
    pub fn calm(&self) {
        self.state().weather.clear();
    }

    /// How long a call takes to the server, its answer back, and what becomes of it.
    pub fn route(&self, process: usize, is_write: bool) -> (Duration, Duration, Option<Fault>) {
        let mut state = self.state();
        let State { dice, weather, .. } = &mut *state;
        let there = Duration::from_millis(dice.between(1, 20));
        let back = Duration::from_millis(dice.between(1, 20));
        let now = Instant::now();
        weather.retain(|weather| weather.until > now && weather.times > 0);
        let struck = weather.iter_mut().find(|weather| {
            weather.whose.is_none_or(|whose| whose == process)
                && (is_write || !weather.writes_only)
                && dice.chance(weather.percent)
        });
        let fault = struck.map(|weather| {
            weather.times -= 1;
            weather.fault
        });
        (there, back, fault)
    }

    pub fn chance(&self, percent: u64) -> bool {
        self.state().dice.chance(percent)
    }

    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.state().dice.between(1, 20))
    }

    /// Waits until a process hears what a watch has to tell.
    pub async fn heard(&self, process: usize) {
        loop {
            let until = self.state().silent_until;
            if until <= Instant::now() {
                break;
            }
            sleep_until(until).await;
        }
        self.running(process).await;
    }

    // What is written.

    /// Another client than ours, or the set-up, has left an object like this.
    pub fn written_by_others(&self, name: &str, object: Option<Value>) {
        let at = self.world.clock().now();
        let mut state = self.state();
        let revision = object.as_ref().and_then(revision_of);
        let revision = revision.unwrap_or_else(|| {
            let last = state.history.of(name).last();
            last.map_or(0, |version| version.revision)
        });
        let version = Version {
            at,
            revision,
            author: Author::Other,
            object,
        };
        state.history.add(name, version);
    }

    /// A process has written this; `known` is the version that it knew of when it sent the write.
    pub fn written(&self, process: usize, name: &str, known: u64, object: Value) {
        let at = self.world.clock().now();
        let mut state = self.state();
        let State {
            history,
            promises,
            lives,
            ..
        } = &mut *state;
        let revision = revision_of(&object).expect("it is stored");
        let before = history.last(name).clone();
        if before.revision == revision {
            // Nothing was different.
            return;
        }
        let author = Author::Process(process);
        let version = Version {
            at,
            revision,
            author,
            object: Some(object.clone()),
        };
        history.add(name, version);
        let life = &lives[process];
        let most_behind = lives.iter().map(|life| life.clock).min();
        let writer = Writer {
            process,
            actor: &life.actor,
            order: &life.order,
            knows: &life.known,
            ahead: life.clock - most_behind.unwrap_or_default(),
        };
        promises.written(&writer, name, &before, &object, known, history);
        drop(state);
        self.log(|| {
            format!(
                "write: p{process} {name} r{revision}: {}",
                described(&object)
            )
        });
    }

    /// What a process ended with.
    pub fn ended(&self, process: usize, result: &crate::process::CommandResult) {
        let mut state = self.state();
        // Who has slept past its deadline, or was told to end, has not had the time to see that all is well
        // again.
        let life = &state.lives[process];
        let is_awake = life.stalled_until + AWAKE < Instant::now();
        let calm = state.weather.is_empty() && is_awake && !life.signalled;
        let State {
            history,
            promises,
            lives,
            ..
        } = &mut *state;
        promises.ended(process, &lives[process], result, history, calm);
    }

    pub fn objects(&self) -> Vec<String> {
        self.state().promises.objects().to_vec()
    }

    /// Whether a rollout stands on any object.
    pub fn is_under_way(&self) -> bool {
        let state = self.state();
        state.promises.objects().iter().any(|name| {
            let last = &state.history.last(name).object;
            last.as_ref()
                .is_some_and(|object| record(object, "rollout").is_some())
        })
    }

    /// Whether a promotion has been undone on some objects and not on others.
    pub fn is_half_undone(&self) -> bool {
        let state = self.state();
        let ends = state.promises.objects().iter().filter_map(|name| {
            let last = record(state.history.last(name).object.as_ref()?, "last")?;
            Some((last["run"].to_string(), last["outcome"].to_string()))
        });
        let ends: BTreeMap<_, BTreeSet<_>> = ends.fold(BTreeMap::new(), |mut ends, (run, end)| {
            ends.entry(run).or_insert_with(BTreeSet::new).insert(end);
            ends
        });
        ends.values()
            .any(|ends| ends.len() > 1 && ends.iter().any(|end| end.contains("promoted")))
    }

    pub fn violation(&self, what: String) {
        self.state().promises.violate(what);
    }

    /// Checks what has to hold once everything is quiet, and returns log and violations.
    pub fn finish(self) -> (String, Vec<String>) {
        let mut state = self.state();
        let State {
            history, promises, ..
        } = &mut *state;
        for name in promises.objects().to_vec() {
            let stored = self.world.object("virtualservices", "shop", &name);
            let last = history.last(&name).object.clone();
            if stored.as_ref().map(revision_of) != last.as_ref().map(revision_of) {
                promises.violate(format!("{name}: a write of nobody we know of"));
            }
        }
        promises.at_rest(history);
        let violations = promises.violations().to_vec();
        (state.log.take().unwrap_or_default(), violations)
    }
}

/// An object in a line: its weights and its records.
pub fn described(object: &Value) -> String {
    let routes = shifted(object).into_iter().map(|route| {
        let weights = route.weights.iter();
        let weights: Vec<_> = weights
            .map(|weight| weight.map_or("-".to_owned(), |weight| weight.to_string()))
            .collect();
        weights.join("/")
    });
    let mut text = routes.collect::<Vec<_>>().join(" ");
    if let Some(rollout) = record(object, "rollout") {
        let holder = rollout["holder"].as_str().unwrap_or_default();
        let holder = holder.split('/').next().unwrap_or_default();
        let _ = write!(
            text,
            " {} step {} {} held by {holder}",
            rollout["run"].as_str().unwrap_or_default(),
            rollout["step"],
            rollout["phase"].as_str().unwrap_or_default(),
        );
    }
    if let Some(last) = record(object, "last") {
        let _ = write!(
            text,
            " last {} {}",
            last["run"].as_str().unwrap_or_default(),
            last["outcome"]
        );
    }
    text
}
