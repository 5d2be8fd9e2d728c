//! What a rollout asks of the API server, as the server's own audit log tells, and
//! the memory it takes meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use kubectl_canary::rollout::EventKind;
use serde::Deserialize;

use crate::app::App;
use crate::figures::Figures;
use crate::stack::{Stack, VARIABLE};

/// What the program calls itself.
const AGENT: &str = "kubectl-canary";

/// A line of the audit log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    stage: String,
    verb: String,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<Object>,
    request_received_timestamp: Timestamp,
}

/// What the description of the stack says besides all that the tests use.
#[derive(Deserialize)]
struct Described {
    audit_log: PathBuf,
}

#[derive(Deserialize)]
struct Object {
    resource: String,
    subresource: Option<String>,
    namespace: Option<String>,
}

/// A healthy rollout with two whole steps of 15 seconds and a look each second.
pub(crate) async fn measure(stack: &Stack, figures: &mut Figures) {
    let app = App::start(stack, "calls").await;
    let load = app.load().rate(200.0).start();
    let words = "--steps 20:15s,50:15s,100";
    let mut driver = app.rollout(words).launch();
    driver
        .until(|event| matches!(event, EventKind::StepPassed { step: 2, .. }))
        .await;
    let memory = peak(driver.id());
    let ended = driver.wait().await;
    drop(load);
    figures.add(
        "memory while driving, peak",
        "MB",
        &memory.map_or(vec![], |memory| vec![memory]),
        "goal: under 20 MB",
    );

    let requests: Vec<Request> = audit_log()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|request: &Request| request.user_agent.starts_with(AGENT))
        // A watch is told when it begins and when it ends; all else when it ends.
        .filter(|request| (request.verb == "watch") == (request.stage == "ResponseStarted"))
        .collect();
    let steps: Vec<Timestamp> = ended
        .events
        .iter()
        .filter_map(|event| match event.event {
            // The PATCH was sent before the event was told, by so long and a rounded millisecond.
            EventKind::StepStarted { took_millis, .. } => {
                let took = i64::try_from(took_millis).ok()?;
                let took = SignedDuration::from_millis(took + 2);
                event.at.checked_sub(took).ok()
            }
            _ => None,
        })
        .collect();
    let begun = ended.events.first().map(|event| event.at);
    let preflight = begun.and_then(|begun| {
        let before = SignedDuration::from_secs(2);
        Some((begun.checked_sub(before).ok()?, *steps.first()?))
    });
    if let Some((from, to)) = preflight {
        tell(
            figures,
            "calls before the first step",
            count(&requests, &app, from, to),
            "",
        );
    }
    for (number, pair) in steps.windows(2).enumerate() {
        let looks = ended.events.iter().filter(|event| {
            let is_look = matches!(event.event, EventKind::Analyzed { .. });
            is_look && event.at > pair[0] && event.at < pair[1]
        });
        let goal = format!(
            "{} looks in it; goal: 1 patch, at most 1 watch",
            looks.count()
        );
        let counts = count(&requests, &app, pair[0], pair[1]);
        tell(
            figures,
            &format!("calls of step {} (15 s)", number + 1),
            counts,
            &goal,
        );
    }
    app.finish().await;
}

/// The log of the API server that `scripts/cluster` started.
fn audit_log() -> String {
    let description = std::env::var(VARIABLE).expect("the stack was opened");
    let description = fs::read(description).expect("the stack was opened");
    let Described { audit_log } =
        serde_json::from_slice(&description).expect("scripts/cluster names the log");
    fs::read_to_string(audit_log).expect("the API server writes the log")
}

fn tell(figures: &mut Figures, what: &str, counts: BTreeMap<String, f64>, goal: &str) {
    for (call, count) in counts {
        let goal = if call == "patch virtualservices" {
            goal
        } else {
            ""
        };
        figures.add(format!("{what}: {call}"), "", &[count], goal);
    }
}

fn count(requests: &[Request], app: &App, from: Timestamp, to: Timestamp) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for request in requests {
        let at = request.request_received_timestamp;
        let Some(object) = &request.object_ref else {
            continue;
        };
        let namespace = object.namespace.as_deref();
        let is_ours = namespace.is_none_or(|of| of == app.namespace || of == "istio-system");
        if is_ours && at >= from && at < to {
            let part = object
                .subresource
                .as_deref()
                .map_or(String::new(), |part| format!("/{part}"));
            let call = format!("{} {}{part}", request.verb, object.resource);
            *counts.entry(call).or_default() += 1.0;
        }
    }
    counts
}

/// The most memory a living process has held, in MB.
fn peak(id: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes / 1024.0)
}
