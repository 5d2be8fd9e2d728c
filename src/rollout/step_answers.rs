//! How both versions answered, beside failures: what a person looks at, and no verdict rests on as it stands here.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::version_counts::VersionCounts;
use crate::verdict::{Counts, Slow, Window};

/// How both versions answered since the step began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepAnswers {
    /// StepAnswers of 400 to 499 that are no failures, here in the place of failures; `null` where statuses are not
    /// known.
    pub refused: Option<VersionCounts>,
    /// Requests slower than each bound that was counted at, in ascending order; empty without a histogram.
    pub slow: Vec<Slow>,
}

/// A share of all requests that took no longer than some time, as far as the bounds of the histogram tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    /// So many took at most this.
    Within(SignedDuration),
    /// More than this.
    Over(SignedDuration),
}

impl StepAnswers {
    /// Takes what was counted in a window on top.
    pub(super) fn add(&mut self, window: &Window) {
        if let Some(refused) = &window.refused_with {
            let total = self.refused.get_or_insert_default();
            let sum = |of: fn(&crate::verdict::OfStatus) -> u64| refused.iter().map(of).sum();
            let refusals = |requests, failures| Counts { requests, failures };
            total.stable += refusals(window.stable.requests, sum(|status| status.stable));
            total.canary += refusals(window.canary.requests, sum(|status| status.canary));
        }
        for slow in &window.slow {
            let bound = |known: &Slow| known.bound_ms.total_cmp(&slow.bound_ms);
            match self.slow.binary_search_by(bound) {
                Ok(place) => {
                    self.slow[place].stable += slow.stable;
                    self.slow[place].canary += slow.canary;
                }
                Err(place) => self.slow.insert(place, slow.clone()),
            }
        }
    }

    /// The least bound that so large a share (0 to 1) of a version's requests did not exceed; `None` without
    /// requests or bounds. Nothing is interpolated.
    pub fn quantile(&self, share: f64, of: fn(&Slow) -> Counts) -> Option<Quantile> {
        let time = |slow: &Slow| SignedDuration::from_secs_f64(slow.bound_ms / 1000.0);
        let mut known = self.slow.iter().filter(|slow| of(slow).requests > 0);
        let longest = known.clone().next_back()?;
        let is_within = |slow: &&Slow| {
            let counts = of(slow);
            let within = counts.requests.saturating_sub(counts.failures);
            within as f64 >= share * counts.requests as f64
        };
        Some(match known.find(is_within) {
            Some(slow) => Quantile::Within(time(slow)),
            None => Quantile::Over(time(longest)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{OfStatus, StatusCode};

    fn slow(bound_ms: f64, stable: u64, canary: u64) -> Slow {
        let of = |requests, failures| Counts { requests, failures };
        Slow {
            bound_ms,
            stable: of(1000, stable),
            canary: of(100, canary),
        }
    }

    fn window(slow: Vec<Slow>) -> Window {
        Window {
            stable: Counts {
                requests: 1000,
                failures: 3,
            },
            canary: Counts {
                requests: 100,
                failures: 0,
            },
            slow,
            ..Window::default()
        }
    }

    #[test]
    fn a_quantile_is_a_bound_that_the_histogram_has() {
        let mut answers = StepAnswers::default();
        let ms = |ms| SignedDuration::from_millis(ms);
        let stable = |slow: &Slow| slow.stable;
        assert_eq!(answers.quantile(0.5, stable), None);
        answers.add(&window(vec![slow(25.0, 400, 60), slow(250.0, 10, 2)]));
        // A bound that only a later window has stands at its place.
        answers.add(&window(vec![slow(100.0, 50, 9)]));
        answers.add(&window(vec![slow(25.0, 400, 60), slow(250.0, 10, 2)]));
        let bounds: Vec<_> = answers.slow.iter().map(|slow| slow.bound_ms).collect();
        assert_eq!(bounds, [25.0, 100.0, 250.0]);
        assert_eq!(
            answers.quantile(0.5, stable),
            Some(Quantile::Within(ms(25)))
        );
        assert_eq!(
            answers.quantile(0.99, stable),
            Some(Quantile::Within(ms(250)))
        );
        let canary = |slow: &Slow| slow.canary;
        assert_eq!(
            answers.quantile(0.5, canary),
            Some(Quantile::Within(ms(100)))
        );
        assert_eq!(
            answers.quantile(0.99, canary),
            Some(Quantile::Over(ms(250)))
        );
    }

    #[test]
    fn refusals_are_of_the_requests_whose_status_is_known() {
        let mut answers = StepAnswers::default();
        answers.add(&window(Vec::new()));
        assert_eq!(answers.refused, None);
        let of_404 = OfStatus {
            status: StatusCode::Http(404),
            stable: 7,
            canary: 90,
        };
        answers.add(&Window {
            refused_with: Some(vec![of_404]),
            ..window(Vec::new())
        });
        let refused = answers.refused.unwrap();
        assert_eq!(
            refused.stable,
            Counts {
                requests: 1000,
                failures: 7
            }
        );
        assert_eq!(
            refused.canary,
            Counts {
                requests: 100,
                failures: 90
            }
        );
    }
}
