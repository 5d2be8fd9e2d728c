//! Whether the canary has served long enough to be judged like any version (section 8).
//!
//! Caches fill and code is compiled while requests come, not while a pod waits for them. So what counts is
//! the first traffic, or the start of the youngest pod where that is later.

use jiff::{SignedDuration, Timestamp};

use crate::verdict::Window;

/// Times the warm-up after which a canary must have become as fast as it will be: a virtual machine that
/// compiles what it runs takes minutes where the first errors take seconds.
pub const UNTIL_FAST: i32 = 4;

/// How far the canary has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmth {
    /// It is given ten points of room for failures, and nothing speaks for it.
    Cold,
    /// It may still be slow.
    Young,
    /// It is judged like any version.
    Warm,
}

/// Follows since when the canary serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmupClock {
    lasts: SignedDuration,
    served_before: bool,
    first_served: Option<Timestamp>,
    warmth: Warmth,
}

impl WarmupClock {
    /// A warm-up that takes so long, of a canary that may have been serving before the rollout.
    pub fn new(lasts: SignedDuration, served_before: bool) -> Self {
        Self {
            lasts,
            served_before,
            first_served: None,
            warmth: Warmth::Warm,
        }
    }

    /// Takes in a window.
    pub fn note(&mut self, window: &Window) {
        if window.canary.requests > 0 {
            // At what time in the window the first one came is not known.
            self.first_served.get_or_insert(window.end);
        }
        let served = self.first_served.filter(|_| !self.served_before);
        let started = window.canary_age.map(|age| window.end - age);
        let since = served.max(started);
        let age = since.map(|since| window.start.duration_since(since));
        self.warmth = match age.filter(|_| !self.lasts.is_zero()) {
            Some(age) if age < self.lasts => Warmth::Cold,
            Some(age) if age < self.lasts * UNTIL_FAST => Warmth::Young,
            Some(_) | None => Warmth::Warm,
        };
    }

    /// How warm the canary was when the last window began.
    pub fn warmth(&self) -> Warmth {
        self.warmth
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Counts;

    fn window(end: i64, requests: u64, age: Option<i64>) -> Window {
        Window {
            start: Timestamp::from_second(end - 10).unwrap(),
            end: Timestamp::from_second(end).unwrap(),
            canary: Counts {
                requests,
                failures: 0,
            },
            canary_age: age.map(SignedDuration::from_secs),
            ..Window::default()
        }
    }

    #[test]
    fn a_pod_warms_up_from_its_first_request_or_from_its_start_if_that_is_later() {
        let of = |served_before, windows: &[(i64, u64, Option<i64>)]| {
            let mut warmup = WarmupClock::new(SignedDuration::from_secs(30), served_before);
            for (end, requests, age) in windows {
                warmup.note(&window(*end, *requests, *age));
            }
            warmup.warmth()
        };
        // It waited for five minutes, and then the first requests came.
        assert_eq!(of(false, &[(10, 5, Some(300))]), Warmth::Cold);
        assert_eq!(
            of(false, &[(10, 5, Some(300)), (40, 5, Some(330))]),
            Warmth::Cold
        );
        assert_eq!(
            of(false, &[(10, 5, Some(300)), (50, 5, Some(340))]),
            Warmth::Young
        );
        assert_eq!(of(false, &[(10, 5, None), (140, 5, None)]), Warmth::Warm);
        // It got requests before the rollout began.
        assert_eq!(of(true, &[(10, 5, Some(300))]), Warmth::Warm);
        // An autoscaler has added a pod.
        assert_eq!(
            of(true, &[(10, 5, Some(300)), (500, 5, Some(12))]),
            Warmth::Cold
        );
        assert_eq!(of(false, &[(10, 0, None)]), Warmth::Warm);
    }
}
