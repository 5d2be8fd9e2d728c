//! Seeded draws from the distributions that traffic needs.
//!
//! The generator is xoshiro256++ (Blackman and Vigna), seeded through splitmix64, so that a seed gives
//! the same rollout on every machine and with every version of every dependency.

/// A seeded source of random draws.
#[derive(Clone, Debug)]
pub struct Sampler {
    state: [u64; 4],
}

impl Sampler {
    /// A source that always gives the same draws for the same seed.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = mixed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform, above 0 and below 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) * (1.0 / (1_u64 << 52) as f64)
    }

    /// Standard normal, by Box and Muller; the second draw is thrown away to keep no state.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A Poisson count; 0 for a mean that is not above 0.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            0
        } else if mean < 12.0 {
            self.poisson_by_inversion(mean)
        } else {
            self.poisson_by_rejection(mean)
        }
    }

    fn poisson_by_inversion(&mut self, mean: f64) -> u64 {
        let mut left = self.uniform();
        let mut chance = (-mean).exp();
        let mut count = 0;
        // Rounding can leave a remainder that no term uses up; the bound is never reached otherwise.
        while left > chance && count < 200 {
            left -= chance;
            count += 1;
            chance *= mean / count as f64;
        }
        count
    }

    /// Transformed rejection with squeeze (Hörmann's PTRS), exact for means of 10 and more.
    fn poisson_by_rejection(&mut self, mean: f64) -> u64 {
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.024_83 * b;
        let inverse = 1.1239 + 1.1328 / (b - 3.4);
        let squeeze = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= squeeze {
                return k as u64;
            }
            if k < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let bound = (v * inverse / (a / (us * us) + b)).ln();
            if bound <= k * mean.ln() - mean - log_factorial(k) {
                return k as u64;
            }
        }
    }

    /// Gamma with the given shape and scale 1 (Marsaglia and Tsang).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let lift = self.uniform().powf(1.0 / shape);
            return self.gamma(shape + 1.0) * lift;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Beta with mean `mean` and intra-class correlation `rho`, both strictly between 0 and 1.
    pub fn beta(&mut self, mean: f64, rho: f64) -> f64 {
        let size = 1.0 / rho - 1.0;
        let (a, b) = (self.gamma(mean * size), self.gamma((1.0 - mean) * size));
        if a + b > 0.0 { a / (a + b) } else { 0.0 }
    }

    /// The total of a Poisson number of clusters whose sizes are geometric with mean `size`, so that
    /// the mean total is `mean`.
    pub fn clusters(&mut self, mean: f64, size: f64) -> u64 {
        let stay = (1.0 - 1.0 / size).ln();
        (0..self.poisson(mean / size))
            .map(|_| 1 + (self.uniform().ln() / stay) as u64)
            .sum()
    }
}

/// `ln k!` by Stirling's series, exact to 1e-10 for `k` of 10 and more and tabulated below.
fn log_factorial(k: f64) -> f64 {
    if k < 10.0 {
        return (2..=k as u32).map(|i| f64::from(i).ln()).sum();
    }
    let x = k + 1.0;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * x)
        - 1.0 / (360.0 * x.powi(3))
        + 1.0 / (1260.0 * x.powi(5))
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
        let table: [(Draw, f64, f64); 9] = [
            (|s| s.uniform(), 0.5, 1.0 / 12.0),
            (|s| s.normal(), 0.0, 1.0),
            (|s| s.poisson(0.3) as f64, 0.3, 0.3),
            (|s| s.poisson(11.0) as f64, 11.0, 11.0),
            (|s| s.poisson(13.0) as f64, 13.0, 13.0),
            (|s| s.poisson(5e4) as f64, 5e4, 5e4),
            (|s| s.gamma(0.4), 0.4, 0.4),
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
