//! When a rollout that the evidence does not carry on is stuck: out of time, or without metrics. Pure.

use jiff::Timestamp;

use super::metrics_outage::Unusable;
use super::reason::Reason;
use super::segment::Phase;
use crate::plan::HumanDuration;

/// Whether `timeout` has passed since then.
pub fn is_over(since: Timestamp, timeout: HumanDuration, now: Timestamp) -> bool {
    now.duration_since(since) >= timeout.signed()
}

/// The reasons of a step without a verdict; `after` is its time, where that is up.
pub fn no_verdict(after: Option<HumanDuration>, mut because: Vec<Reason>) -> Vec<Reason> {
    if because.is_empty() {
        because.push(Reason::NoRequests);
    }
    because.insert(0, Reason::NoVerdict { after });
    because
}

/// What an outage of the metrics comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Blackout {
    /// They may come back.
    Wait,
    /// They were lost while a regression was suspected, which cannot be cleared any more.
    Regressed(Vec<Reason>),
    /// The grace is over, and the plan says what to do.
    Stuck(Vec<Reason>),
}

/// What an outage that lasts so long comes to in a phase.
pub fn blackout(
    phase: Phase,
    why: &Unusable,
    lasted: HumanDuration,
    grace: HumanDuration,
) -> Blackout {
    if lasted < grace {
        return Blackout::Wait;
    }
    let mut reasons = vec![
        Reason::NoMetrics { lasted },
        Reason::MetricsUnusable(why.clone()),
    ];
    match phase {
        // Nothing changes here until `promote` anyway.
        Phase::Waiting | Phase::Paused => Blackout::Wait,
        Phase::Tripped => {
            reasons.push(Reason::SuspicionStands);
            Blackout::Regressed(reasons)
        }
        Phase::Progressing => Blackout::Stuck(reasons),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_allowed_its_grace_and_harms_no_held_rollout() {
        let of = |phase, lasted| {
            let lasted = HumanDuration::seconds(lasted);
            let grace = HumanDuration::seconds(120);
            let why = Unusable::NoSeries { unclaimed: None };
            match blackout(phase, &why, lasted, grace) {
                Blackout::Wait => "wait",
                Blackout::Regressed(_) => "regressed",
                Blackout::Stuck(_) => "stuck",
            }
        };
        for (phase, then) in [
            (Phase::Progressing, "stuck"),
            (Phase::Tripped, "regressed"),
            (Phase::Waiting, "wait"),
            (Phase::Paused, "wait"),
        ] {
            assert_eq!(of(phase, 119), "wait");
            assert_eq!(of(phase, 120), then, "{phase:?}");
        }
    }
}
