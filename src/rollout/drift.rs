//! What a rollout makes of what others did to its object. Pure.

use jiff::Timestamp;

use super::event::EventKind;
use super::foreign_change::Drift;
use super::reason::Reason;
use super::reassert_limit::ReassertLimit;
use super::segment::Phase;
use super::state::Rollout;
use crate::plan::OnDrift;

/// What is done about a change of weights or routes, and why.
pub fn respond(
    manager: &str,
    drift: &Drift,
    policy: OnDrift,
    limit: &mut ReassertLimit,
    now: Timestamp,
) -> (OnDrift, Reason) {
    let (manager, drift) = (manager.to_owned(), drift.clone());
    if policy == OnDrift::Reassert
        && let Err((times, within)) = limit.try_again(now)
    {
        let reason = Reason::ReassertLimit {
            manager,
            drift,
            times,
            within: within.into(),
        };
        return (OnDrift::Stop, reason);
    }
    (policy, Reason::Drift { manager, drift })
}

/// The event of a `promote`, `pause` or `resume` by another process, which made `before` into `now`.
pub fn advanced(before: &Rollout, now: &Rollout) -> Option<EventKind> {
    let by = now
        .changed_by
        .clone()
        .unwrap_or_else(|| "another client".into());
    match now.phase {
        Phase::Paused if before.phase != Phase::Paused => Some(EventKind::Paused { by }),
        _ if before.step != now.step => Some(EventKind::Promoted {
            by,
            exposure: now.exposure(),
        }),
        Phase::Progressing if before.phase != Phase::Progressing => Some(EventKind::Resumed { by }),
        Phase::Progressing | Phase::Waiting | Phase::Paused | Phase::Tripped => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::foreign_change::ForeignChange;
    use super::*;

    #[test]
    fn weights_that_were_reasserted_too_often_stop_the_rollout() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut limit = ReassertLimit::default();
        let mut respond = |second| {
            let policy = OnDrift::Reassert;
            respond(
                "argocd",
                &ForeignChange::StateRemoved.into(),
                policy,
                &mut limit,
                at(second),
            )
        };
        for second in 0..5 {
            let (policy, reason) = respond(second);
            assert_eq!(policy, OnDrift::Reassert);
            assert!(matches!(reason, Reason::Drift { .. }), "{reason:?}");
        }
        let (policy, reason) = respond(5);
        assert_eq!(policy, OnDrift::Stop);
        assert!(
            matches!(reason, Reason::ReassertLimit { times: 5, .. }),
            "{reason:?}"
        );
    }
}
