//! How a version answers, and which of its requests fail.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one version of one namespace does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Behaviour {
    /// The share of requests that fail, 0 to 1.
    pub(crate) errors: f64,
    /// Which requests make up that share.
    pub(crate) spread: Spread,
    /// What a request that fails gets.
    pub(crate) failure: Failure,
    /// How long every answer takes.
    pub(crate) latency_ms: u64,
    /// Whether requests that fail do so without taking that long.
    pub(crate) fails_at_once: bool,
    /// The share of orders that are lost behind an answer that says they were placed, 0 to 1.
    pub(crate) lost_orders: f64,
    /// How many orders wait in each pod.
    pub(crate) queue: u64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            errors: 0.0,
            spread: Spread::Even,
            failure: Failure::Status(500),
            latency_ms: 0,
            fails_at_once: false,
            lost_orders: 0.0,
            queue: 0,
        }
    }
}

/// Which requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spread {
    /// As evenly as whole requests allow: of the first n, the share of n, rounded down.
    Even,
    /// Each by chance; the same seed fails the same requests.
    Random(u64),
}

/// What a request that fails gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// This HTTP status.
    Status(u16),
    /// HTTP 200 with this gRPC status.
    Grpc(u32),
    /// No answer: the connection is closed.
    Reset,
}

impl Behaviour {
    /// Whether the request with this number fails; numbers start at 0.
    pub(crate) fn fails(&self, number: u64) -> bool {
        match self.spread {
            Spread::Even => is_among(self.errors, number),
            Spread::Random(seed) => chance(seed, number) < self.errors,
        }
    }

    /// How long the answer takes to a request that fails or not.
    pub(crate) fn latency(&self, fails: bool) -> Duration {
        match fails && self.fails_at_once {
            true => Duration::ZERO,
            false => Duration::from_millis(self.latency_ms),
        }
    }

    /// Whether the order of the request with this number is lost.
    pub(crate) fn loses(&self, number: u64) -> bool {
        is_among(self.lost_orders, number)
    }
}

/// Whether a number is one of a share that is spread evenly.
fn is_among(share: f64, number: u64) -> bool {
    // A share such as 0.1 is a little off in binary; a millionth of a
    // request keeps the tenth one from slipping to the eleventh.
    let before = |number: u64| (number as f64 * share + 1e-6) as u64;
    before(number + 1) > before(number)
}

/// A number from 0 up to 1 that depends on nothing but its arguments (SplitMix64).
fn chance(seed: u64, number: u64) -> f64 {
    let mut z = seed.wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(behaviour: Behaviour, of: u64) -> Vec<u64> {
        (0..of).filter(|number| behaviour.fails(*number)).collect()
    }

    #[test]
    fn an_even_share_is_exact_and_spread() {
        for (errors, of, expected) in [
            (0.0, 1000, 0),
            (1.0, 1000, 1000),
            (0.1, 1000, 100),
            (0.01, 1000, 10),
            (0.005, 1000, 5),
            (1.0 / 3.0, 999, 333),
        ] {
            let behaviour = Behaviour {
                errors,
                ..Behaviour::default()
            };
            assert_eq!(failures(behaviour, of).len(), expected, "{errors}");
        }
        let tenth = Behaviour {
            errors: 0.1,
            ..Behaviour::default()
        };
        assert_eq!(failures(tenth, 30), [9, 19, 29]);
    }

    #[test]
    fn a_random_share_depends_on_its_seed_only() {
        let behaviour = |seed| Behaviour {
            errors: 0.1,
            spread: Spread::Random(seed),
            ..Behaviour::default()
        };
        let first = failures(behaviour(1), 10_000);
        assert_eq!(first, failures(behaviour(1), 10_000));
        assert_ne!(first, failures(behaviour(2), 10_000));
        assert!((900..1100).contains(&first.len()), "{}", first.len());
    }

    #[test]
    fn a_behaviour_reads_from_the_json_tests_send() {
        let behaviour: Behaviour = serde_json::from_str(
            r#"{"errors": 0.2, "spread": {"random": 7}, "failure": {"grpc": 14}, "latency_ms": 30,
                "fails_at_once": true, "lost_orders": 0.1, "queue": 9}"#,
        )
        .unwrap();
        assert_eq!(
            behaviour,
            Behaviour {
                errors: 0.2,
                spread: Spread::Random(7),
                failure: Failure::Grpc(14),
                latency_ms: 30,
                fails_at_once: true,
                lost_orders: 0.1,
                queue: 9,
            }
        );
        assert!(serde_json::from_str::<Behaviour>(r#"{"eror": 1}"#).is_err());
        assert_eq!(
            serde_json::to_string(&Failure::Reset).unwrap(),
            r#""reset""#
        );
    }
}
