//! The results of many simulated rollouts.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::forecast::{detects, name, remedies};
use super::simulation_page::SimulationPage;
use super::{Layout, Table, Tone, View, phrase};
use crate::number::{grouped, mean, pace, percentage};
use crate::plan::{AnalysisKind, DetectedRegression, Forecast, HumanDuration, Plan};
use crate::simulate::{Lag, Probability, Reading, RunEnding, Scenario, SimulatedRun, Spread};
use crate::verdict::sequential::Subject;

/// A plan, the scenario it was simulated in, and the results.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// The format's version.
    pub version: u32,
    /// The seed of the first rollout; each later one has the next.
    pub seed: u64,
    /// Chances, times and failed requests.
    pub summary: crate::simulate::RunSummary,
    /// The simulated versions.
    pub scenario: Scenario,
    /// Every option decided.
    pub plan: Plan,
    /// What is to be expected of the plan, faults aside.
    pub forecast: Option<Forecast>,
    /// What is to be expected of the simulated canary, where it fails more than stable from the start
    /// and would be caught.
    pub detected: Option<DetectedRegression>,
    /// What became of the rollout in the middle.
    pub median_run: SimulatedRun,
    /// Its seed.
    pub median_run_seed: u64,
    /// What it looked like.
    #[serde(skip)]
    pub readings: Vec<Reading>,
    /// What became of each rollout.
    #[serde(skip)]
    pub runs: Vec<SimulatedRun>,
}

impl Simulation {
    /// The version of the format.
    pub const VERSION: u32 = 1;

    /// One page with pictures, which needs nothing but itself.
    pub fn page(&self) -> String {
        SimulationPage(self).to_string()
    }

    /// How the canary is judged, in words.
    pub(super) fn judged(&self) -> String {
        let judgement = self.plan.judgement;
        let kind = match judgement.analysis {
            AnalysisKind::Sequential => format!("preset {}", name(judgement.preset)),
            AnalysisKind::Threshold => "fixed limits".into(),
        };
        let tolerance = judgement
            .tolerance
            .map(|tolerance| format!(", tolerance {tolerance} %"))
            .unwrap_or_default();
        let guards = match self.plan.guards.is_empty() {
            true => "",
            false => "; its guards are not simulated",
        };
        let sticky = match self.plan.sticky {
            None => "",
            Some(_) => "; users are not sticky here",
        };
        format!(
            "{}, {kind}{tolerance}, at least {} per step, scraped every {}{guards}{sticky}",
            phrase::ladder(&self.plan.exposures()),
            self.plan.dwell,
            judgement.scrape
        )
    }

    /// The versions and their traffic, in words.
    pub(super) fn versions(&self) -> (String, String) {
        let scenario = &self.scenario;
        let stable = format!(
            "{}, {} failed",
            pace(scenario.requests_per_second),
            percentage(scenario.stable)
        );
        let rate = (scenario.ratio * scenario.stable + scenario.added).min(1.0);
        let canary = if scenario.ratio.total_cmp(&1.0).is_eq() && scenario.added <= 0.0 {
            "as good as stable".to_owned()
        } else {
            format!("{} failed", percentage(rate))
        };
        let onset = match scenario.onset {
            onset if onset > 0.0 => format!(" after {}", duration(onset)),
            _ => String::new(),
        };
        (stable, canary + &onset)
    }

    /// What else goes wrong, each in words.
    pub(super) fn troubles(&self) -> Vec<String> {
        let trouble = &self.scenario.disturbance;
        let outage = trouble.outage.map(|outage| {
            format!(
                "both versions fail {} of their requests for {}, starting at {}",
                percentage(outage.rate),
                duration(outage.lasts),
                duration(outage.start.0)
            )
        });
        let lag = trouble.lag.map(|lag| match lag {
            Lag::Stable => "stable's counters arrive one scrape late".to_owned(),
            Lag::Canary => "the canary's counters arrive one scrape late".to_owned(),
        });
        let pods = trouble.pods.map(|sd| {
            format!(
                "failure rates of the canary's pods differ by {}",
                percentage(sd)
            )
        });
        let warmup = trouble.warmup.map(|warmup| {
            format!(
                "the canary fails {} more in its first {} of traffic",
                percentage(warmup.added),
                duration(warmup.lasts)
            )
        });
        let clusters = trouble
            .clusters
            .map(|size| format!("failures come in clusters of {}", mean(size)));
        let noise = trouble
            .noise
            .map(|rho| format!("failure rates vary from scrape to scrape, correlation {rho}"));
        let drift = trouble
            .drift
            .map(|sd| format!("both rates drift together by a factor of e^{sd}"));
        let unreached = trouble
            .unreached
            .map(|rate| format!("{} of all requests reach no upstream", percentage(rate)));
        let response_time = trouble
            .response_time
            .map(|seconds| format!("requests that succeed take {}", duration(seconds)));
        let alongside = trouble.alongside.map(|times| {
            format!("other rules send {times} times as many requests to stable, which never fail")
        });
        let broken_stable = trouble.broken_stable.map(|rate| {
            let rate = percentage(rate);
            format!("stable fails {rate} more from the beginning on, and the canary does not")
        });
        let past_outage = trouble.past_outage.map(|outage| {
            let (rate, lasted) = (percentage(outage.rate), duration(outage.lasted));
            format!("stable failed {rate} of its requests for {lasted} before the rollout")
        });
        let slow_start = trouble.slow_start.map(|slow| {
            let (factor, lasts) = (slow.factor, duration(slow.lasts));
            format!("the canary starts {factor} times slower, which fades over {lasts}")
        });
        let slower = self
            .scenario
            .latency
            .map(|latency| format!("the canary is {} times slower", latency.slowdown));
        [
            outage,
            lag,
            pods,
            warmup,
            clusters,
            noise,
            drift,
            unreached,
            response_time,
            alongside,
            broken_stable,
            past_outage,
            slow_start,
            slower,
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What was to be expected, in words: of a healthy canary, and of worse ones.
    pub(super) fn expected(&self) -> Vec<(&'static str, String)> {
        let Some(forecast) = &self.forecast else {
            return Vec::new();
        };
        let healthy = match forecast.total {
            Some(total) => format!("a healthy canary needs about {}", total.rounded()),
            None => "a healthy canary gets no verdict in time".into(),
        };
        let power = forecast.power.iter().map(|power| {
            let simulated = self.detected.filter(|_| power.subject == Subject::Failures);
            ("detects", detects(power, simulated.or(power.example)))
        });
        let advice = remedies(forecast).map(|text| ("advice", text));
        let healthy = std::iter::once(("forecast", healthy));
        healthy.chain(power).chain(advice).collect()
    }

    /// The endings with their chances.
    pub(super) fn chances(&self) -> [(RunEnding, Probability); 3] {
        [
            (RunEnding::Promoted, self.summary.promoted),
            (RunEnding::RolledBack, self.summary.rolled_back),
            (RunEnding::Inconclusive, self.summary.inconclusive),
        ]
    }
}

impl View for Simulation {
    fn names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()> {
        let palette = layout.palette;
        let (stable, canary) = self.versions();
        writeln!(out, "{:<10}{}", "plan", self.judged())?;
        writeln!(out, "{:<10}{stable}", "stable")?;
        writeln!(out, "{:<10}{canary}", "canary")?;
        for trouble in self.troubles() {
            let word = palette.paint(Tone::Caution, format!("{:<10}", "fault"));
            writeln!(out, "{word}{trouble}")?;
        }
        for (name, text) in self.expected() {
            writeln!(out, "{name:<10}{text}")?;
        }
        let runs = grouped(self.summary.runs as u64);
        writeln!(
            out,
            "{:<10}{runs} rollouts, seed {}\n",
            "simulated", self.seed
        )?;
        let mut endings = Table::new(["outcome", "probability", "95 % interval"])
            .without_headers(layout.without_headers);
        for (ending, chance) in self.chances() {
            endings.row([
                word(ending).to_owned(),
                percentage(chance.share),
                interval(chance),
            ]);
        }
        endings.write(out, "")?;
        writeln!(out)?;
        let titles = ["", "mean", "median", "90th percentile", "95th percentile"];
        let mut numbers = Table::new(titles).without_headers(layout.without_headers);
        let table = &self.summary;
        for (what, spread) in [
            ("total duration", Some(table.seconds)),
            ("time to promotion", table.seconds_to_promote),
        ] {
            if let Some(spread) = spread {
                numbers.row(cells(what, spread, duration));
            }
        }
        for (what, spread) in [
            ("failed canary requests", table.failed),
            ("extra failures from the canary", table.excess),
        ] {
            numbers.row(cells(what, spread, |number| mean(number.max(0.0))));
        }
        numbers.write(out, "")
    }
}

fn cells(what: &str, spread: Spread, words: impl Fn(f64) -> String) -> Vec<String> {
    let numbers = [
        spread.mean,
        spread.median,
        spread.nine_in_ten,
        spread.nineteen_in_twenty,
    ];
    std::iter::once(what.to_owned())
        .chain(numbers.into_iter().map(words))
        .collect()
}

/// What an ending is called.
pub(super) fn word(ending: RunEnding) -> &'static str {
    match ending {
        RunEnding::Promoted => "promoted",
        RunEnding::RolledBack => "rolled back",
        RunEnding::Inconclusive => "inconclusive",
    }
}

/// `0.1 % to 0.9 %`.
pub(super) fn interval(chance: Probability) -> String {
    format!("{} to {}", percentage(chance.low), percentage(chance.high))
}

/// Seconds as people say them.
pub(super) fn duration(seconds: f64) -> String {
    let whole = jiff::SignedDuration::from_secs_f64(seconds.round());
    HumanDuration::from(whole).to_string()
}
