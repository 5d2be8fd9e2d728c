//! One process: a command that runs until it ends, dies or is stalled.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::clock::Clock;
use kubectl_canary::cluster::Cluster;
use kubectl_canary::commands::{self, Abort, Aborted, Promote, Resume, Start, Undo};
use kubectl_canary::driver::Finish;
use kubectl_canary::plan::HumanDuration;
use kubectl_canary::rollout::Event;
use kubectl_canary::{CommandError, Context, Signal, Signals};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use crate::network;
use crate::routes::record;
use crate::stage::Stage;

/// What a command comes to.
pub type CommandResult = Result<Option<Finish>, CommandError>;

/// A command to run.
#[derive(Clone, Debug)]
pub enum Order {
    Start(Box<Start>),
    Resume,
    Promote {
        full: bool,
        wait: bool,
    },
    Pause,
    /// With `--forget` where routes are gone.
    Abort {
        forget: bool,
    },
    /// Of the last promotion.
    Undo,
}

impl Order {
    /// Whether the process drives the rollout.
    pub fn drives(&self) -> bool {
        matches!(
            self,
            Self::Start(_) | Self::Resume | Self::Promote { wait: true, .. }
        )
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Start(args) if args.no_wait => "start --no-wait",
            Self::Start(_) => "start",
            Self::Resume => "resume",
            Self::Promote { full: true, .. } => "promote --full",
            Self::Promote { wait: true, .. } => "promote --wait",
            Self::Promote { .. } => "promote",
            Self::Pause => "pause",
            Self::Abort { forget: true } => "abort --forget",
            Self::Abort { .. } => "abort",
            Self::Undo => "undo",
        }
    }
}

/// What a process is given beside its command.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// How long it waits for an answer.
    pub deadline: Duration,
    /// After how often it has run it dies.
    pub dies_at: Option<u64>,
    /// How far its clock is off.
    pub clock: SignedDuration,
    /// At how many of a hundred events its output blocks, and for how long.
    pub slow_output: (u64, Duration),
}

/// A process that was begun.
pub struct Process {
    pub number: usize,
    pub task: tokio::task::JoinHandle<()>,
    pub signals: mpsc::UnboundedSender<Signal>,
    pub clock: Clock,
}

/// Runs a command as a process of its own.
pub fn run(stage: &Stage, order: Order, traits: Traits) -> Process {
    let (tell, signals) = mpsc::unbounded_channel();
    let number = stage.count();
    let actor = format!("u{number}@desk");
    let entered = stage.enter(&actor, order.clone(), &traits);
    assert_eq!(entered, number);
    stage.log(|| format!("run: p{number} {}", order.name()));
    let client = network::client(stage, number, &actor);
    let clock = stage.world().clock().apart();
    clock.set_forward(traits.clock);
    let work = {
        let (stage, clock) = (stage.clone(), clock.clone());
        async move {
            let result = perform(
                &stage,
                number,
                actor,
                (client, clock),
                order,
                traits,
                Signals::from_queue(signals),
            );
            let result = result.await;
            stage.log(|| format!("end: p{number} {}", told(&result)));
            stage.ended(number, &result);
        }
    };
    let living = Living {
        stage: stage.clone(),
        number,
        work: Some(Box::pin(work)),
        waking: Box::pin(tokio::time::sleep(Duration::ZERO)),
    };
    Process {
        number,
        task: tokio::task::spawn_local(living),
        signals: tell,
        clock,
    }
}

async fn perform(
    stage: &Stage,
    number: usize,
    actor: String,
    (client, clock): (kube::Client, Clock),
    order: Order,
    traits: Traits,
    signals: Signals,
) -> CommandResult {
    let listener = stage.clone();
    let mut observer = move |event: &Event| {
        listener.log(|| format!("event: p{number} {}", named(event)));
        let (percent, lasting) = traits.slow_output;
        if percent > 0 && listener.chance(percent) {
            listener.stall(number, lasting);
        }
    };
    let mut context = Context {
        cluster: Cluster::new(client, traits.deadline),
        namespace: "shop".into(),
        prometheus: Default::default(),
        clock,
        actor: actor.into(),
        run: format!("run{number}"),
        observer: &mut observer,
        signals,
        before_step: None,
    };
    let context = &mut context;
    let name = || "reviews".to_owned();
    match order {
        Order::Start(args) => commands::start(context, &args).await.map(some),
        Order::Resume => {
            let args = Resume {
                name: name(),
                ..Resume::default()
            };
            commands::resume(context, &args).await.map(some)
        }
        Order::Promote { full, wait } => {
            let args = Promote {
                name: name(),
                full,
                wait,
                ..Promote::default()
            };
            commands::promote(context, &args).await.map(some)
        }
        Order::Pause => commands::pause(context, "reviews").await.map(some),
        Order::Abort { forget } => {
            // Whoever cleans up names what is left where the lead was deleted.
            let found = |name: &String| stage.world().object("virtualservices", "shop", name);
            let is_there = |name: &&String| forget && found(name).is_some();
            let is_under_way = |name: &&String| {
                found(name).is_some_and(|object| record(&object, "rollout").is_some())
            };
            let objects = stage.objects();
            let there = || objects.iter().filter(is_there);
            let left = there().find(is_under_way).or(there().next()).cloned();
            let args = Abort {
                timeout: HumanDuration::seconds(30),
                forget,
                ..Abort::of(&left.unwrap_or_else(name))
            };
            commands::abort(context, &args).await.map(Aborted::finish)
        }
        Order::Undo => {
            let args = Undo {
                name: name(),
                timeout: HumanDuration::seconds(30),
            };
            commands::undo(context, &args)
                .await
                .map(|(_, finish)| finish)
        }
    }
}

fn some<T>((_, finish): (T, Finish)) -> Option<Finish> {
    Some(finish)
}

/// The name of an event without its numbers.
fn named(event: &Event) -> String {
    let text = serde_json::to_value(&event.event).unwrap_or_default();
    let kind = text["kind"].as_str().unwrap_or_default();
    let detail = ["outcome", "cause", "why", "text", "drift"].map(|field| &text[field]);
    let detail = detail.iter().find(|detail| !detail.is_null());
    let detail = detail.map(|detail| without_process(&detail.to_string()));
    format!("{kind} {}", detail.unwrap_or_default())
}

fn told(result: &CommandResult) -> String {
    match result {
        Ok(Some(finish)) => format!(
            "{:?} {}",
            finish.outcome,
            without_process(&format!("{:?}", finish.reasons))
        ),
        Ok(None) => "nothing to do".to_owned(),
        Err(error) => format!("error: {}", without_process(&error.to_string())),
    }
}

/// The text without the number of the process that plays all this.
fn without_process(text: &str) -> String {
    text.replace(&format!("/{}", std::process::id()), "")
}

/// The work of a process, as long as it lives and whenever it runs.
struct Living {
    stage: Stage,
    number: usize,
    work: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waking: Pin<Box<Sleep>>,
}

impl Future for Living {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        let (dies, until) = this.stage.life(this.number, |life| {
            life.polls += 1;
            life.dead |= life.dies_at.is_some_and(|last| life.polls > last);
            (life.dead, life.stalled_until)
        });
        if dies {
            this.work = None;
            let number = this.number;
            this.stage.log(|| format!("dead: p{number}"));
            return Poll::Ready(());
        }
        if until > Instant::now() {
            this.waking.as_mut().reset(until);
            if this.waking.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        match &mut this.work {
            Some(work) => work.as_mut().poll(context),
            None => Poll::Ready(()),
        }
    }
}
