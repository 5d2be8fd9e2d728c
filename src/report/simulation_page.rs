//! The page that `simulate --html` writes: self-contained, for a light or a dark screen.

use std::fmt;

use super::chart::{Axis, Bars, Chart, Curve, html};
use super::page::{Page, definitions};
use super::simulation::{Simulation, duration, interval, word};
use crate::number::{grouped, mean, percentage};
use crate::simulate::{Reading, RunEnding, SimulatedRun, Spread};
use crate::verdict::Counts;

/// Bins of a distribution.
const BINS: usize = 40;
/// Looks whose counts make up a rate in a picture, so that a single failure is no spike.
const SMOOTHED: usize = 4;
/// The part of the failed requests that a distribution shows; the rest is in its last bin.
const SHOWN: f64 = 0.995;

/// A simulation as a page.
pub(super) struct SimulationPage<'a>(pub &'a Simulation);

impl fmt::Display for SimulationPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let page = Page {
            title: "simulated rollouts",
            body: SimulationBody(self.0),
        };
        write!(f, "{page}")
    }
}

struct SimulationBody<'a>(&'a Simulation);

impl fmt::Display for SimulationBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.endings(f)?;
        self.numbers(f)?;
        let simulation = self.0;
        writeln!(
            f,
            "<h2>Duration and failed requests</h2>\n{}{}",
            distribution(
                "total duration",
                &simulation.runs,
                simulation.summary.seconds,
                |run| run.seconds,
                true
            ),
            distribution(
                "failed canary requests",
                &simulation.runs,
                simulation.summary.failed,
                |run| run.failed as f64,
                false
            )
        )?;
        self.typical(f)
    }
}

impl SimulationBody<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simulation = self.0;
        writeln!(f, "<h1>Simulated rollouts</h1>")?;
        let (stable, canary) = simulation.versions();
        let mut facts = vec![
            ("plan", simulation.judged()),
            ("stable", stable),
            ("canary", canary),
        ];
        facts.extend(
            simulation
                .troubles()
                .into_iter()
                .map(|text| ("fault", text)),
        );
        facts.extend(simulation.expected());
        let runs = grouped(simulation.summary.runs as u64);
        facts.push((
            "simulated",
            format!("{runs} rollouts, seed {}", simulation.seed),
        ));
        write!(f, "{}", definitions(facts))
    }

    fn endings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "<div class=\"wide\"><table><tr><th>outcome</th><th>probability</th><th>95 % interval</th></tr>"
        )?;
        for (ending, chance) in self.0.chances() {
            writeln!(
                f,
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                word(ending),
                html(&percentage(chance.share)),
                html(&interval(chance))
            )?;
        }
        writeln!(f, "</table></div>")
    }

    fn numbers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.0.summary;
        writeln!(
            f,
            "<div class=\"wide\"><table><tr><th></th><th>mean</th><th>median</th><th>90th percentile</th><th>95th percentile</th></tr>"
        )?;
        let row = |what: &str, spread: Spread, words: fn(f64) -> String| {
            let cells = [
                spread.mean,
                spread.median,
                spread.nine_in_ten,
                spread.nineteen_in_twenty,
            ];
            let cells = cells.map(|number| format!("<td>{}</td>", html(&words(number))));
            format!("<tr><td>{what}</td>{}</tr>", cells.concat())
        };
        let number: fn(f64) -> String = |number| mean(number.max(0.0));
        writeln!(f, "{}", row("total duration", table.seconds, duration))?;
        writeln!(f, "{}", row("failed canary requests", table.failed, number))?;
        writeln!(
            f,
            "{}",
            row("extra failures from the canary", table.excess, number)
        )?;
        writeln!(f, "</table></div>")
    }

    /// The rollout in the middle, over time.
    fn typical(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let simulation = self.0;
        let (typical, readings) = (simulation.median_run, &simulation.readings);
        writeln!(
            f,
            "<h2>A typical rollout</h2>\n<p>{} after {}, {} failed canary requests; seed {}.</p>",
            word(typical.ending),
            duration(typical.seconds),
            grouped(typical.failed),
            simulation.median_run_seed
        )?;
        let x = Axis {
            most: typical.seconds.max(1.0),
            time: true,
            words: duration,
        };
        let line = |class, name, points| Curve {
            class,
            name,
            points,
            stepped: false,
        };
        let mut weights: Vec<_> = vec![(0.0, first_share(simulation))];
        // A look sees the share until then; what it leads to shows at the next.
        let later = readings.iter().zip(readings.iter().skip(1));
        weights.extend(later.map(|(now, next)| (now.at, next.share)));
        weights.push((
            typical.seconds,
            match typical.ending {
                RunEnding::Promoted => 1.0,
                RunEnding::RolledBack | RunEnding::Inconclusive => 0.0,
            },
        ));
        let heaviest = weights.iter().map(|point| point.1).fold(0.01, f64::max);
        let weight = Chart {
            title: "canary weight",
            x,
            y: Axis {
                most: heaviest,
                time: false,
                words: percentage,
            },
            lines: vec![Curve {
                stepped: true,
                ..line("canary", "canary", weights)
            }],
            bars: Vec::new(),
            rule: None,
            marks: Vec::new(),
            spots: Vec::new(),
        };
        let stable = rates(readings, |reading| reading.stable);
        let canary = rates(readings, |reading| reading.canary);
        let highest = stable.iter().chain(&canary).map(|point| point.1);
        let rates = Chart {
            title: "failed requests",
            x,
            y: Axis {
                most: 1.1 * highest.fold(0.001, f64::max),
                time: false,
                words: percentage,
            },
            lines: vec![
                line("stable", "stable", stable),
                line("canary", "canary", canary),
            ],
            bars: Vec::new(),
            rule: None,
            marks: Vec::new(),
            spots: Vec::new(),
        };
        write!(f, "{weight}{rates}")?;
        match evidence(readings, x) {
            Some(chart) => write!(f, "{chart}"),
            None => Ok(()),
        }
    }
}

fn first_share(simulation: &Simulation) -> f64 {
    simulation.plan.exposure(0).share().share()
}

/// The share of failed requests over the last few looks.
fn rates(readings: &[Reading], of: impl Fn(&Reading) -> Counts) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(readings.len());
    for (i, reading) in readings.iter().enumerate() {
        let mut counts = Counts::default();
        for recent in &readings[(i + 1).saturating_sub(SMOOTHED)..=i] {
            counts += of(recent);
        }
        points.extend(counts.failure_rate().map(|rate| (reading.at, rate)));
    }
    points
}

/// The evidence of a regression and where it trips; nothing where none is weighed.
fn evidence(readings: &[Reading], x: Axis) -> Option<Chart> {
    let known = || {
        readings.iter().filter_map(|reading| {
            let evidence = reading.evidence.as_ref()?;
            Some((reading.at, evidence))
        })
    };
    let needed = known().next_back()?.1.needed;
    let points: Vec<_> = known()
        .map(|(at, evidence)| (at, evidence.evidence.max(0.0)))
        .collect();
    let highest = points.iter().map(|point| point.1).fold(needed, f64::max);
    Some(Chart {
        title: "regression evidence",
        x,
        y: Axis {
            most: 1.1 * highest.min(4.0 * needed),
            time: false,
            words: mean,
        },
        lines: vec![Curve {
            class: "canary",
            name: "evidence",
            points,
            stepped: false,
        }],
        bars: Vec::new(),
        rule: Some((needed, "rollback threshold")),
        marks: Vec::new(),
        spots: Vec::new(),
    })
}

/// How a quantity is distributed over all rollouts, by their endings.
fn distribution(
    title: &'static str,
    runs: &[SimulatedRun],
    spread: Spread,
    of: impl Fn(&SimulatedRun) -> f64,
    time: bool,
) -> Chart {
    let mut values: Vec<f64> = runs.iter().map(&of).collect();
    values.sort_by(f64::total_cmp);
    let last = (SHOWN * values.len() as f64) as usize;
    let most = values.get(last).or(values.last()).copied();
    // Whole numbers below the number of bins get a bin each.
    let floor = if time { 1.0 } else { BINS as f64 };
    let most = most.unwrap_or_default().max(spread.median).max(floor) * 1.02;
    let bin = |run: &SimulatedRun| ((of(run) / most * BINS as f64) as usize).min(BINS - 1);
    let bars = [
        (RunEnding::Promoted, "good"),
        (RunEnding::RolledBack, "bad"),
        (RunEnding::Inconclusive, "grey"),
    ]
    .map(|(ending, class)| {
        let mut heights = vec![0.0; BINS];
        for run in runs.iter().filter(|run| run.ending == ending) {
            heights[bin(run)] += 1.0 / runs.len() as f64;
        }
        Bars {
            class,
            name: word(ending),
            heights,
        }
    });
    let highest = (0..BINS)
        .map(|bin| bars.iter().map(|bars| bars.heights[bin]).sum())
        .fold(0.0, f64::max);
    Chart {
        title,
        x: Axis {
            most,
            time,
            words: if time { duration } else { mean },
        },
        y: Axis {
            most: 1.1 * highest.max(1e-6),
            time: false,
            words: percentage,
        },
        lines: Vec::new(),
        bars: bars.into(),
        rule: None,
        marks: Vec::new(),
        spots: Vec::new(),
    }
}
