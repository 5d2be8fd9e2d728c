//! Where the cases of a property come from.

use std::hash::{BuildHasher, RandomState};

use proptest::test_runner::{Config, RngSeed};

/// So many cases from a seed that is another one every time, unless `PROPTEST_RNG_SEED` names one, as
/// `scripts/test` does. It is printed, so that whatever fails can be repeated.
pub fn cases(cases: u32) -> Config {
    let mut config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(cases));
    }
    println!(
        "{cases} cases; the same again: PROPTEST_RNG_SEED={}",
        config.rng_seed
    );
    config
}
