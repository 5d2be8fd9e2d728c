//! Every entry of `vectors.json`, which independent code computed with 50 digits.

use serde_json::Value;

use super::alignment::{Alignment, Disputed, realigned};
use super::block::{Arm, Block, Margin, Rates, log_e, project};
use super::dispersion::Dispersion;
use super::guard::Guard;
use super::mixture::ERRORS;
use super::promotion::Promotion;
use super::regression::{Regression, Terms, combine};
use super::stable_rate::StableRate;
use super::traffic_split::MetricCounts;

const MARGIN: Margin = Margin {
    ratio: 1.25,
    offset: 0.0001,
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).expect("vectors.json is JSON")
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().expect("a number in quotes"),
        other => other.as_f64().expect("a number"),
    }
}

fn list(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(number)
        .collect()
}

fn counts(value: &Value) -> Vec<u64> {
    list(value).into_iter().map(|n| n as u64).collect()
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

#[track_caller]
fn close(ours: f64, theirs: f64, what: &str) {
    assert!(
        (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0),
        "{what}: {ours} is not {theirs}"
    );
}

fn arm(requests: f64, bad: f64) -> Arm {
    Arm { requests, bad }
}

fn tally(window: &Value) -> MetricCounts {
    let window = list(window);
    MetricCounts {
        stable: arm(window[0], window[1]),
        canary: arm(window[2], window[3]),
        share: window[4],
        unrelated: 0.0,
    }
}

fn terms(dispersion: Dispersion) -> Terms {
    Terms {
        margin: MARGIN,
        alternatives: ERRORS,
        dispersion,
    }
}

#[test]
fn blocks() {
    for row in rows(&vectors()["block"]) {
        let inp = list(&row["inp"]);
        let block = Block {
            stable: arm(inp[0], inp[1]),
            canary: arm(inp[2], inp[3]),
        };
        let alternative = Rates {
            stable: inp[4],
            canary: inp[5],
        };
        let margin = Margin {
            ratio: inp[6],
            offset: inp[7],
        };
        let null = project(margin, alternative, inp[0], inp[2]);
        close(null.stable, number(&row["q0"]), "q0");
        close(null.canary, number(&row["q1"]), "q1");
        close(
            log_e(&block, margin, alternative),
            number(&row["loge"]),
            "log e",
        );
    }
}

#[test]
fn trajectories() {
    for trajectory in rows(&vectors()["traj"]) {
        let name = trajectory["name"].as_str().expect("a name");
        let option = |key: &str, default: f64| trajectory["opts"].get(key).map_or(default, number);
        let dispersion = Dispersion {
            cluster: option("phi", 1.0),
            fluctuation: option("kap", 0.0),
            clamped: false,
        };
        let start = StableRate::from_counts(number(&trajectory["S0"]), number(&trajectory["N0"]));
        let mut process = Regression::new(start);
        let mut promotion = Promotion::default();
        for row in rows(&trajectory["rows"]) {
            let tally = tally(&row["win"]);
            close(process.stable_rate.rate(), number(&row["l0"]), name);
            let exposure = tally.exposure();
            close(exposure.stable, number(&row["e0"]), name);
            close(exposure.canary, number(&row["e1"]), name);
            let block = process.block(&tally, dispersion);
            promotion.bet(&block, 1.5, process.stable_rate.rate());
            process.bet(&tally, &terms(dispersion));
            close(process.evidence(), number(&row["logM"]), name);
            for (ours, theirs) in promotion.evidence().into_iter().zip(list(&row["prom"])) {
                close(ours, theirs, name);
            }
            process.learn(&tally);
            let experts = list(&row["experts_after"]);
            for (ours, theirs) in process.mixture.wealth.iter().zip(experts) {
                close(*ours, theirs, name);
            }
            let (bad, requests) = process.stable_rate.counts();
            close(bad, number(&row["S"]), name);
            close(requests, number(&row["N"]), name);
        }
    }
}

#[test]
fn exposures() {
    for row in rows(&vectors()["exposures"]) {
        let tally = MetricCounts {
            stable: arm(number(&row["n0"]), 0.0),
            canary: arm(number(&row["n1"]), 0.0),
            share: number(&row["w"]),
            unrelated: 0.0,
        };
        close(tally.exposure().stable, number(&row["e0"]), "e0");
        close(tally.exposure().canary, number(&row["e1"]), "e1");
    }
}

#[test]
fn dispersions() {
    for row in rows(&vectors()["dispersion"]) {
        let dispersion = Dispersion::estimate(&counts(&row["total"]));
        close(dispersion.cluster, number(&row["phi"]), "phi");
        close(dispersion.fluctuation, number(&row["kappa"]), "kappa");
    }
}

#[test]
fn confirmations() {
    for row in rows(&vectors()["confirm"]) {
        let terms = terms(Dispersion::POISSON);
        let tallies: Vec<MetricCounts> = rows(&row["windows"]).iter().map(tally).collect();
        let post = list(&row["post"]);
        let before = Regression::new(StableRate::from_counts(30.0, 30000.0));
        let mut process = before.clone();
        for (i, tally) in tallies.iter().enumerate() {
            process.bet(tally, &terms);
            if i + 1 < tallies.len() {
                process.learn(tally);
            }
        }
        close(process.evidence(), number(&row["logM_trip"]), "trip");
        let disputed: Vec<Disputed> = (0..tallies.len())
            .map(|i| Disputed {
                tally: tallies[i],
                terms,
                earlier: i.checked_sub(1).map(|j| tallies[j].stable),
                later: Some(
                    tallies
                        .get(i + 1)
                        .map_or(arm(post[0], post[1]), |t| t.stable),
                ),
            })
            .collect();
        for (alignment, theirs) in Alignment::ALL.into_iter().zip(list(&row["aligned"])) {
            close(realigned(&before, &disputed, alignment), theirs, "aligned");
        }
    }
}

#[test]
fn guards() {
    for row in rows(&vectors()["one_sample"]) {
        let limit = number(&row["m"]);
        let mut guard = Guard::at(limit, limit);
        let windows = rows(&row["windows"]).iter().map(list);
        for (window, theirs) in windows.zip(list(&row["logM"])) {
            let canary = arm(window[0], window[1]);
            close(
                guard.observe(canary, Dispersion::POISSON, &ERRORS),
                theirs,
                "guard",
            );
        }
    }
}

#[test]
fn combinations() {
    let vectors = vectors();
    let row = &vectors["combine"];
    let pairs = list(&row["v"]).into_iter().zip(list(&row["lm"]));
    close(combine(pairs), number(&row["out"]), "combined");
}
