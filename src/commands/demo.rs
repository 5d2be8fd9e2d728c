//! `demo`: a rollout and a rollback on the embedded world, with nothing installed.
//!
//! The world is served over loopback HTTP and driven by the very commands that drive a cluster, so
//! that a second terminal can join in with the same tool or with kubectl.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use uuid::Uuid;

use super::rollout_args::RolloutArgs;
use super::start::{Start, start};
use crate::clock::Clock;
use crate::cluster::{Cluster, Connection, connect};
use crate::context::Context;
use crate::driver::Finish;
use crate::error::CommandError;
use crate::history::{RunRecord, keep_copy};
use crate::metrics::PrometheusAccess;
use crate::plan::Options;
use crate::rollout::{Event, Observer, Outcome};
use crate::sandbox::{Deployment, Served, World, fixtures};
use crate::signals::Signals;
use crate::verdict::sequential::Preset;

/// What `demo` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Demo {
    /// Keep the demo cluster running until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
}

/// How often the demo's mesh is scraped.
const SCRAPE: SignedDuration = SignedDuration::from_millis(250);
/// Requests per second at the demo's shop: enough for a verdict at 1 % within seconds.
const REQUESTS: f64 = 1000.0;
/// Time for a look at what is on the screen, and for Prometheus to have something to say.
const BREATH: Duration = Duration::from_millis(1500);

/// A temporary folder that goes away with the demo.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Plays both scenes and says what to type next.
///
/// # Errors
/// If the loopback server or its kubeconfig cannot be had.
pub async fn demo(
    args: &Demo,
    observer: &mut dyn Observer,
    narrate: &mut dyn FnMut(&str),
) -> Result<Outcome, CommandError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| CommandError::Io { what, source }
    };
    let world = World::new(Clock::System);
    world.set(|stage| {
        fixtures::shop(stage);
        // As many pods of either version: who watches for the first time shall not wonder about
        // a warning that is not what is shown.
        Deployment {
            namespace: "shop",
            name: "reviews-v2",
            app: "reviews",
            version: "v2",
            replicas: 3,
        }
        .put_on(stage);
        stage.scrapes().every(SCRAPE);
        stage
            .traffic()
            .demand(fixtures::REVIEWS)
            .per_second(REQUESTS);
    });
    let served = world
        .serve()
        .await
        .map_err(failed("cannot start the demo server on loopback"))?;
    let folder =
        Folder(std::env::temp_dir().join(format!("kubectl-canary-demo-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0)
        .map_err(failed("cannot create a temporary directory for the demo"))?;
    let kubeconfig = folder.0.join("kubeconfig");
    std::fs::write(&kubeconfig, served.kubeconfig_in("shop"))
        .map_err(failed("cannot write the demo's kubeconfig"))?;

    narrate(
        "A simulated shop: virtualservice reviews sends all traffic to v1 (stable).\nv2 (the canary) is deployed and ready.",
    );
    narrate(
        "The API server and Prometheus run inside this process: nothing is installed,\nand nothing leaves this machine.\n",
    );
    narrate("To follow along in a second terminal:\n");
    narrate(&format!("  export KUBECONFIG={}", kubeconfig.display()));
    narrate("  kubectl canary status reviews        # or kubectl get vs reviews -o yaml\n");
    narrate("1. A healthy canary\n");
    narrate(&typed(&served, "v2"));
    tokio::time::sleep(BREATH).await;

    let connection = Connection {
        kubeconfig: Some(kubeconfig.clone()),
        request_timeout: crate::plan::HumanDuration::seconds(10),
        ..Connection::default()
    };
    let mut stage = DemoWorld {
        connection,
        served: &served,
        observer,
    };
    let healthy = stage.play("v2").await?;
    if healthy.outcome != Outcome::Promoted {
        return Ok(healthy.outcome);
    }
    narrate(
        "\n2. A broken canary: the next release is a new build of v1 that fails 20 % of\n   its requests. v2 is now stable.\n",
    );
    world.traffic().version("shop", "reviews-v1").fails(0.2);
    narrate(&typed(&served, "v1"));
    tokio::time::sleep(BREATH).await;
    let broken = stage.play("v1").await?;
    if !matches!(broken.outcome, Outcome::RolledBack(_)) {
        return Ok(broken.outcome);
    }
    let failed_requests = broken.total_counts.unwrap_or_default().canary.failures;
    narrate(&format!(
        "\nDone: v2 was promoted to 100 %, and the broken release was rolled back\nautomatically after {failed_requests} failed requests."
    ));
    narrate("\nNext, in your own cluster:\n");
    narrate("  kubectl canary plan NAME --canary VERSION     # preview and preflight checks");
    narrate("  kubectl canary start NAME --canary VERSION    # shift, analyze, roll back if worse");
    if args.keep {
        narrate("\nThe demo cluster keeps running until Ctrl-C, with both runs on record:\n");
        narrate("  kubectl canary history reviews");
        narrate("  kubectl canary report reviews -o html > rollout.html");
        let _ = signals()?.next().await;
    }
    // The last scene ends well: the rollback is what it was to show.
    Ok(Outcome::Promoted)
}

fn options(served: &Served, canary: &str) -> Options {
    let seconds = |text: &str| text.parse().ok();
    Options {
        canary: Some(canary.to_owned()),
        dwell: seconds("3s"),
        interval: seconds("500ms"),
        preset: Some(Preset::Quick),
        warmup: seconds("0s"),
        prometheus: Some(served.prometheus_url()),
        ..Options::default()
    }
}

/// The command that the scene stands for.
fn typed(served: &Served, canary: &str) -> String {
    format!(
        "$ kubectl canary start reviews --canary {canary} --preset quick --dwell 3s \\\n    --warmup 0s --interval 500ms --prometheus {}\n",
        served.prometheus_url()
    )
}

fn signals() -> Result<Signals, CommandError> {
    Signals::of_process().map_err(|source| CommandError::Io {
        what: "cannot listen for signals".into(),
        source,
    })
}

struct DemoWorld<'a> {
    connection: Connection,
    served: &'a Served,
    observer: &'a mut dyn Observer,
}

impl DemoWorld<'_> {
    async fn play(&mut self, canary: &str) -> Result<Finish, CommandError> {
        let run = Uuid::now_v7().simple().to_string();
        let connected = connect(&self.connection, &run).await?;
        let cluster = Cluster::new(connected.client, self.connection.deadline());
        let mut recorded = Recorded {
            observer: &mut *self.observer,
            record: None,
        };
        let mut context = Context {
            cluster: cluster.clone(),
            namespace: connected.namespace,
            prometheus: PrometheusAccess::default(),
            clock: Clock::System,
            actor: "you@demo".into(),
            run,
            observer: &mut recorded,
            signals: signals()?,
            before_step: None,
        };
        let args = Start {
            rollout: RolloutArgs {
                name: Some("reviews".into()),
                options: options(self.served, canary),
                ..RolloutArgs::default()
            },
            ..Start::default()
        };
        let (_, finish) = start(&mut context, &args).await?;
        drop(context);
        // In the demo's cluster alone: it is no run of the user's.
        if let Some(record) = recorded.record {
            keep_copy(&cluster, &record).await?;
        }
        Ok(finish)
    }
}

/// Keeps what it passes on.
struct Recorded<'a> {
    observer: &'a mut dyn Observer,
    record: Option<RunRecord>,
}

impl Observer for Recorded<'_> {
    fn see(&mut self, event: &Event) {
        match &mut self.record {
            Some(record) => record.push(event.clone()),
            None => self.record = Some(RunRecord::begin(event.clone())),
        }
        self.observer.see(event);
    }
}
