//! How a version behaves: how often it fails, how it fails, and how long it takes.

use jiff::Timestamp;

/// The upper bounds of Istio's duration buckets in milliseconds; a last bucket has none.
pub const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// How long requests take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResponseTime {
    /// All the same.
    Fixed {
        /// Milliseconds.
        ms: f64,
    },
    /// Log-normal, the usual shape of response times.
    LogNormal {
        /// Half of the requests take less, in milliseconds.
        median: f64,
        /// One in a hundred takes longer, in milliseconds.
        p99: f64,
    },
}

impl ResponseTime {
    /// The share of requests in each of Istio's buckets, the unbounded one last.
    pub(crate) fn shares(self, slowdown: f64) -> Vec<f64> {
        let mut below = 0.0;
        let mut shares: Vec<f64> = BOUNDS
            .iter()
            .map(|bound| {
                let upto = self.share_within(bound / slowdown);
                let share = (upto - below).max(0.0);
                below = upto;
                share
            })
            .collect();
        shares.push((1.0 - below).max(0.0));
        shares
    }

    pub(crate) fn mean(self) -> f64 {
        match self {
            Self::Fixed { ms } => ms,
            Self::LogNormal { median, p99 } => median * (sigma(median, p99).powi(2) / 2.0).exp(),
        }
    }

    fn share_within(self, bound: f64) -> f64 {
        match self {
            Self::Fixed { ms } => f64::from(u8::from(ms <= bound)),
            Self::LogNormal { median, p99 } => {
                normal_below((bound / median).ln() / sigma(median, p99))
            }
        }
    }
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874;

fn sigma(median: f64, p99: f64) -> f64 {
    ((p99 / median).ln() / Z99).max(1e-9)
}

/// The standard normal distribution function, by Abramowitz and Stegun 26.2.17, within 1e-7.
fn normal_below(z: f64) -> f64 {
    const B: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let tail = density * B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    if z >= 0.0 { 1.0 - tail } else { tail }
}

/// How a failed request shows in the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureMode {
    /// The HTTP status; `0` where there was no response.
    pub code: String,
    /// Envoy's flags; `-` for none.
    pub flags: String,
    /// The gRPC status of a gRPC failure.
    pub grpc: String,
    /// Whether only the caller's proxy sees it, as when no response comes back.
    pub source_only: bool,
}

impl Default for FailureMode {
    fn default() -> Self {
        Self {
            code: "500".to_owned(),
            flags: "-".to_owned(),
            grpc: "13".to_owned(),
            source_only: false,
        }
    }
}

/// A stretch of time in which something is worse than usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Episode {
    /// When it begins.
    pub from: Timestamp,
    /// When it is over.
    pub until: Timestamp,
    /// The share of requests that fail on top of the usual failures, 0 to 1.
    pub errors: f64,
    /// How many times as long requests take; 1 for no difference.
    pub slowdown: f64,
}

impl Episode {
    pub(crate) fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

/// How one version of a service behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// The share of requests that fail, 0 to 1.
    pub error_rate: f64,
    /// How they fail.
    pub failure: FailureMode,
    /// How long requests take.
    pub latency: ResponseTime,
    /// Whether it speaks gRPC: failures then are HTTP 200 with a `grpc_response_status`.
    pub grpc: bool,
    /// Times in which it is worse.
    pub episodes: Vec<Episode>,
    /// The operations it is asked for; none where no label names them.
    pub operations: Vec<Operation>,
}

/// A part of a version's requests that a label `request_operation` names.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Its part of the requests; those of all operations need not add up to one.
    pub share: f64,
    /// The share of its requests that fail on top of what fails of all.
    pub errors: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            error_rate: 0.0,
            failure: FailureMode::default(),
            latency: ResponseTime::LogNormal {
                median: 12.0,
                p99: 90.0,
            },
            grpc: false,
            episodes: Vec::new(),
            operations: Vec::new(),
        }
    }
}

impl Behaviour {
    /// This share of its requests fails.
    pub fn fails(&mut self, error_rate: f64) -> &mut Self {
        self.error_rate = error_rate;
        self
    }

    /// From `from` on, for good, this share fails on top: the regression that comes late.
    pub fn fails_from(&mut self, from: Timestamp, errors: f64) -> &mut Self {
        self.episodes.push(Episode {
            from,
            until: Timestamp::MAX,
            errors,
            slowdown: 1.0,
        });
        self
    }

    /// Between the two times this share fails on top.
    pub fn fails_between(&mut self, from: Timestamp, until: Timestamp, errors: f64) -> &mut Self {
        self.episodes.push(Episode {
            from,
            until,
            errors,
            slowdown: 1.0,
        });
        self
    }

    /// From `from` on, for good, requests take `slowdown` times as long.
    pub fn slower_from(&mut self, from: Timestamp, slowdown: f64) -> &mut Self {
        self.episodes.push(Episode {
            from,
            until: Timestamp::MAX,
            errors: 0.0,
            slowdown,
        });
        self
    }

    /// Failed requests look like this.
    pub fn failing_as(&mut self, code: &str, flags: &str) -> &mut Self {
        code.clone_into(&mut self.failure.code);
        flags.clone_into(&mut self.failure.flags);
        self
    }

    /// Requests take this long.
    pub fn takes(&mut self, latency: ResponseTime) -> &mut Self {
        self.latency = latency;
        self
    }

    /// This part of its requests is of an operation, and this share of those fails on top.
    pub fn answers(&mut self, name: &str, share: f64, errors: f64) -> &mut Self {
        self.operations.push(Operation {
            name: name.to_owned(),
            share,
            errors,
        });
        self
    }

    /// It speaks gRPC.
    pub fn speaks_grpc(&mut self) -> &mut Self {
        self.grpc = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_normal_latency_keeps_its_median_and_its_tail() {
        let latency = ResponseTime::LogNormal {
            median: 10.0,
            p99: 100.0,
        };
        let shares = latency.shares(1.0);
        let within = |bound: f64| -> f64 {
            let upto = BOUNDS.iter().position(|is| *is == bound).unwrap();
            shares[..=upto].iter().sum()
        };
        assert!((within(10.0) - 0.5).abs() < 1e-6);
        assert!((within(100.0) - 0.99).abs() < 1e-6);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let slow: f64 = latency.shares(10.0)[..=6].iter().sum();
        assert!((slow - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_fixed_latency_falls_into_one_bucket() {
        let shares = ResponseTime::Fixed { ms: 20.0 }.shares(1.0);
        assert_eq!(shares.iter().position(|share| *share == 1.0), Some(4));
    }
}
