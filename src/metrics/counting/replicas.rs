//! A sample that another replica of Prometheus may have answered with.
//!
//! Behind one Service stand several replicas that scrape the same proxies at other moments and by other
//! clocks, and any of them may answer. One that is behind gives a later sample with a smaller value, which
//! is no reset; one that has not seen a reset yet gives a larger one, which is no growth. But all of one
//! answer is of one replica, and it overlaps what was taken before. So a new sample is judged by the
//! answer's own samples since the last one that was taken: only where they tell the same story is there an
//! increase, and only the replica that the last one is of tells of a reset. What is left out is not lost:
//! the last sample taken stays what the next one is compared with.

use jiff::Timestamp;

/// By how many seconds of its own growth a replica may be ahead of another.
const AHEAD: f64 = 240.0;
/// And by how many counts whatever it grows by, for counters that stand still most of the time.
const SLACK: f64 = 20.0;

/// One sample of a counter.
pub(super) type CounterSample = (Timestamp, f64);

/// What a new sample of a counter says, beside the last one that was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Continuation {
    /// The counter grew by this.
    Grown(f64),
    /// It was reset, and has counted this from zero since.
    Reset(f64),
    /// It is of a replica that is behind, or that has not seen a reset yet.
    Behind,
    /// The answer has no sample as old as the last one that was taken.
    Unanchored,
}

impl Continuation {
    /// What the sample `(time, value)` says; `own` are the samples of the same series that the same answer has before
    /// it, oldest first, and `last` is the last one that was taken, of whichever answer. `after_reset` says
    /// whether a reset was counted so shortly before that another replica may not have seen it yet.
    pub(super) fn of(
        own: &[CounterSample],
        last: CounterSample,
        (time, value): CounterSample,
        after_reset: bool,
    ) -> Self {
        let (taken, base) = last;
        let Some(anchor) = own.iter().rposition(|(time, _)| *time <= taken) else {
            return Self::Unanchored;
        };
        let values = own[anchor..].iter().map(|(_, value)| *value);
        let after = values.clone().skip(1).chain([value]);
        let was_reset = values.zip(after).any(|(before, after)| after < before);
        // Of the same replica the anchor is the last sample itself. Another one's reset may be one that is
        // counted already.
        if was_reset && own[anchor] == last {
            return Self::Reset(value);
        }
        let stood_higher = own[anchor].1 > base;
        let knows_the_same = match was_reset {
            true => stood_higher,
            // It is ahead, unless what it has is from before a reset: one that was counted, or one that nobody
            // has seen, since what came before it is not known.
            false => {
                let (since, stood) = own[anchor];
                let seconds = time.duration_since(since).as_secs_f64();
                let plausible = AHEAD * (value - stood) / seconds.max(1.0) + SLACK;
                !stood_higher || !after_reset && stood - base <= plausible
            }
        };
        match knows_the_same && value >= base {
            true => Self::Grown(value - base),
            false => Self::Behind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn only_what_one_replica_shows_by_itself_is_a_reset() {
        use Continuation::{Behind, Grown, Reset, Unanchored};
        for (own, last, value, after_reset, expected) in [
            // One replica.
            (&[(10, 100.0)][..], (10, 100.0), 130.0, false, Grown(30.0)),
            (&[(10, 100.0)], (10, 100.0), 7.0, false, Reset(7.0)),
            // Another: ahead, behind, and behind for two scrapes.
            (&[(5, 90.0)], (10, 100.0), 120.0, false, Grown(20.0)),
            (&[(5, 70.0)], (10, 100.0), 95.0, false, Behind),
            (&[(5, 40.0), (20, 70.0)], (10, 100.0), 99.0, false, Behind),
            // A reset is counted once: where the replica answers that the last sample is of.
            (
                &[(10, 100.0), (20, 3.0)],
                (10, 100.0),
                8.0,
                false,
                Reset(8.0),
            ),
            (&[(5, 90.0)], (10, 100.0), 4.0, false, Behind),
            (&[(5, 90.0), (20, 3.0)], (10, 100.0), 8.0, false, Behind),
            // It is ahead of the one that answered before.
            (&[(5, 110.0)], (10, 100.0), 120.0, false, Grown(20.0)),
            // It has not seen a reset that came before the first sample taken.
            (&[(5, 9_000.0)], (10, 2.0), 9_010.0, false, Behind),
            // It has not seen the reset that was counted, or sees it now.
            (&[(5, 90.0)], (10, 2.0), 95.0, true, Behind),
            (&[(5, 90.0)], (10, 2.0), 6.0, true, Grown(4.0)),
            (&[(5, 90.0)], (10, 2.0), 1.0, true, Behind),
            // It has begun only now.
            (&[], (10, 100.0), 120.0, false, Unanchored),
            (&[(11, 110.0)], (10, 100.0), 120.0, false, Unanchored),
        ] {
            let own: Vec<_> = own
                .iter()
                .map(|(time, value)| (at(*time), *value))
                .collect();
            let last = (at(last.0), last.1);
            assert_eq!(
                Continuation::of(&own, last, (at(30), value), after_reset),
                expected,
                "{own:?} {last:?} {value}"
            );
        }
    }
}
