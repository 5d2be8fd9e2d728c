//! The goals, and which cells miss them.

use std::fmt::Write;

use kubectl_canary::simulate::RunSummary;

use crate::cell::{amount, per_second, percent};

/// One goal with what was measured.
struct Goal {
    text: &'static str,
    measured: String,
    missed: Vec<String>,
}

/// Collects what the sections measure.
#[derive(Default)]
pub struct Goals {
    equal_worst: f64,
    equal_runs: usize,
    equal_rolled_back: f64,
    equal_missed: Vec<String>,
    margin_worst: f64,
    margin_missed: Vec<String>,
    disturbed_worst: f64,
    disturbed_missed: Vec<String>,
    ratios: Vec<(f64, String, f64)>,
    unjudged: usize,
    flagger: Vec<(String, f64)>,
    argo: Vec<(String, f64)>,
    promoted_worst: f64,
    promoted_missed: Vec<String>,
    promoted_peers: [Vec<f64>; 3],
    slow_missed: Vec<String>,
    sampled: Option<(f64, f64)>,
    fast: Vec<(String, f64)>,
}

fn cell(rps: f64, stable: f64) -> String {
    format!("{} req/s at {} %", per_second(rps), percent(stable))
}

fn geometric(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count().max(1) as f64;
    (values.map(f64::ln).sum::<f64>() / count).exp()
}

impl Goals {
    pub fn equal(&mut self, rps: f64, stable: f64, mine: &RunSummary) {
        let share = mine.rolled_back.share;
        self.equal_worst = self.equal_worst.max(share);
        self.equal_runs += mine.runs;
        self.equal_rolled_back += share * mine.runs as f64;
        if share > 0.001 {
            self.equal_missed
                .push(format!("{}: {} %", cell(rps, stable), percent(share)));
        }
        let limit = match rps {
            r if r >= 1_000.0 => 180.0,
            r if r >= 10.0 => 600.0,
            _ => f64::INFINITY,
        };
        if mine.seconds_to_promote.unwrap_or_default().median > limit
            || limit.is_finite() && mine.promoted.share < 0.5
        {
            let minutes = mine.seconds_to_promote.unwrap_or_default().median / 60.0;
            self.slow_missed
                .push(format!("{}: {minutes:.1} min", cell(rps, stable)));
        }
    }

    pub fn margin(&mut self, rps: f64, stable: f64, mine: &RunSummary) {
        let share = mine.rolled_back.share;
        self.margin_worst = self.margin_worst.max(share);
        if share > 0.01 {
            self.margin_missed
                .push(format!("{}: {} %", cell(rps, stable), percent(share)));
        }
    }

    pub fn disturbed(&mut self, name: &str, rps: f64, stable: f64, share: f64) {
        if name.starts_with("pods") {
            return;
        }
        self.disturbed_worst = self.disturbed_worst.max(share);
        if share > 0.01 {
            self.disturbed_missed.push(format!(
                "{name}, {}: {} %",
                cell(rps, stable),
                percent(share)
            ));
        }
    }

    /// `tables` are ours, Wald's, Flagger's, Argo's and Kayenta's.
    pub fn worse(&mut self, rps: f64, stable: f64, name: &str, tables: [&RunSummary; 5]) {
        let [mine, wald, flagger, argo, kayenta] = tables;
        let cell = format!("{}, {name}", cell(rps, stable));
        if mine.rolled_back.share >= 0.9 {
            let ratio = mine.excess.mean / wald.excess.mean;
            self.ratios.push((rps, cell.clone(), ratio));
        } else {
            self.unjudged += 1;
        }
        if name == "100 %" && rps >= 1_000.0 {
            let times = |theirs: &RunSummary| theirs.excess.mean / mine.excess.mean;
            self.flagger.push((cell.clone(), times(flagger)));
            self.argo.push((cell.clone(), times(argo)));
        }
        if name != "doubled" {
            let share = mine.promoted.share;
            self.promoted_worst = self.promoted_worst.max(share);
            if share > 0.03 {
                self.promoted_missed
                    .push(format!("{cell}: {} %", percent(share)));
            }
            for (list, theirs) in self.promoted_peers.iter_mut().zip([flagger, argo, kayenta]) {
                list.push(theirs.promoted.share);
            }
        }
    }

    pub fn sampled(&mut self, mine: &RunSummary, flagger: &RunSummary) {
        self.sampled = Some((mine.excess.mean, flagger.excess.mean));
    }

    pub fn fast(&mut self, rps: f64, mine: &RunSummary) {
        self.fast.push((
            per_second(rps),
            mine.seconds_to_promote.unwrap_or_default().median,
        ));
    }

    fn ratio(&self, from: f64, to: f64) -> f64 {
        geometric(
            self.ratios
                .iter()
                .filter(|(rps, ..)| (from..to).contains(rps))
                .map(|(.., ratio)| *ratio),
        )
    }

    fn list(self) -> Vec<Goal> {
        let (high, low) = (self.ratio(100.0, f64::INFINITY), self.ratio(1.0, 11.0));
        let by_traffic = [1.0, 10.0, 100.0, 1_000.0, 10_000.0]
            .map(|rps| format!("{:.2} at {}", self.ratio(rps, rps * 1.1), per_second(rps)))
            .join(", ");
        let worst = self
            .ratios
            .iter()
            .max_by(|a, b| a.2.total_cmp(&b.2))
            .cloned()
            .unwrap_or_default();
        let least = |list: &[(String, f64)]| {
            let least = list.iter().min_by(|a, b| a.1.total_cmp(&b.1));
            least.cloned().unwrap_or_default()
        };
        let (flagger, argo) = (least(&self.flagger), least(&self.argo));
        let below = |missed: bool, what: String| if missed { vec![what] } else { Vec::new() };
        let average = |list: &[f64]| percent(list.iter().sum::<f64>() / list.len().max(1) as f64);
        let (mine, theirs) = self.sampled.unwrap_or_default();
        vec![
            Goal {
                text: "equal versions: at most 0.1 % rolled back",
                measured: format!(
                    "worst cell {} %; {:.0} of {} rollouts in all",
                    percent(self.equal_worst),
                    self.equal_rolled_back,
                    amount(self.equal_runs as f64)
                ),
                missed: self.equal_missed,
            },
            Goal {
                text: "exactly on the margin for 8 h: at most 1 % rolled back",
                measured: format!("worst cell {} %", percent(self.margin_worst)),
                missed: self.margin_missed,
            },
            Goal {
                text: "every disturbance but pods that differ: at most 1 % rolled back",
                measured: format!("worst cell {} %", percent(self.disturbed_worst)),
                missed: self.disturbed_missed,
            },
            Goal {
                text: "excess failed at most 1.2 times Wald at 100 req/s and more (geometric mean)",
                measured: format!(
                    "{high:.2} ({by_traffic}); {} cells rolled back too rarely to compare",
                    self.unjudged
                ),
                missed: below(high > 1.2, format!("{high:.2}")),
            },
            Goal {
                text: "at most 2.2 times at 1 to 10 req/s",
                measured: format!("{low:.2}"),
                missed: below(low > 2.2, format!("{low:.2}")),
            },
            Goal {
                text: "at most 5 times in the worst cell",
                measured: format!("{:.1} ({})", worst.2, worst.1),
                missed: below(worst.2 > 5.0, worst.1.clone()),
            },
            Goal {
                text: "all requests failing at 1,000 req/s and more: at most 1/20 of Flagger's documented rule",
                measured: format!("1/{:.0} in the worst cell", flagger.1),
                missed: below(flagger.1 < 20.0, flagger.0),
            },
            Goal {
                text: "the same: at most 1/400 of Argo's documented template",
                measured: format!("1/{:.0} in the worst cell", argo.1),
                missed: below(argo.1 < 400.0, argo.0),
            },
            Goal {
                text: "5 s scrapes and the advised first step at 10,000 req/s: at most 1/700 of Flagger",
                measured: format!("{} against {}", amount(mine), amount(theirs)),
                missed: below(theirs < 700.0 * mine, "10,000 req/s".to_owned()),
            },
            Goal {
                text: "a canary that is 1 point worse or more: at most 3 % promoted",
                measured: format!(
                    "worst cell {} %; on average Flagger {} %, Argo {} %, Kayenta {} %",
                    percent(self.promoted_worst),
                    average(&self.promoted_peers[0]),
                    average(&self.promoted_peers[1]),
                    average(&self.promoted_peers[2])
                ),
                missed: self.promoted_missed,
            },
            Goal {
                text: "equal versions promoted in 3 min at 1,000 req/s and more, in 10 min at 10 and more",
                measured: "medians".to_owned(),
                missed: self.slow_missed,
            },
            Goal {
                text: "with 5 s scrapes in 1.5 min at 1,000 req/s and more",
                measured: self
                    .fast
                    .iter()
                    .map(|(rps, seconds)| format!("{:.1} min at {rps}", seconds / 60.0))
                    .collect::<Vec<_>>()
                    .join(", "),
                missed: self
                    .fast
                    .iter()
                    .filter(|(_, seconds)| *seconds > 90.0)
                    .map(|(rps, _)| format!("{rps} req/s"))
                    .collect(),
            },
        ]
    }

    /// The table of goals.
    pub fn page(self) -> String {
        let mut page = String::from("\n## Goals\n\n| goal | measured | |\n|--|--|--|\n");
        for goal in self.list() {
            let verdict = if goal.missed.is_empty() {
                "met".to_owned()
            } else {
                format!("**missed**: {}", goal.missed.join("; "))
            };
            let _ = writeln!(page, "| {} | {} | {verdict} |", goal.text, goal.measured);
        }
        page
    }
}
