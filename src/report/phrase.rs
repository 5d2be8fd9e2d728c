//! The parts of sentences that several events share.

use std::collections::BTreeMap;

use super::escape;
use crate::istio::{Weights, in_force};
use crate::number::{grouped, rate};
use crate::plan::Exposure;
use crate::rollout::{RouteChange, VersionCounts};
use crate::verdict::{Counts, Verdict};

/// The most routes whose weights are told one by one.
const MOST_ROUTES: usize = 2;

/// One version's counts of both.
pub(super) type OfVersion = fn(VersionCounts) -> Counts;

/// The names of the two versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub stable: String,
    pub canary: String,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            stable: "stable".into(),
            canary: "the canary".into(),
        }
    }
}

impl Versions {
    /// `v2 64 of 301 failed (21 %), v1 3 of 2 811`.
    pub(super) fn requests(&self, step_counts: VersionCounts) -> String {
        let (stable, canary) = (step_counts.stable, step_counts.canary);
        let mut text = format!("{} {}", self.canary, failed(canary));
        text.push_str(", ");
        text.push_str(&self.stable);
        text.push(' ');
        match (canary.requests, stable.requests) {
            (1.., 1..) => text.push_str(&part(stable)),
            _ => text.push_str(&failed(stable)),
        }
        text
    }

    /// Of mirrored requests, where there are any, else of users': never both in one number.
    pub(super) fn counts(
        &self,
        step_counts: VersionCounts,
        mirror_counts: Option<VersionCounts>,
    ) -> String {
        match mirror_counts {
            None => self.requests(step_counts),
            Some(mirror_counts) if mirror_counts.canary.requests == 0 => {
                format!("no metrics of the requests mirrored to {}", self.canary)
            }
            Some(mirror_counts) => format!("mirrored: {}", self.requests(mirror_counts)),
        }
    }

    /// `64 of 452 requests failed on v2`; nothing where the canary had none.
    pub(super) fn harm(&self, total_counts: Option<VersionCounts>) -> Option<String> {
        let canary = total_counts?.canary;
        (canary.requests > 0).then(|| {
            let of = part(canary);
            let requests = if canary.requests == 1 {
                "request"
            } else {
                "requests"
            };
            format!("{of} {requests} failed on {}", self.canary)
        })
    }
}

fn part(counts: Counts) -> String {
    format!(
        "{} of {}",
        grouped(counts.failures),
        grouped(counts.requests)
    )
}

pub(super) fn failed(counts: Counts) -> String {
    match rate(counts.failures, counts.requests) {
        None => "no requests".into(),
        Some(_) if counts.failures == 0 => format!("{} failed", part(counts)),
        Some(rate) => format!("{} failed ({rate})", part(counts)),
    }
}

/// `90/10`, stable before canary; `79/1 beside 20` where other destinations have a share. A lone
/// destination has everything.
pub(super) fn weights(weights: &Weights, stable: usize, canary: usize) -> String {
    let weights = in_force(weights);
    let at = |position: usize| weights.get(position).copied().flatten().unwrap_or(0);
    let others = weights.iter().enumerate();
    let others: i64 = others
        .filter(|(position, _)| *position != stable && *position != canary)
        .filter_map(|(_, weight)| *weight)
        .fold(0, i64::saturating_add);
    match others {
        0 => format!("{}/{}", at(stable), at(canary)),
        _ => format!("{}/{} beside {others}", at(stable), at(canary)),
    }
}

/// The weights that were told last, route by route, so that they are not told again.
#[derive(Clone, Debug, Default)]
pub(super) struct ToldWeights(BTreeMap<String, Weights>);

impl ToldWeights {
    /// `weights 99/1, was 100/0`; what was told already, or did not change, is left out.
    pub(super) fn changes(&mut self, routes: &[RouteChange]) -> String {
        let told: Vec<(String, String)> = routes
            .iter()
            .map(|change| {
                let known = self
                    .0
                    .insert(change.route.clone(), change.after.clone())
                    .is_some_and(|known| known == change.before);
                let after = weights(&change.after, change.stable, change.canary);
                let text = if known || change.before == change.after {
                    after
                } else {
                    let before = weights(&change.before, change.stable, change.canary);
                    format!("{after}, was {before}")
                };
                (escape(&change.route).into_owned(), text)
            })
            .collect();
        match told.as_slice() {
            [] => "no route changed".into(),
            [(_, text)] => format!("weights {text}"),
            [(_, first), rest @ ..] if rest.iter().all(|(_, text)| text == first) => {
                format!("{} routes, weights {first}", told.len())
            }
            several => {
                let shown = several.iter().take(MOST_ROUTES);
                let mut parts: Vec<_> = shown
                    .map(|(route, text)| format!("{route} {text}"))
                    .collect();
                if several.len() > MOST_ROUTES {
                    parts.push(format!("{} more", several.len() - MOST_ROUTES));
                }
                format!("{} routes, {}", several.len(), parts.join(", "))
            }
        }
    }
}

/// ` 100/0` after a rollback where all routes have the same weights, else ` of 3 routes`.
pub(super) fn restored(routes: &[RouteChange]) -> String {
    let mut texts = routes
        .iter()
        .map(|change| weights(&change.after, change.stable, change.canary));
    match texts.next() {
        None => String::new(),
        Some(first) if texts.all(|text| text == first) => format!(" {first}"),
        Some(_) => format!(" of {} routes", routes.len()),
    }
}

/// `1, 10, 50, 100 %`, with what comes before the first percent by its name.
pub(super) fn ladder(steps: &[Exposure]) -> String {
    let words = steps.iter().enumerate().map(|(index, step)| match step {
        Exposure::Share(weight) if steps.get(index + 1).is_some() => weight.to_string(),
        step => step.to_string(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A few names in full, many by their number.
pub(super) fn routes(names: &[String]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(MOST_ROUTES)
        .map(|name| escape(name))
        .collect();
    match names.len() {
        0 => "no route".into(),
        1..=MOST_ROUTES => shown.join(" and "),
        several => format!(
            "{several} routes ({}, {} more)",
            shown.join(", "),
            several - MOST_ROUTES
        ),
    }
}

/// A verdict in words.
pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy",
        Verdict::Regressed => "regressed",
        Verdict::NotEnoughData => "not enough data",
        Verdict::MetricsUnavailable => "metrics unavailable",
    }
}

/// What a verdict that is not yet an action sounds like.
pub(super) fn so_far(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy so far",
        Verdict::Regressed => "worse so far",
        Verdict::NotEnoughData => "not enough data yet",
        Verdict::MetricsUnavailable => "metrics unavailable",
    }
}

/// Joins what there is with semicolons.
pub(super) fn clauses(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events::{change, version_counts};

    fn versions() -> Versions {
        Versions {
            stable: "v1".into(),
            canary: "v2".into(),
        }
    }

    #[test]
    fn counts_always_have_their_denominator() {
        for (canary, stable, expected) in [
            (
                (0, 151),
                (14, 15_722),
                "v2 0 of 151 failed, v1 14 of 15,722",
            ),
            (
                (64, 301),
                (3, 2_811),
                "v2 64 of 301 failed (21 %), v1 3 of 2,811",
            ),
            (
                (0, 0),
                (3, 2_811),
                "v2 no requests, v1 3 of 2,811 failed (0.11 %)",
            ),
            ((0, 12), (0, 0), "v2 0 of 12 failed, v1 no requests"),
        ] {
            assert_eq!(
                versions().requests(version_counts(canary, stable)),
                expected
            );
        }
    }

    #[test]
    fn what_was_before_is_told_once() {
        let mut told = ToldWeights::default();
        let one = |before, after| vec![change("http[a]", before, after)];
        assert_eq!(
            told.changes(&one([100, 0], [99, 1])),
            "weights 99/1, was 100/0"
        );
        assert_eq!(told.changes(&one([99, 1], [90, 10])), "weights 90/10");
        assert_eq!(
            told.changes(&one([80, 20], [50, 50])),
            "weights 50/50, was 80/20"
        );
        assert_eq!(told.changes(&[]), "no route changed");
    }

    #[test]
    fn many_routes_stay_short() {
        let alike = [
            change("http[a]", [100, 0], [99, 1]),
            change("http[b]", [100, 0], [99, 1]),
        ];
        assert_eq!(
            ToldWeights::default().changes(&alike),
            "2 routes, weights 99/1, was 100/0"
        );
        let different = [
            change("http[a]", [100, 0], [99, 1]),
            change("http[b]", [50, 0], [49, 1]),
            change("http[c]", [10, 0], [9, 1]),
        ];
        assert_eq!(
            ToldWeights::default().changes(&different),
            "3 routes, http[a] 99/1, was 100/0, http[b] 49/1, was 50/0, 1 more"
        );
    }

    #[test]
    fn other_destinations_are_not_forgotten() {
        assert_eq!(
            weights(&vec![Some(79), Some(20), Some(1)], 0, 2),
            "79/1 beside 20"
        );
        assert_eq!(weights(&vec![Some(100), None], 0, 1), "100/0");
        assert_eq!(weights(&vec![None], 0, 1), "100/0", "it stands alone");
    }
}
