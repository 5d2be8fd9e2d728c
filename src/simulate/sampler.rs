//! Seeded draws from the distributions that traffic needs.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Beta, Distribution, Geometric, Open01, Poisson, StandardNormal};

/// A seeded source of random draws.
#[derive(Clone, Debug)]
pub struct Sampler(Xoshiro256PlusPlus);

impl Sampler {
    /// A source that always gives the same draws for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Uniform, above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        Open01.sample(&mut self.0)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// A Poisson count; 0 for a mean that is not above 0.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        let poisson = Poisson::new(mean).expect("traffic is finite");
        poisson.sample(&mut self.0) as u64
    }

    /// Beta with mean `mean` and intra-class correlation `rho`, both strictly between 0 and 1.
    pub fn beta(&mut self, mean: f64, rho: f64) -> f64 {
        let size = 1.0 / rho - 1.0;
        let beta = Beta::new(mean * size, (1.0 - mean) * size);
        beta.expect("mean and correlation are between 0 and 1")
            .sample(&mut self.0)
    }

    /// The total of a Poisson number of clusters whose sizes are geometric with mean `size`, so that
    /// the mean total is `mean`.
    pub fn clusters(&mut self, mean: f64, size: f64) -> u64 {
        let more = Geometric::new(1.0 / size).expect("a cluster has at least one failure");
        (0..self.poisson(mean / size))
            .map(|_| 1 + more.sample(&mut self.0))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut draw: impl FnMut() -> f64, times: u32) -> (f64, f64) {
        let draws: Vec<f64> = (0..times).map(|_| draw()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(times);
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / f64::from(times);
        (mean, variance)
    }

    #[test]
    fn means_and_variances_are_right() {
        type Draw = fn(&mut Sampler) -> f64;
        let table: [(Draw, f64, f64); 8] = [
            (|s| s.uniform(), 0.5, 1.0 / 12.0),
            (|s| s.normal(), 0.0, 1.0),
            (|s| s.poisson(0.3) as f64, 0.3, 0.3),
            (|s| s.poisson(11.0) as f64, 11.0, 11.0),
            (|s| s.poisson(13.0) as f64, 13.0, 13.0),
            (|s| s.poisson(5e4) as f64, 5e4, 5e4),
            (|s| s.beta(0.1, 0.01), 0.1, 0.1 * 0.9 * 0.01),
            // Var = mean * E[size²] / E[size] = mean * (2 size - 1).
            (|s| s.clusters(6.0, 3.0) as f64, 6.0, 30.0),
        ];
        for (i, (draw, mean, variance)) in table.into_iter().enumerate() {
            let mut sampler = Sampler::new(7);
            let times = 100_000;
            let (m, v) = moments(|| draw(&mut sampler), times);
            let error = 5.0 * (variance / f64::from(times)).sqrt();
            assert!((m - mean).abs() < error, "row {i}: mean {m}");
            assert!((v / variance - 1.0).abs() < 0.06, "row {i}: variance {v}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_draws() {
        let draws = |seed| {
            let mut sampler = Sampler::new(seed);
            [sampler.poisson(100.0), sampler.poisson(3.0)]
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}
