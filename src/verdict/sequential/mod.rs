//! The sequential verdict: is the canary worse, is it good enough, may one look at every scrape?
//!
//! Yes, because all evidence here is a product of bets whose expected gain is at most nothing while
//! the canary is within its margin. Such wealth exceeds `1/α` with probability at most `α`, however
//! often one looks, whatever the weights are and whenever one stops (Ville's inequality). The
//! sections below say how each bet is made and why it is fair; `docs/statistics.md` derives the same
//! at length, and `docs/verdict.md` holds what was measured.
//!
//! # 1. One window
//!
//! A window has `n0` requests with `x0` bad ones on stable and `n1`, `x1` on the canary. Not worse
//! means `λ1 ≤ r λ0 + δ`. Before the window is seen one fixes an alternative `(a0, a1)` and projects it
//! onto the line `λ1 = r λ0 + δ`, closest in Kullback-Leibler divergence weighted by `n0`, `n1`: the
//! point `(q0, q1)`. The bet pays
//!
//! ```text
//! E = (a1/q1)^x1 (a0/q0)^x0 exp(-n1 (a1 - q1) - n0 (a0 - q0))
//! ```
//!
//! With Poisson counts its log-expectation is `n1 (a1/q1 - 1)(λ1 - q1) + n0 (a0/q0 - 1)(λ0 - q0)`; the
//! projection makes this vanish on the whole line, and it is negative on the side of the null. So the
//! stable rate need not be known, and may change from window to window. Binomial counts only lower
//! the expectation, since `1 + p (a - 1) ≤ exp(p (a - 1))`. See [`block`].
//!
//! # 2. Exposures
//!
//! `s = (n1 + 20 w) / (N + 20)` splits the window's `N` requests, `w` being the canary's weight. It is
//! the realised split with ordinary traffic, and keeps a window of one request from saying nothing.
//! In the window in which a step begins, `w` is the mean of the weights over its time.
//! Where the canary gets evidently less than its weight says, other rules send to stable, and only the
//! part of stable's requests that followed the weights counts as its exposure: as if all of stable's
//! failures were among them, which a canary is never worse off by. See [`traffic_split`] and
//! [`realised_share`].
//!
//! # 3. Evidence against the canary
//!
//! Seven experts bet that the canary is 1.5 to infinitely many times beyond the margin, an eighth
//! keeps a tenth of the money. After each window a share `1/(t + 101)` of the wealth is dealt out anew by
//! the prior, so that late regressions are found. The rate bet on is that of stable's last 30
//! failures, before the window. One process lasts the whole rollout. Metrics are averaged with fixed
//! weights, which is fair under any dependence. See [`mixture`] and [`regression`].
//!
//! # 4. Trip, confirm, resume
//!
//! At `ln(1/α)` and three bad requests the canary's weight goes to 0. One window later the last three
//! are judged again as if stable's counters were a scrape early or late; only if every such reading
//! keeps half the evidence it is a rollback. Otherwise the evidence falls back to before them: money
//! is thrown away, never made, so the bound holds. While an incident lasts the same is done without a
//! trip, for what is too little to trip. See [`alignment`].
//!
//! # 5. History
//!
//! Windows before the rollout give the starting rate, the dispersion and the latency bounds, never
//! evidence. Counts are divided by `D = φ + κ e λ0`: errors in clusters of at most `φ` make `E^(1/φ)`
//! exactly fair, and a fluctuating rate of squared variation `κ` is matched in variance, its tail by
//! [`dispersion::Dispersion::cautious`]. See [`history`], [`dispersion`] and [`latency`].
//!
//! # 6. Evidence for the canary
//!
//! The same bets with the sides changed: for each excess from 0.05 to 40 points one bets that the
//! canary stays below `1.5 λ0 + excess`. The smallest excess that is ruled out is what a person gets
//! to see. It starts anew with each step. See [`promotion`].
//!
//! # 7. At 100 %
//!
//! Nothing runs beside the canary, so its count is bet on against a limit frozen from the last step.
//! That can be wrong when the world changes, and only asks for a retreat to the last step, where the
//! two are compared. See [`guard`].
//!
//! # 8. Policy
//!
//! When a step is left, what holds it, when it is given up: [`policy`] and [`Sequential`]. Damage
//! through what both versions share is invisible beside stable. When stable begins to fail within two
//! minutes of a weight increase and goes on for two windows, the canary goes back a step; the third
//! time it stays there without a verdict. That is no evidence, so it never rolls back and leaves the
//! bound on false rollbacks as it is.
//!
//! # 9. Forecast
//!
//! The expected growth of the evidence for a request tells the time to a verdict: [`forecast`]; and,
//! summed over the steps, how much worse a canary has to be to be caught on the way: [`power`].

pub(crate) mod alignment;
mod baseline_record;
pub(crate) mod block;
mod confirmation;
mod decisions;
pub(crate) mod dispersion;
mod error_limit;
pub(crate) mod evidence;
pub(crate) mod forecast;
pub(crate) mod guard;
pub(crate) mod history;
mod incident;
mod judgement;
pub(crate) mod latency;
mod metric;
pub(crate) mod mixture;
mod operations;
pub(crate) mod policy;
mod power;
pub(crate) mod promotion;
mod realised_share;
pub(crate) mod regression;
pub(crate) mod stable_rate;
mod step_record;
#[cfg(test)]
mod tests;
pub(crate) mod traffic_split;
#[cfg(test)]
mod vectors;
mod warmup;

pub use baseline_record::{BaselineReach, BaselineRecord};
pub use decisions::Sequential;
pub(crate) use error_limit::ErrorLimit;
pub use evidence::{AnalysisState, Evidence, FailingOperation, Hold};
pub use forecast::Traffic;
pub use history::History;
pub(crate) use metric::Subject;
pub(crate) use policy::Tolerance;
pub use policy::{Policy, Preset};
pub use power::{Caught, Power, StepTraffic};
