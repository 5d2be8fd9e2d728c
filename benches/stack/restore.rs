//! From the verdict to restored weights and to the last request on the canary.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kubectl_canary::rollout::{Event, EventKind};
use serde_json::json;

use crate::app::App;
use crate::figures::Figures;
use crate::stack::Stack;

const RUNS: usize = 5;

/// Requests a second, half of them on the canary.
const RATE: f64 = 300.0;

/// When the canary lost its traffic: sent, and answered.
pub(crate) struct Shut {
    pub(crate) sent: Timestamp,
    pub(crate) answered: Timestamp,
}

impl Shut {
    /// The write that took the traffic away, be it a trip or the rollback itself.
    pub(crate) fn of(events: &[Event]) -> Option<Self> {
        events.iter().find_map(|event| {
            let (EventKind::Tripped { took_millis, .. }
            | EventKind::RolledBack { took_millis, .. }) = event.event
            else {
                return None;
            };
            let took = SignedDuration::from_millis(i64::try_from(took_millis).ok()?);
            Some(Self {
                sent: event.at.checked_sub(took).ok()?,
                answered: event.at,
            })
        })
    }
}

pub(crate) async fn measure(stack: &Stack, figures: &mut Figures) {
    let (mut restored, mut last) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let app = App::start(stack, &format!("restore-{run}")).await;
        app.behave("v2", json!({"errors": 0.5})).await;
        let load = app.load().rate(RATE).start();
        let ended = app.rollout("--steps 50,100").launch().wait().await;
        // The last answers are on their way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let sent = load.stop().await;
        if let Some(shut) = Shut::of(&ended.events) {
            restored.push(milliseconds(shut.sent, shut.answered));
            let canary = sent.last_answer.get("v2");
            let canary = canary.and_then(|at| Timestamp::try_from(*at).ok());
            last.extend(canary.map(|at| milliseconds(shut.sent, at)));
        }
        app.finish().await;
    }
    figures.add(
        "verdict to weights restored",
        "ms",
        &restored,
        "a lone PATCH: 5 to 7 ms",
    );
    figures.add(
        "verdict to last answer of the canary",
        "ms",
        &last,
        "a lone PATCH: 55 to 83 ms",
    );
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    1000.0 * to.duration_since(from).as_secs_f64()
}
