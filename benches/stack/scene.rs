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

/// No run takes longer; one that would counts as not seen.
const LONGEST: Duration = Duration::from_secs(90);

/// Errors of the canary, runs, and what the peers did.
const SCENES: [(f64, usize, &str); 3] = [
    (1.0, 5, "peers: 20 s and 49 failed, 9 s and 25"),
    (0.2, 5, "peers: 20 s and 9 failed, 11 s and 4"),
    (0.02, 5, "peers: 30 s and 10 failed, at 10 %"),
];

pub(crate) async fn measure(stack: &Stack, figures: &mut Figures) {
    let url = &stack.description.prometheus.url;
    for preset in ["careful", "quick"] {
        let words = format!("start reviews --preset {preset} --prometheus {url}");
        for (errors, runs, peers) in SCENES {
            let (mut seconds, mut failed, mut reached) = (Vec::new(), Vec::new(), Vec::new());
            for run in 0..runs {
                let app = App::start(stack, &format!("scene-{run}")).await;
                // By chance, as in life; the runs differ, and can be repeated.
                let spread = json!({"random": run});
                app.behave("v2", json!({"errors": errors, "spread": spread}))
                    .await;
                let load = app.load().rate(RATE).start();
                // Controllers have watched for a while before they start, too.
                tokio::time::sleep(Duration::from_secs(3)).await;
                let mut driver = app.canary(&words).within(2 * LONGEST).launch();
                let over = driver.until(|event| {
                    matches!(
                        event,
                        EventKind::RolledBack { .. } | EventKind::Tripped { .. }
                    )
                });
                if tokio::time::timeout(LONGEST, over).await.is_err() {
                    driver.signal("INT");
                    driver.wait().await;
                    app.finish().await;
                    continue;
                }
                let ended = driver.wait().await;
                let sent = load.stop().await;
                let first = ended.events.iter().find_map(|event| {
                    matches!(event.event, EventKind::StepStarted { .. }).then_some(event.at)
                });
                let shut = Shut::of(&ended.events).map(|shut| shut.answered);
                let weight = ended.steps().last().and_then(|weight| weight.parse().ok());
                if let (Some(first), Some(shut), Some(weight)) = (first, shut, weight) {
                    seconds.push(between(first, shut));
                    failed.push(sent.failed() as f64);
                    reached.push(weight);
                }
                eprintln!(
                    "{preset}, {} % errors, run {run}: exit {:?}, {} failed\n{}",
                    100.0 * errors,
                    ended.code,
                    sent.failed(),
                    ended.stderr
                );
                app.finish().await;
            }
            let what = format!("canary fails {} %, {preset}", 100.0 * errors);
            figures.add(format!("{what}: weight to restore"), "s", &seconds, peers);
            figures.add(format!("{what}: failed requests"), "", &failed, "");
            figures.add(format!("{what}: weight reached"), "%", &reached, "");
        }
    }
}

fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
