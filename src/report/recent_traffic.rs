//! The requests of both versions over the last looks at the metrics, side by side.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::phrase::{OfVersion, Versions};
use super::row::shortened;
use super::sparkline::sparkline;
use crate::number::{grouped, mean, rate};
use crate::plan::HumanDuration;
use crate::rollout::{PodSummary, Quantile, StepAnswers, VersionCounts};
use crate::verdict::{Counts, Slow};

/// Looks of which the share of failed requests is drawn.
const DRAWN: usize = 10;
/// Looks over which requests per second are averaged.
const PACED: usize = 4;
/// The least share of failed requests that fills the height of a drawing.
const LEAST_TOP: f64 = 0.01;
/// Stable and canary.
const BOTH: [OfVersion; 2] = [|counts| counts.stable, |counts| counts.canary];
/// What stands between two columns.
const GAP: &str = "  ";
/// The most characters of an image's tag, and of a version's name where there are few columns.
const MOST: usize = 20;

/// What was counted in the step, and how that grew.
#[derive(Clone, Debug)]
pub(super) struct RecentTraffic {
    step_counts: VersionCounts,
    answers: StepAnswers,
    looks: VecDeque<TrafficLook>,
    looked: Timestamp,
}

/// What one look at the metrics saw that the one before had not.
#[derive(Clone, Copy, Debug)]
struct TrafficLook {
    counts: VersionCounts,
    seconds: f64,
}

/// The columns of the table; the first to go where there is no room for all come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TrafficColumn {
    Version,
    FailureRate,
    Pace,
    Tail,
    Refused,
    Pods,
    Median,
    Image,
    History,
    Failures,
    Requests,
}

/// As they stand beside each other.
const COLUMNS: [TrafficColumn; 11] = [
    TrafficColumn::Version,
    TrafficColumn::Image,
    TrafficColumn::Pods,
    TrafficColumn::Requests,
    TrafficColumn::Pace,
    TrafficColumn::Failures,
    TrafficColumn::FailureRate,
    TrafficColumn::History,
    TrafficColumn::Refused,
    TrafficColumn::Median,
    TrafficColumn::Tail,
];

impl TrafficColumn {
    /// What stands above it.
    fn heading(self) -> &'static str {
        match self {
            Self::Version | Self::History => "",
            Self::Image => "image",
            Self::Pods => "pods",
            Self::Requests => "requests",
            Self::Pace => "req/s",
            Self::Failures => "failures",
            Self::FailureRate => "failed",
            Self::Refused => "4xx",
            Self::Median => "p50",
            Self::Tail => "p99",
        }
    }

    /// Whether its cells are figures, which stand below each other at their end.
    fn is_figure(self) -> bool {
        !matches!(self, Self::Version | Self::Image | Self::History)
    }
}

impl RecentTraffic {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            step_counts: VersionCounts::default(),
            answers: StepAnswers::default(),
            looks: VecDeque::new(),
            looked: now,
        }
    }

    /// A step begins: it is counted anew.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.step_counts = VersionCounts::default();
        self.answers = StepAnswers::default();
        self.looked = now;
    }

    /// The counts of the step, outside of a look.
    pub(super) fn set(&mut self, step_counts: VersionCounts) {
        self.step_counts = step_counts;
    }

    /// How what was counted in the step was answered.
    pub(super) fn answered(&mut self, answers: &StepAnswers) {
        self.answers.clone_from(answers);
    }

    /// Counts grow through a step.
    pub(super) fn look(&mut self, at: Timestamp, step_counts: VersionCounts) {
        let before = std::mem::replace(&mut self.step_counts, step_counts);
        let seconds = at.duration_since(self.looked).as_secs_f64();
        self.looked = at;
        if seconds > 0.0 {
            let counts = step_counts.since(before);
            self.looks.push_back(TrafficLook { counts, seconds });
            if self.looks.len() > DRAWN {
                self.looks.pop_front();
            }
        }
    }

    /// The two versions below a heading, stable first: what runs of them, what they did in the step, and the share of
    /// failed requests over the last looks, on one scale. What does not fit is left out, whole columns at a time.
    pub(super) fn rows(
        &self,
        versions: &Versions,
        pods: [Option<&PodSummary>; 2],
        columns: usize,
    ) -> [String; 3] {
        let names = [
            ("stable", versions.stable.as_str()),
            ("canary", versions.canary.as_str()),
        ];
        let mut shown: Vec<(TrafficColumn, [String; 3], usize)> = Vec::new();
        for column in COLUMNS {
            let cells = [0, 1].map(|row| match column {
                TrafficColumn::Version => {
                    let (role, name) = names[row];
                    match name {
                        "stable" | "the canary" => role.to_owned(),
                        name => {
                            let room = columns.max(3 * MOST) - 2 * MOST;
                            format!("{role} {}", shortened(name, room))
                        }
                    }
                }
                TrafficColumn::Image => pods[row].map_or_else(String::new, image_tag),
                // Stable's pods are not followed.
                TrafficColumn::Pods => {
                    let seen = if row == 0 { "was " } else { "" };
                    let pods = pods[row].filter(|pods| pods.pods > 0 || row == 1);
                    pods.map_or_else(String::new, |pods| {
                        format!("{seen}{}/{}", pods.ready, pods.pods)
                    })
                }
                column => self.figure(column, row),
            });
            if cells.iter().all(String::is_empty) {
                continue;
            }
            let [stable, canary] = cells;
            let cells = [column.heading().to_owned(), stable, canary];
            let wide = cells.iter().map(|cell| cell.chars().count()).max();
            shown.push((column, cells, wide.unwrap_or_default()));
        }
        let total = |shown: &[(TrafficColumn, [String; 3], usize)]| {
            let wide: usize = shown.iter().map(|(_, _, wide)| wide + GAP.len()).sum();
            wide.saturating_sub(GAP.len())
        };
        while total(&shown) > columns && shown.len() > 1 {
            let last = shown.iter().map(|(column, ..)| *column as u8).max();
            shown.retain(|(column, ..)| Some(*column as u8) != last);
        }
        [0, 1, 2].map(|row| {
            let cells = shown.iter().map(|(column, cells, wide)| {
                let cell = &cells[row];
                match column.is_figure() {
                    true => format!("{cell:>wide$}"),
                    false => format!("{cell:<wide$}"),
                }
            });
            let text = cells.collect::<Vec<_>>().join(GAP);
            shortened(text.trim_end(), columns)
        })
    }

    /// What was counted of a version, stable's in row 0.
    fn figure(&self, column: TrafficColumn, row: usize) -> String {
        let of = BOTH[row];
        let counts = of(self.step_counts);
        let share =
            |counts: Counts| rate(counts.failures, counts.requests).unwrap_or_else(|| "-".into());
        match column {
            TrafficColumn::Requests => grouped(counts.requests),
            TrafficColumn::Pace => self.pace(of),
            TrafficColumn::Failures => grouped(counts.failures),
            TrafficColumn::FailureRate => share(counts),
            TrafficColumn::Refused => {
                let refused = self.answers.refused;
                refused.map_or_else(String::new, |refused| share(of(refused)))
            }
            TrafficColumn::Median => self.quantile(0.5, row),
            TrafficColumn::Tail => self.quantile(0.99, row),
            // As wide from the first look on, so that nothing moves.
            TrafficColumn::History => {
                format!("{:<DRAWN$}", sparkline(self.shares(of), self.top()))
            }
            TrafficColumn::Version | TrafficColumn::Image | TrafficColumn::Pods => String::new(),
        }
    }

    /// How long so large a share of the requests took.
    fn quantile(&self, share: f64, row: usize) -> String {
        let both: [fn(&Slow) -> Counts; 2] = [|slow| slow.stable, |slow| slow.canary];
        let of = both[row];
        match self.answers.quantile(share, of) {
            Some(Quantile::Within(time)) => format!("≤{}", HumanDuration::from(time)),
            Some(Quantile::Over(time)) => format!(">{}", HumanDuration::from(time)),
            None => String::new(),
        }
    }

    fn shares(&self, of: OfVersion) -> impl Iterator<Item = Option<f64>> {
        self.looks
            .iter()
            .map(move |look| of(look.counts).failure_rate())
    }

    fn top(&self) -> f64 {
        let shares = BOTH.into_iter().flat_map(|of| self.shares(of)).flatten();
        shares.fold(LEAST_TOP, f64::max)
    }

    /// Requests per second over the last looks.
    fn pace(&self, of: OfVersion) -> String {
        let last = || self.looks.iter().rev().take(PACED);
        let seconds: f64 = last().map(|look| look.seconds).sum();
        if seconds <= 0.0 {
            return "-".into();
        }
        let requests: u64 = last().map(|look| of(look.counts).requests).sum();
        mean(requests as f64 / seconds)
    }
}

/// `1.5.0` of `registry.example:5000/reviews:1.5.0`; of an image without a tag the beginning of its digest.
pub(super) fn image_tag(pods: &PodSummary) -> String {
    let tags = pods.images.iter().map(|image| {
        let name = image.rsplit('/').next().unwrap_or(image);
        let (name, digest) = name.split_once('@').unwrap_or((name, ""));
        let digest = digest.split_once(':').map_or(digest, |(_, digest)| digest);
        let tag = name.split_once(':').map(|(_, tag)| tag.to_owned());
        tag.or_else(|| digest.get(..8).map(str::to_owned))
            .unwrap_or_else(|| "latest".to_owned())
    });
    shortened(&super::escape(&tags.collect::<Vec<_>>().join(", ")), MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events::{answers, event, planned, pods, version_counts};

    fn rows(columns: usize, name: &str) -> String {
        let at = event(0, planned()).at;
        let mut traffic = RecentTraffic::new(at);
        for look in 1..=16 {
            let seconds = jiff::SignedDuration::from_secs(5 * i64::try_from(look).unwrap());
            let counts = version_counts((look / 8, 110 * look), (0, 950 * look));
            traffic.look(at + seconds, counts);
            traffic.answered(&answers(counts));
        }
        let versions = Versions {
            stable: "v1".into(),
            canary: name.into(),
        };
        let (stable, canary) = (
            pods(3, 3, "host:5000/reviews:1.4.2"),
            pods(1, 2, "reviews@sha256:0123456789abcdef"),
        );
        let rows = traffic.rows(&versions, [Some(&stable), Some(&canary)], columns);
        for row in &rows {
            assert!(row.chars().count() <= columns, "{columns}: {row}");
        }
        rows.join("\n")
    }

    #[test]
    fn columns_go_where_there_is_no_room() {
        let all = [117, 77, 57, 30].map(|columns| rows(columns, "v2"));
        insta::assert_snapshot!(all.join("\n\n"), @"
                   image        pods  requests  req/s  failures  failed              4xx    p50     p99
        stable v1  1.4.2     was 3/3    15,200    190         0     0 %  ▁▁▁▁▁▁▁▁▁▁  1 %  ≤10ms   ≤25ms
        canary v2  01234567      1/2     1,760     22         2  0.11 %  ▁▇▁▁▁▁▁▁▁▇  1 %  ≤10ms  ≤250ms

                   image        pods  req/s  failed              4xx    p50     p99
        stable v1  1.4.2     was 3/3    190     0 %  ▁▁▁▁▁▁▁▁▁▁  1 %  ≤10ms   ≤25ms
        canary v2  01234567      1/2     22  0.11 %  ▁▇▁▁▁▁▁▁▁▇  1 %  ≤10ms  ≤250ms

                      pods  req/s  failed  4xx    p50     p99
        stable v1  was 3/3    190     0 %  1 %  ≤10ms   ≤25ms
        canary v2      1/2     22  0.11 %  1 %  ≤10ms  ≤250ms

                   req/s  failed
        stable v1    190     0 %
        canary v2     22  0.11 %
        ");
    }

    #[test]
    fn no_name_is_too_long() {
        for columns in [57, 77, 117] {
            let text = rows(columns, &"v".repeat(63));
            assert!(text.contains("canary vvv") && text.contains(" %"), "{text}");
        }
    }

    #[test]
    fn an_image_is_known_by_its_tag() {
        for (image, expected) in [
            ("reviews:1.5.0", "1.5.0"),
            ("host:5000/shop/reviews:1.5.0@sha256:0123456789", "1.5.0"),
            ("host:5000/reviews@sha256:0123456789", "01234567"),
            ("host:5000/reviews", "latest"),
        ] {
            assert_eq!(image_tag(&pods(1, 1, image)), expected);
        }
    }
}
