//! The requests of both versions over the last looks at the metrics, side by side.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::phrase::{OfVersion, Versions};
use super::row::shortened;
use super::sparkline::sparkline;
use crate::number::{grouped, mean, rate};
use crate::rollout::{PodSummary, VersionCounts};

/// Looks of which the share of failed requests is drawn.
const DRAWN: usize = 10;
/// Looks over which requests per second are averaged.
const PACED: usize = 4;
/// The least share of failed requests that fills the height of a drawing.
const LEAST_TOP: f64 = 0.01;
/// What stands between two columns.
const GAP: &str = "   ";
/// The most characters of an image's tag, and of a version's name where there are few columns.
const MOST: usize = 20;

/// What was counted in the step, and how that grew.
#[derive(Clone, Debug)]
pub(super) struct RecentTraffic {
    step_counts: VersionCounts,
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
    Share,
    Pace,
    Ready,
    Image,
    Failed,
    History,
    Requests,
}

/// As they stand beside each other.
const COLUMNS: [TrafficColumn; 8] = [
    TrafficColumn::Version,
    TrafficColumn::Image,
    TrafficColumn::Ready,
    TrafficColumn::Requests,
    TrafficColumn::Pace,
    TrafficColumn::Failed,
    TrafficColumn::Share,
    TrafficColumn::History,
];

impl RecentTraffic {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            step_counts: VersionCounts::default(),
            looks: VecDeque::new(),
            looked: now,
        }
    }

    /// A step begins: it is counted anew.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.step_counts = VersionCounts::default();
        self.looked = now;
    }

    /// The counts of the step, outside of a look.
    pub(super) fn set(&mut self, step_counts: VersionCounts) {
        self.step_counts = step_counts;
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

    /// The two versions, one below the other, stable first: what runs of them, what they did in the step, and the
    /// share of failed requests over the last looks, on one scale. What does not fit is left out, whole columns at a
    /// time.
    pub(super) fn rows(
        &self,
        versions: &Versions,
        pods: [Option<&PodSummary>; 2],
        columns: usize,
    ) -> [String; 2] {
        let of: [OfVersion; 2] = [|counts| counts.stable, |counts| counts.canary];
        let names = [
            ("stable", versions.stable.as_str()),
            ("canary", versions.canary.as_str()),
        ];
        let [(role, stable), (other_role, canary)] = names;
        let name = |role: &str, name: &str| match name {
            "stable" | "the canary" => role.to_owned(),
            name => format!(
                "{role} {}",
                shortened(name, columns.max(3 * MOST) - 2 * MOST)
            ),
        };
        let first = [name(role, stable), name(other_role, canary)];
        let cell = |column: TrafficColumn, row: usize| match column {
            TrafficColumn::Version => first[row].clone(),
            TrafficColumn::Image => pods[row].map_or_else(String::new, image_tag),
            // Stable's pods are not followed.
            TrafficColumn::Ready => {
                let seen = if row == 0 { "at start" } else { "ready" };
                let pods = pods[row].filter(|pods| pods.pods > 0 || row == 1);
                pods.map_or_else(String::new, |pods| {
                    format!("{}/{} {seen}", pods.ready, pods.pods)
                })
            }
            TrafficColumn::Requests => {
                format!("{} requests", grouped(of[row](self.step_counts).requests))
            }
            TrafficColumn::Pace => self.pace(of[row]),
            TrafficColumn::Failed => {
                format!("{} failed", grouped(of[row](self.step_counts).failures))
            }
            TrafficColumn::Share => {
                let counts = of[row](self.step_counts);
                rate(counts.failures, counts.requests).unwrap_or_else(|| "-".into())
            }
            TrafficColumn::History => sparkline(self.shares(of[row]), self.top(of)),
        };
        let wide = |column: TrafficColumn| {
            let widths = [0, 1].map(|row| cell(column, row).chars().count());
            widths[0].max(widths[1])
        };
        let mut shown: Vec<_> = COLUMNS
            .into_iter()
            .map(|column| (column, wide(column)))
            .filter(|(_, wide)| *wide > 0)
            .collect();
        let total = |shown: &[(TrafficColumn, usize)]| {
            let wide: usize = shown.iter().map(|(_, wide)| wide + GAP.len()).sum();
            wide.saturating_sub(GAP.len())
        };
        while total(&shown) > columns && shown.len() > 1 {
            let last = shown.iter().map(|(column, _)| *column as u8).max();
            shown.retain(|(column, _)| Some(*column as u8) != last);
        }
        [0, 1].map(|row| {
            let cells = shown.iter().map(|&(column, wide)| match column {
                TrafficColumn::Version
                | TrafficColumn::Image
                | TrafficColumn::Ready
                | TrafficColumn::History => {
                    format!("{:<wide$}", cell(column, row))
                }
                TrafficColumn::Requests
                | TrafficColumn::Pace
                | TrafficColumn::Failed
                | TrafficColumn::Share => {
                    format!("{:>wide$}", cell(column, row))
                }
            });
            let text = cells.collect::<Vec<_>>().join(GAP);
            shortened(text.trim_end(), columns)
        })
    }

    fn shares(&self, of: OfVersion) -> impl Iterator<Item = Option<f64>> {
        self.looks
            .iter()
            .map(move |look| of(look.counts).failure_rate())
    }

    fn top(&self, of: [OfVersion; 2]) -> f64 {
        let shares = of.into_iter().flat_map(|of| self.shares(of)).flatten();
        shares.fold(LEAST_TOP, f64::max)
    }

    /// Requests per second over the last looks.
    fn pace(&self, of: OfVersion) -> String {
        let last = || self.looks.iter().rev().take(PACED);
        let seconds: f64 = last().map(|look| look.seconds).sum();
        if seconds <= 0.0 {
            return String::new();
        }
        let requests: u64 = last().map(|look| of(look.counts).requests).sum();
        format!("{}/s", mean(requests as f64 / seconds))
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
    use crate::report::test_events::{event, planned, pods, version_counts};

    fn rows(columns: usize, name: &str) -> String {
        let at = event(0, planned()).at;
        let mut traffic = RecentTraffic::new(at);
        for look in 1..=16 {
            let seconds = jiff::SignedDuration::from_secs(5 * i64::try_from(look).unwrap());
            let counts = version_counts((look / 8, 110 * look), (0, 950 * look));
            traffic.look(at + seconds, counts);
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
        stable v1   1.4.2      3/3 at start   15,200 requests   190/s   0 failed      0 %   ▁▁▁▁▁▁▁▁▁▁
        canary v2   01234567   1/2 ready       1,760 requests    22/s   2 failed   0.11 %   ▁▇▁▁▁▁▁▁▁▇

        stable v1   1.4.2      3/3 at start   190/s   0 failed      0 %   ▁▁▁▁▁▁▁▁▁▁
        canary v2   01234567   1/2 ready       22/s   2 failed   0.11 %   ▁▇▁▁▁▁▁▁▁▇

        stable v1   1.4.2      3/3 at start   190/s      0 %
        canary v2   01234567   1/2 ready       22/s   0.11 %

        stable v1   190/s      0 %
        canary v2    22/s   0.11 %
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
