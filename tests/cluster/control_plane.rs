//! An API server, and an etcd, that stand still while there are rollouts at every phase.
//!
//! One outage meets all of them at once, each on an application of its own.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kubectl_canary::rollout::EventKind;
use serde_json::json;

use crate::app::App;
use crate::call_proxy::{CallProxy, Counted, Moment};
use crate::load::Running as Load;
use crate::program::Running;
use crate::stack::Stack;

/// How long it takes to bring everything to its phase, at most.
const SET_UP: Duration = Duration::from_secs(60);

/// How long a driver may take for what is left once all is well again.
const AFTERWARDS: Duration = Duration::from_secs(120);

/// What a driver is about to do when the outage begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its first PATCH is sent.
    FirstWrite,
    /// 20 % is in force, for longer than the outage.
    Dwell,
    /// The PATCH of its last step is sent.
    StepChange,
    /// It waits for a promote.
    Gate,
    /// The PATCH of its rollback is sent.
    Rollback,
}

const PHASES: [(Phase, bool); 8] = [
    (Phase::FirstWrite, false),
    (Phase::Dwell, false),
    (Phase::Dwell, true),
    (Phase::StepChange, false),
    (Phase::StepChange, true),
    (Phase::Gate, false),
    (Phase::Gate, true),
    (Phase::Rollback, true),
];

/// A rollout at its phase.
struct Scene {
    phase: Phase,
    /// Whether the canary fails, from the beginning of the outage at the latest.
    breaks: bool,
    app: App,
    before: String,
    driver: Running,
    proxy: Option<CallProxy>,
    _load: Load,
}

impl Scene {
    async fn at(stack: &Stack, name: &str, phase: Phase, breaks: bool, lasting: Duration) -> Self {
        let kind = format!("{phase:?}").to_lowercase();
        let app = App::start(stack, &format!("{name}-{kind}-{breaks}")).await;
        let before = app.spec().await;
        let load = app.load().rate(60.0).start();
        let steps = match phase {
            Phase::Dwell => "20:30m,100".to_owned(),
            Phase::Gate => "20:pause,100".to_owned(),
            Phase::FirstWrite | Phase::StepChange | Phase::Rollback => "20,100".to_owned(),
        };
        // Asked through the API server, Prometheus would be away with it.
        let url = &stack.description.prometheus.url;
        let start = app.rollout(&format!("--steps {steps} --prometheus {url}"));
        let start = start.patient(SET_UP + lasting + SET_UP + AFTERWARDS);
        let call = match phase {
            Phase::FirstWrite => 1,
            Phase::StepChange | Phase::Rollback => 2,
            Phase::Dwell | Phase::Gate => 0,
        };
        let mut proxy = None;
        let driver = if call > 0 {
            if phase == Phase::Rollback {
                app.behave("v2", json!({"errors": 0.5})).await;
            }
            let before = CallProxy::at(stack, call, Counted::RouteWrites, Moment::Held).await;
            let driver = before.hold(start).await;
            proxy = Some(before);
            driver
        } else {
            let mut driver = start.launch();
            driver.until_flowing_at("20").await;
            driver
        };
        Self {
            phase,
            breaks,
            app,
            before,
            driver,
            proxy,
            _load: load,
        }
    }

    /// The outage has begun: the calls that were held go out, and canaries break.
    async fn goes_on(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.release();
        }
        if self.breaks {
            self.app.behave("v2", json!({"errors": 0.5})).await;
        }
    }

    /// Whatever was decided, nothing could be written.
    async fn has_not_moved(&self) {
        let served = self.app.served_weights().await;
        let expected = match self.phase {
            Phase::FirstWrite => vec![("v1".to_owned(), 100)],
            _ => vec![("v1".to_owned(), 80), ("v2".to_owned(), 20)],
        };
        let served: Vec<_> = served.into_iter().collect();
        assert_eq!(served, expected, "{:?}", self.phase);
    }

    /// All is well again: what the driver comes to is true of the object.
    async fn ends_well(self) {
        let Self {
            phase,
            breaks,
            app,
            before,
            driver,
            ..
        } = self;
        println!("{phase:?}, breaks: {breaks}");
        let mut promoted = None;
        if matches!(phase, Phase::Dwell | Phase::Gate) && !breaks {
            promoted = Some(app.canary("promote reviews --full").run().await);
        }
        let ended = driver.end().await;
        if let Some(promoted) = promoted {
            assert_eq!(promoted.code, Some(0), "{phase:?}: {}", promoted.stderr);
        }
        let back = |event: &EventKind| matches!(event, EventKind::RolledBack { .. });
        match (phase, breaks) {
            (Phase::FirstWrite, _) => match ended.code {
                // It was taken in the end.
                Some(0) => assert_eq!(ended.steps(), ["20", "100"]),
                Some(1) => {
                    assert_eq!(app.spec().await, before);
                    assert_eq!(app.annotation("rollout").await, None);
                }
                // It says that it does not know, and what to do.
                Some(20) => {
                    assert!(ended.stderr.contains("canary abort reviews"));
                    let aborted = app.canary("abort reviews --ignore-not-found").run().await;
                    assert_eq!(aborted.code, Some(0), "{}", aborted.stderr);
                    assert_eq!(app.spec().await, before);
                }
                code => panic!("{code:?}\n{}", ended.stderr),
            },
            (_, true) => {
                assert_eq!(ended.code, Some(10), "{phase:?}: {}", ended.stderr);
                assert_eq!(ended.steps(), ["20"], "{phase:?}");
                assert!(ended.told(back), "{:?}", ended.events);
                app.is_restored_to(&before).await;
            }
            (_, false) => {
                assert_eq!(ended.code, Some(0), "{phase:?}: {}", ended.stderr);
                // A promote by another process is no step of this one's.
                if phase == Phase::StepChange {
                    assert_eq!(ended.steps(), ["20", "100"]);
                }
                assert_eq!(app.annotation("rollout").await, None);
                app.until_served(0, 100).await;
            }
        }
        app.finish().await;
    }
}

/// Plays every phase through an outage of this part that lasts so long.
///
/// The part stands still instead of being started anew: a new API server leaves the controllers of the stack
/// behind for longer than the tests that come next would wait.
async fn meets_every_phase(part: &str, lasting: Duration) {
    let stack = Stack::open().await;
    let scenes = PHASES.map(|(phase, breaks)| Scene::at(&stack, part, phase, breaks, lasting));
    let scenes = join_all(scenes).await;
    let began = Instant::now();
    let frozen = stack.freeze(part);
    join_all(scenes.iter().map(Scene::goes_on)).await;
    tokio::time::sleep(lasting.saturating_sub(began.elapsed())).await;
    join_all(scenes.iter().map(Scene::has_not_moved)).await;
    drop(frozen);
    println!("{part} goes on after {:?}", began.elapsed());
    join_all(scenes.into_iter().map(Scene::ends_well)).await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn every_phase_survives_an_api_server_that_stands_still_for_20_seconds() {
    meets_every_phase("apiserver", Duration::from_secs(20)).await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn every_phase_survives_an_etcd_that_stands_still_for_3_minutes() {
    meets_every_phase("etcd", Duration::from_secs(180)).await;
}
