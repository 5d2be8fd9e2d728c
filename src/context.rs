//! What every command works in.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::actor::Actor;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::error::CommandError;
use crate::istio::VirtualService;
use crate::metrics::{
    AccessError, DEFAULT_ADDRESS, HttpSource, MetricSource, PrometheusAccess, PrometheusAddress,
    ServiceSource, TracedSource,
};
use crate::plan::{HumanDuration, OnHookFailure};
use crate::rollout::{Event, EventKind, HookFailure, Observer, Rollout};
use crate::signals::{LAST_ANSWER, Signal, Signals};

/// The world outside, as it is handed to a command.
pub struct Context<'a> {
    /// The API server.
    pub cluster: Cluster,
    /// The namespace in force.
    pub namespace: String,
    /// How to log in at Prometheus, and where it is if that was said here.
    pub prometheus: PrometheusAccess,
    /// The time.
    pub clock: Clock,
    /// Who acts.
    pub actor: Actor,
    /// This run's id.
    pub run: String,
    /// Who listens to events.
    pub observer: &'a mut dyn Observer,
    /// Ctrl-C, SIGTERM and SIGHUP.
    pub signals: Signals,
    /// What has to succeed before a step is taken, if anything.
    pub before_step: Option<BeforeStep>,
}

/// A check of the user's, to whoever knows no processes.
pub trait StepCheck: Send + Sync {
    /// Runs it before `next` is written to `vs`. Where the future is dropped, nothing of it runs on.
    ///
    /// # Errors
    /// If it fails: what became of it, after its name in a sentence.
    fn run(&self, vs: &VirtualService, next: &Rollout) -> BoxFuture<'_, Result<(), String>>;
}

/// What has to succeed before a step is taken.
#[derive(Clone)]
pub struct BeforeStep {
    /// What is run.
    pub check: Arc<dyn StepCheck>,
    /// How long it may take each time.
    pub timeout: HumanDuration,
    /// What is done if it fails.
    pub on_failure: OnHookFailure,
}

impl BeforeStep {
    /// Runs it before `next` is written to `vs`.
    ///
    /// # Errors
    /// If it does not succeed in time.
    pub(crate) fn run(
        &self,
        vs: &VirtualService,
        next: &Rollout,
    ) -> BoxFuture<'_, Result<(), HookFailure>> {
        let (step, exposure) = (next.step + 1, next.exposure());
        let running = timeout(self.timeout.unsigned(), self.check.run(vs, next));
        Box::pin(async move {
            let why = match running.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(why)) => why,
                Err(_) => format!("did not end within {} and was killed", self.timeout),
            };
            Err(HookFailure {
                step,
                exposure,
                why,
            })
        })
    }
}

impl Context<'_> {
    /// The name under which this process drives.
    pub fn holder(&self) -> String {
        self.actor.holder()
    }

    /// Tells the observer what happened in run `run` on `vs`.
    pub fn emit(&mut self, vs: &VirtualService, run: &str, event: EventKind) {
        let event = Event::new(self.clock.now(), vs, run, event);
        self.observer.see(&event);
    }

    /// Does what does not read the signals itself. A signal ends it at once as long as nothing was
    /// changed; after that it has a moment to find out what became of the change, unless a second signal comes.
    ///
    /// Work that was done all the same is done, and the signal is the next one again.
    ///
    /// # Errors
    /// [`CommandError::Interrupted`] or [`CommandError::Unconfirmed`] on a signal, and whatever `work` fails
    /// with.
    pub async fn unless_interrupted<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        let mut signals = std::mem::replace(&mut self.signals, Signals::none());
        let cluster = self.cluster.clone();
        let before = cluster.changes().len();
        let done = {
            let mut work = std::pin::pin!(work(self));
            let first = tokio::select! {
                biased;
                signal = signals.next() => Err(signal),
                done = &mut work => Ok(done),
            };
            match first {
                Ok(done) => done,
                Err(signal) if cluster.changes().len() == before => {
                    Err(CommandError::Interrupted(signal))
                }
                Err(signal) => {
                    let done = tokio::select! {
                        biased;
                        done = &mut work => Some(done),
                        _ = signals.next() => None,
                        () = tokio::time::sleep(LAST_ANSWER) => None,
                    };
                    match done {
                        Some(done) => {
                            signals.put_back(signal);
                            done
                        }
                        None => Err(unconfirmed(signal, &cluster)),
                    }
                }
            }
        };
        self.signals = signals;
        done
    }

    /// The metrics at an address.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn metrics(&self, address: &str) -> Result<Box<dyn MetricSource>, CommandError> {
        let parsed: PrometheusAddress = address
            .parse()
            .map_err(|error| CommandError::Usage(format!("--prometheus: {error}")))?;
        let refused = |error: AccessError| CommandError::Usage(error.to_string());
        let access = self.prometheus.at(address);
        let source: Box<dyn MetricSource> = match &parsed {
            PrometheusAddress::Url(endpoint) => {
                Box::new(HttpSource::new(endpoint, access).map_err(refused)?)
            }
            PrometheusAddress::Service(service) => {
                let client = self.cluster.client().clone();
                let by = Arc::new(self.cluster.clone());
                Box::new(ServiceSource::new(client, service, access, by).map_err(refused)?)
            }
        };
        Ok(match self.cluster.trace() {
            Some(tell) => Box::new(TracedSource::new(source, tell.clone())),
            None => source,
        })
    }

    /// The metrics of a rollout under way: at the address that was given here, else at the one on the object.
    ///
    /// Whoever may write the object chooses that address, so no secret of this process goes there.
    ///
    /// # Errors
    /// If the address cannot be used, or a login was given without one.
    pub fn metrics_of(&self, rollout: &Rollout) -> Result<Box<dyn MetricSource>, CommandError> {
        if let Some(address) = self.prometheus.address() {
            return self.metrics(address);
        }
        let stored = &rollout.plan.prometheus;
        match self.prometheus.secret_setting() {
            Some(setting) if stored != DEFAULT_ADDRESS => Err(CommandError::Usage(format!(
                "{setting} is not sent to an address that stands on the object only (try: --prometheus URL beside it)"
            ))),
            _ => self.metrics(stored),
        }
    }
}

/// The error of a change that nobody waits for any longer; without any, of one that was refused.
fn unconfirmed(signal: Signal, cluster: &Cluster) -> CommandError {
    match cluster.changes().pop() {
        Some((namespace, name)) => CommandError::Unconfirmed {
            object: format!("{namespace}/{name}"),
            what: format!("interrupted by {}", signal.name()),
            next: format!("kubectl canary status {name} -n {namespace}"),
        },
        None => CommandError::Interrupted(signal),
    }
}

/// The VirtualService that a user means by `reviews`, `vs/reviews` or `virtualservice/reviews`.
///
/// # Errors
/// If it names another kind of object, or nothing.
pub fn object_name(text: &str) -> Result<&str, CommandError> {
    let name = match text.split_once('/') {
        Some((kind, name)) if is_kind(kind) => name,
        Some((kind, name)) => {
            return Err(CommandError::Usage(format!(
                "{kind:?} is not a VirtualService (try: vs/{name})"
            )));
        }
        None => text,
    };
    let valid =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if name.is_empty() || !name.bytes().all(valid) {
        return Err(CommandError::Usage(format!(
            "{name:?} is not a valid VirtualService name (try: kubectl get virtualservices)"
        )));
    }
    Ok(name)
}

/// What people call VirtualServices.
fn is_kind(text: &str) -> bool {
    const KINDS: [&str; 4] = [
        "vs",
        "virtualservice",
        "virtualservices",
        "virtualservice.networking.istio.io",
    ];
    KINDS.contains(&text.to_lowercase().as_str())
}

/// Namespace and name of the VirtualService that a user means by `gateway`, `vs/gateway` or
/// `edge/gateway`.
///
/// # Errors
/// As [`object_name`].
pub fn name_with_namespace(text: &str, namespace: &str) -> Result<(String, String), CommandError> {
    let (namespace, name) = match text.split_once('/') {
        Some((given, name)) if !is_kind(given) && !given.is_empty() => (given, name),
        _ => (namespace, text),
    };
    Ok((namespace.to_owned(), object_name(name)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_with_its_kind_or_its_namespace_or_neither() {
        for (text, expected) in [
            ("gateway", Some(("shop", "gateway"))),
            ("vs/gateway", Some(("shop", "gateway"))),
            ("edge/gateway", Some(("edge", "gateway"))),
            ("edge/vs/gateway", Some(("edge", "gateway"))),
            ("/gateway", None),
            ("edge/", None),
            ("Gateway", None),
        ] {
            let named = name_with_namespace(text, "shop").ok();
            let expected = expected.map(|(namespace, name)| (namespace.into(), name.into()));
            assert_eq!(named, expected, "{text}");
        }
    }
}
