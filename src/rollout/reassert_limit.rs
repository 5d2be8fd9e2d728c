//! How often the weights are reasserted against a manager that keeps changing them. Pure.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// At most this many reassertions in the time below; then the rollout stops, since a controller that
/// sets its own weights would never give up.
const MOST: usize = 5;
/// The time in which they are counted.
const WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// When the weights were reasserted lately.
#[derive(Debug, Default)]
pub struct ReassertLimit {
    times: VecDeque<Timestamp>,
}

impl ReassertLimit {
    /// Counts one more reassertion at `now`.
    ///
    /// # Errors
    /// If there were too many: how many, and in which time.
    pub fn try_again(&mut self, now: Timestamp) -> Result<(), (usize, SignedDuration)> {
        let is_old = |then: &Timestamp| now.duration_since(*then) > WITHIN;
        while self.times.front().is_some_and(is_old) {
            self.times.pop_front();
        }
        match self.times.front() {
            Some(first) if self.times.len() >= MOST => {
                Err((self.times.len(), now.duration_since(*first)))
            }
            _ => {
                self.times.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_of_the_last_minutes_count() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut reassert_limit = ReassertLimit::default();
        for second in [0, 10, 20, 30, 40] {
            assert_eq!(reassert_limit.try_again(at(second)), Ok(()));
        }
        let since_first = SignedDuration::from_secs(50);
        assert_eq!(reassert_limit.try_again(at(50)), Err((5, since_first)));
        assert_eq!(
            reassert_limit.try_again(at(601)),
            Ok(()),
            "the first is forgotten"
        );
        assert!(reassert_limit.try_again(at(602)).is_err());
    }
}
