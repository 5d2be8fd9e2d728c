//! A run as a page: self-contained, for a light or a dark screen, a phone or paper.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::chart::{Axis, Chart, Curve, Mark, Spot, html};
use super::page::{Page, definitions};
use super::palette::Tone;
use super::phrase::OfVersion;
use super::run_report::{Look, RunReport};
use super::run_words::{duration, step_cells, tone_of};
use super::simulation::duration as seconds_in_words;
use crate::number::{grouped, mean, percentage};
use crate::plan::HumanDuration;
use crate::rollout::Quantile;
use crate::verdict::{Counts, Slow};

/// What the words mean, for readers who did not start the rollout.
const WORDS: [(&str, &str); 6] = [
    ("stable", "the version that had the traffic before"),
    ("canary", "the version that was tried"),
    (
        "weight",
        "the percentage of requests that the route sent to the canary",
    ),
    (
        "evidence",
        "how strongly the metrics speak for the canary being worse, in nats; at the threshold it is rolled back",
    ),
    (
        "healthy",
        "a regression above what is tolerated is ruled out with the confidence asked for",
    ),
    ("rolled back", "the route's original weights were restored"),
];

/// Words of entries that decide nothing: they would cover those that do.
const UNMARKED: [&str; 2] = ["plan", "analyzing"];

/// A run as a page.
pub(super) struct RunPage<'a>(pub &'a RunReport);

impl fmt::Display for RunPage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let title = format!(
            "{}/{}: {}",
            report.namespace,
            report.name,
            report.headline()
        );
        let page = Page {
            title: &title,
            body: RunBody(report),
        };
        write!(f, "{page}")
    }
}

struct RunBody<'a>(&'a RunReport);

impl fmt::Display for RunBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(
            f,
            "<h1>{}/{}</h1>\n<p class=\"headline {}\">{} ({})</p>",
            html(&report.namespace),
            html(&report.name),
            class_of(tone_of(report)),
            html(&report.headline()),
            html(&duration(report.took()))
        )?;
        write!(f, "{}", definitions(report.facts()))?;
        self.charts(f)?;
        self.steps(f)?;
        self.decisions(f)?;
        writeln!(f, "<h2>What the words mean</h2>")?;
        let words = WORDS.map(|(word, meaning)| (word, meaning.to_owned()));
        write!(f, "{}", definitions(words))
    }
}

impl RunBody<'_> {
    fn charts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let x = Axis {
            most: report.took().as_secs_f64().max(1.0),
            time: true,
            words: seconds_in_words,
        };
        let weights = self.weights();
        let heaviest = weights.iter().map(|point| point.1).fold(0.01, f64::max);
        let line = |class, name, points| Curve {
            class,
            name,
            points,
            stepped: false,
        };
        let empty = Chart {
            title: "canary weight",
            x,
            y: Axis {
                most: heaviest,
                time: false,
                words: percentage,
            },
            lines: Vec::new(),
            bars: Vec::new(),
            rule: None,
            marks: self.marks(),
            spots: self.spots(),
        };
        let weight = Chart {
            lines: vec![Curve {
                stepped: true,
                ..line("canary", "canary", weights)
            }],
            ..empty.clone()
        };
        write!(f, "{weight}")?;
        let pace = |of: OfVersion| {
            self.points(move |look| {
                let requests = of(look.counts).requests as f64;
                (look.seconds > 0.0).then(|| requests / look.seconds)
            })
        };
        let failed = |of: OfVersion| self.points(move |look| of(look.counts).failure_rate());
        let refused =
            |of: OfVersion| self.points(move |look| of(look.answers.refused?).failure_rate());
        let tail = |of: fn(&Slow) -> Counts| {
            self.points(move |look| {
                let (Quantile::Within(time) | Quantile::Over(time)) =
                    look.answers.quantile(0.99, of)?;
                Some(time.as_secs_f64())
            })
        };
        let (stable, canary): (OfVersion, OfVersion) =
            (|counts| counts.stable, |counts| counts.canary);
        for (title, words, least, [stable, canary]) in [
            (
                "requests per second",
                mean as fn(f64) -> String,
                1.0,
                [pace(stable), pace(canary)],
            ),
            (
                "failed requests",
                percentage,
                0.001,
                [failed(stable), failed(canary)],
            ),
            (
                "answers of 4xx",
                percentage,
                0.001,
                [refused(stable), refused(canary)],
            ),
            (
                "99 % of requests took at most",
                in_time,
                0.01,
                [tail(|slow| slow.stable), tail(|slow| slow.canary)],
            ),
        ] {
            if stable.is_empty() && canary.is_empty() {
                continue;
            }
            let points = || stable.iter().chain(&canary).map(|point| point.1);
            let chart = Chart {
                title,
                y: Axis {
                    most: 1.1 * points().fold(least, f64::max),
                    time: false,
                    words,
                },
                lines: vec![
                    line("stable", "stable", stable.clone()),
                    line("canary", "canary", canary.clone()),
                ],
                ..empty.clone()
            };
            write!(f, "{chart}")?;
        }
        let evidence = self.points(|look| look.evidence);
        let needed = report
            .looks
            .iter()
            .filter_map(|look| look.needed)
            .next_back();
        if let (false, Some(needed)) = (evidence.is_empty(), needed) {
            let highest = evidence.iter().map(|point| point.1).fold(needed, f64::max);
            let chart = Chart {
                title: "regression evidence",
                y: Axis {
                    most: 1.1 * highest.min(4.0 * needed),
                    time: false,
                    words: mean,
                },
                lines: vec![line("canary", "evidence", evidence)],
                rule: Some((needed, "rollback threshold")),
                ..empty
            };
            write!(f, "{chart}")?;
        }
        Ok(())
    }

    fn across(&self, at: Timestamp) -> f64 {
        at.duration_since(self.0.began).as_secs_f64()
    }

    fn points(&self, of: impl Fn(&Look) -> Option<f64>) -> Vec<(f64, f64)> {
        let looks = self.0.looks.iter();
        looks
            .filter_map(|look| Some((self.across(look.at), of(look)?)))
            .collect()
    }

    fn weights(&self) -> Vec<(f64, f64)> {
        let changes = self.0.weights.iter();
        let mut points: Vec<_> = changes
            .map(|change| (self.across(change.at), change.canary_percent / 100.0))
            .collect();
        let last = points.last().map(|point| point.1);
        points.extend(last.map(|share| (self.across(self.0.until()), share)));
        points
    }

    /// The decisions that a person looks for, numbered as in the list below.
    fn marks(&self) -> Vec<Mark> {
        let decisions = self.0.decisions.iter().enumerate();
        decisions
            .filter(|(_, decision)| !matches!(decision.tone, Tone::Plain | Tone::Quiet))
            .filter(|(_, decision)| !UNMARKED.contains(&decision.word.as_str()))
            .map(|(index, decision)| Mark {
                x: self.across(decision.at),
                class: class_of(decision.tone),
                label: (index + 1).to_string(),
                title: format!("{}: {}", decision.word, decision.text),
            })
            .collect()
    }

    /// What was seen at each look, to hover over.
    fn spots(&self) -> Vec<Spot> {
        let names = self.0.versions();
        let looks = self.0.looks.iter();
        looks
            .map(|look| Spot {
                x: self.across(look.at),
                title: format!(
                    "{} {}; evidence {}",
                    look.at.strftime("%H:%M:%S"),
                    names.requests(look.counts),
                    look.evidence.map_or_else(|| "none".into(), mean)
                ),
            })
            .collect()
    }

    fn steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(
            f,
            "<h2>Steps</h2>\n<div class=\"wide\"><table><tr><th>step</th><th>canary gets</th><th>for</th><th>stable</th><th>canary</th><th>verdict</th></tr>"
        )?;
        for step in &report.steps {
            let cells = step_cells(report, step).map(|cell| format!("<td>{}</td>", html(&cell)));
            writeln!(f, "<tr>{}</tr>", cells.concat())?;
        }
        writeln!(f, "</table></div>")
    }

    fn decisions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "<h2>What was decided</h2>\n<p>{} entries; times are UTC. Numbers are those in the pictures.</p>\n<ol>",
            grouped(self.0.decisions.len() as u64)
        )?;
        for decision in &self.0.decisions {
            writeln!(
                f,
                "<li><time datetime=\"{}\">{}</time> <b class=\"{}\">{}</b> {}</li>",
                decision.at,
                decision.at.strftime("%H:%M:%S"),
                class_of(decision.tone),
                html(&decision.word),
                html(&decision.text)
            )?;
        }
        writeln!(f, "</ol>")
    }
}

/// Seconds as a duration.
fn in_time(seconds: f64) -> String {
    HumanDuration::from(SignedDuration::from_secs_f64(seconds)).to_string()
}

fn class_of(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Caution => "caution",
        Tone::Plain | Tone::Quiet | Tone::Strong => "plain",
    }
}
