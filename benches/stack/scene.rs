//! The scene in which peers were measured: a canary that fails at 1 % of 200
//! requests a second, scraped each second, and what that costs the users.
//!
//! Of two well-known controllers, both tuned to their fastest, one took 20 s and 49
//! failed requests where the canary failed all, the other 9 s and 25; at 20 % of
//! errors 20 s and 9, 11 s and 4; at 2 % the one went on to 10 % of the traffic and
//! took it back after 30 s and 10 failures, the other gave up on a single failure.

use std::time::Duration;

use jiff::Timestamp;
use kubectl_canary::record::EventKind;
use serde_json::json;

use crate::app::App;
use crate::figures::Figures;
use crate::restore::Shut;
use crate::stack::Stack;

/// Requests a second.
const RATE: f64 = 200.0;

/// How long requests flow before the rollout begins.
const WATCHED: Duration = Duration::from_secs(3);

/// No run takes longer; one that would counts as not seen.
const LONGEST: Duration = Duration::from_secs(90);

/// Errors of the canary, runs, and what the peers did.
const SCENES: [(f64, usize, &str); 3] = [
    (1.0, 5, "peers: 20 s and 49 failed, 9 s and 25"),
    (0.2, 5, "peers: 20 s and 9 failed, 11 s and 4"),
    (0.02, 5, "peers: 30 s and 10 failed, at 10 %"),
];

/// How the canary is judged: as it is by default; without room for the errors of a cold start, as
/// its pods are always young here; and faster at the price of a wider tolerance.
const WAYS: [(&str, &str); 3] = [
    ("by default", ""),
    ("no warm-up", "--warmup 0s"),
    ("quick, no warm-up", "--preset quick --warmup 0s"),
];

/// What one run cost.
struct Cost {
    /// From the first weight until the canary had none again.
    seconds: f64,
    failed: f64,
    /// The highest percentage it came to.
    reached: f64,
}

pub(crate) async fn measure(stack: &Stack, figures: &mut Figures) {
    for (errors, runs, peers) in SCENES {
        for (way, words) in WAYS {
            let mut costs = Vec::new();
            for number in 0..runs {
                costs.extend(run(stack, errors, words, number).await);
            }
            let what = format!("canary fails {} %, {way}", 100.0 * errors);
            let each = |of: fn(&Cost) -> f64| costs.iter().map(of).collect::<Vec<_>>();
            let name = format!("{what}: weight to restore");
            figures.add(name, "s", &each(|cost| cost.seconds), peers);
            let name = format!("{what}: failed requests");
            figures.add(name, "", &each(|cost| cost.failed), "");
            let name = format!("{what}: weight reached");
            figures.add(name, "%", &each(|cost| cost.reached), "");
        }
    }
}

/// One rollout; nothing if the canary was not found out in time.
async fn run(stack: &Stack, errors: f64, words: &str, number: usize) -> Option<Cost> {
    let app = App::start(stack, &format!("scene-{number}")).await;
    // By chance, as in life; the runs differ, and can be repeated.
    let spread = json!({"random": number});
    app.behave("v2", json!({"errors": errors, "spread": spread}))
        .await;
    let load = app.load().rate(RATE).start();
    // Controllers have watched for a while before they start, too.
    tokio::time::sleep(WATCHED).await;
    let url = &stack.description.prometheus.url;
    let start = format!("start reviews {words} --prometheus {url}");
    let mut driver = app.canary(&start).launch();
    let shut = driver.until(|event| {
        matches!(
            event,
            EventKind::RolledBack { .. } | EventKind::Tripped { .. }
        )
    });
    let is_seen = tokio::time::timeout(LONGEST, shut).await.is_ok();
    if !is_seen {
        driver.signal("INT");
    }
    let ended = driver.wait().await;
    let sent = load.stop().await;
    eprintln!(
        "{} % errors, {words:?}, run {number}: exit {:?}, {} failed\n{}",
        100.0 * errors,
        ended.code,
        sent.failed(),
        ended.stderr
    );
    app.finish().await;
    let first = ended.events.iter().find_map(|event| {
        matches!(event.event, EventKind::StepStarted { .. }).then_some(event.at)
    })?;
    let shut = Shut::of(&ended.events).filter(|_| is_seen)?;
    Some(Cost {
        seconds: between(first, shut.answered),
        failed: sent.failed() as f64,
        reached: ended.steps().last()?.parse().ok()?,
    })
}

fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
