//! Reasons in words: the one place that has them.

use super::escape;
use super::guard_text::guard_problem;
use super::phrase::Versions;
use crate::number::{percentage, percentage_points};
use crate::plan::Exposure;
use crate::rollout::{Reason, Unusable};
use crate::verdict;
use crate::verdict::sequential::{Hold, Subject};

/// Reasons in one line, if there are any.
pub(super) fn joined(reasons: &[Reason], versions: &Versions) -> Option<String> {
    let parts: Vec<_> = reasons.iter().map(|why| reason(why, versions)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The same between versions of these names.
pub(crate) fn reasons_in_words(reasons: &[Reason], stable: &str, canary: &str) -> Option<String> {
    let versions = Versions {
        stable: stable.to_owned(),
        canary: canary.to_owned(),
    };
    joined(reasons, &versions)
}

/// One reason, fit to be shown on a terminal.
pub(super) fn reason(reason: &Reason, versions: &Versions) -> String {
    let canary = &versions.canary;
    let text = match reason {
        Reason::Analysis(reason) => analysis(reason, versions),
        Reason::NothingToCompare => "one version has all the traffic; nothing to compare".into(),
        Reason::NoRequests => "no request was counted".into(),
        Reason::TestersOnly => format!("only testers reached {canary}, which is not analyzed"),
        Reason::StepPassed => "step passed, waiting for promote".into(),
        Reason::WaitsForPromote => "waiting for promote".into(),
        Reason::NoVerdict { after: None } => "inconclusive".into(),
        Reason::NoVerdict { after: Some(after) } => format!("inconclusive after {after}"),
        Reason::SuspicionTimedOut { after } => {
            format!("the regression was neither confirmed nor a false alarm within {after}")
        }
        Reason::MirrorUnseen {
            expected,
            stable_seen,
            canary_seen,
        } => mirror_unseen(*expected, (*stable_seen, *canary_seen), versions),
        Reason::Guard { guard, problem } => guard_problem(guard, problem, versions),
        Reason::MetricsUnusable(why) => unusable(why),
        Reason::NoMetrics { lasted } => format!("no metrics for {lasted}"),
        Reason::SuspicionStands => "the suspected regression counts as confirmed".into(),
        Reason::CanaryDown { pods: 0, .. } => format!("{canary} has no pods left"),
        Reason::CanaryDown { pods, crashing } => {
            let crashing = if *crashing { " (crash loop)" } else { "" };
            match pods {
                1 => format!("the only pod of {canary} is not ready{crashing}"),
                pods => format!("none of the {pods} pods of {canary} is ready{crashing}"),
            }
        }
        Reason::StillReached => {
            format!("callers that do not follow these routes still reach {canary}")
        }
        Reason::KeepsShare { share } => {
            format!("{canary} still gets {share} %, as before the rollout")
        }
        Reason::Ended { outcome, by } => format!("{outcome} by {by}"),
        Reason::TakenOver { by } => format!("{by} is driving the rollout now"),
        Reason::RollbackElsewhere => "another process is rolling back".into(),
        Reason::Drift { manager, drift } => format!("{manager} changed the routes: {drift}"),
        Reason::ReassertLimit {
            manager,
            drift,
            times,
            within,
        } => format!(
            "{manager} changed the weights again after they were reasserted {times} times within {within}: {drift}"
        ),
        Reason::Advice { text } => text.clone(),
        Reason::Signal { name } => name.clone(),
        Reason::SecondSignal => "second signal: weights left unchanged".into(),
        Reason::Requested { by } => format!("requested by {by}"),
        Reason::HookFailed(failure) => hook_failed(failure.exposure, &failure.why),
        Reason::Refused { message } | Reason::RollbackFailed { message } => message.clone(),
        Reason::DrivenByJob { job } => format!("driven by job {job}"),
    };
    escape(&text).into_owned()
}

/// That the user's command before a step failed; `why` goes on with the sentence.
pub(super) fn hook_failed(exposure: Exposure, why: &str) -> String {
    format!("the command before {exposure} {why}")
}

/// What keeps the metrics from being used.
pub(super) fn unusable(why: &Unusable) -> String {
    match why {
        Unusable::NoAnswer { message, .. } => message.clone(),
        Unusable::Partial { warnings } => {
            format!("the answer is incomplete: {}", warnings.join("; "))
        }
        Unusable::NoSeries { unclaimed: None } => "there are no series of either version".into(),
        Unusable::NoSeries {
            unclaimed: Some(unclaimed),
        } => format!(
            "the service has series of {}, and the pods are {}",
            unclaimed.found.join(", "),
            unclaimed.wanted.join(", ")
        ),
        Unusable::Mixed { mixed } => format!(
            "the series have several values of {}: {}",
            mixed.label,
            mixed.values.join(", ")
        ),
        Unusable::NoCodes => {
            "no series has a readable response_code, so failures cannot be told from successes"
                .into()
        }
        Unusable::NoGrpcStatus => {
            "no gRPC answer has a grpc_response_status, so failures cannot be told from successes"
                .into()
        }
        Unusable::Stale { age } => format!("the newest sample is {age} old"),
        Unusable::Skewed => {
            "the samples of the two versions are more than a scrape interval apart".into()
        }
    }
}

fn analysis(reason: &verdict::AnalysisReason, versions: &Versions) -> String {
    let Versions { stable, canary } = versions;
    match reason.clone() {
        verdict::AnalysisReason::OnHold { hold } => on_hold(hold, versions),
        verdict::AnalysisReason::OddShare { got, set } => {
            let why = match got > set {
                true => ": callers that do not follow these routes reach it",
                false => "",
            };
            format!(
                "{canary} gets {} of the requests at a weight of {}{why}",
                percentage(got),
                percentage(set)
            )
        }
        verdict::AnalysisReason::Bounded {
            subject,
            ratio,
            excess,
            confidence,
        } => {
            let rate = match subject {
                Subject::Failures => "error rate".to_owned(),
                Subject::FailedWith { status } => format!("rate of {status}"),
                Subject::FailedOtherwise => "rate of other failures".to_owned(),
                Subject::FailedIn { operation } => {
                    format!("error rate of {}", operation_name(operation.as_deref()))
                }
                Subject::Refusals => "rate of 4xx".to_owned(),
                Subject::SlowerThan { bound_ms } => format!("rate of requests over {bound_ms} ms"),
            };
            format!(
                "{canary}'s {rate} is at most {ratio}x {stable}'s + {} pp ({} confidence)",
                percentage_points(excess),
                percentage(confidence)
            )
        }
        verdict::AnalysisReason::Unbounded { subject } => match subject {
            Subject::SlowerThan { bound_ms } => {
                format!("too few requests to judge how many of {canary}'s take over {bound_ms} ms")
            }
            Subject::Failures
            | Subject::FailedWith { .. }
            | Subject::FailedOtherwise
            | Subject::FailedIn { .. }
            | Subject::Refusals => format!("too few requests to judge {canary}"),
        },
        verdict::AnalysisReason::RegressionEvidence {
            subject,
            evidence,
            needed,
        } => {
            let of = match subject {
                Subject::Failures | Subject::FailedOtherwise => String::new(),
                Subject::FailedWith { status } => format!(" from {status}"),
                Subject::FailedIn { operation } => {
                    format!(" from {}", operation_name(operation.as_deref()))
                }
                Subject::Refusals => " from 4xx responses".into(),
                Subject::SlowerThan { bound_ms } => format!(" from requests over {bound_ms} ms"),
            };
            format!("regression evidence{of} {evidence:.1} (rolls back at {needed:.1})")
        }
        verdict::AnalysisReason::FailsOperation {
            operation,
            stable: beside,
            canary: own,
        } => format!(
            "{canary} fails {} of {} requests of {}, {stable} {} of {}",
            own.failures,
            own.requests,
            operation_name(operation.as_deref()),
            beside.failures,
            beside.requests
        ),
        verdict::AnalysisReason::WithinLimit { rate, limit }
        | verdict::AnalysisReason::OverLimit { rate, limit } => format!(
            "{canary}'s error rate is {}, the limit is {}",
            percentage(rate),
            percentage(limit)
        ),
        verdict::AnalysisReason::OverMargin {
            canary: rate,
            stable: beside,
            margin,
        } => format!(
            "{canary}'s error rate is {}, {stable}'s {}, the margin is {} pp",
            percentage(rate),
            percentage(beside),
            percentage_points(margin)
        ),
        verdict::AnalysisReason::MaybeChance {
            canary: rate,
            stable: beside,
        } => format!(
            "{canary}'s error rate is {}, {stable}'s {}, which may still be chance",
            percentage(rate),
            percentage(beside)
        ),
        verdict::AnalysisReason::BothFail {
            canary: rate,
            stable: beside,
        } => format!(
            "both versions fail: {canary} {}, {stable} {}; {canary} is not to blame",
            percentage(rate),
            percentage(beside)
        ),
        verdict::AnalysisReason::TooFewCanaryRequests { requests, needed } => {
            format!("{canary} had {requests} of {needed} requests needed")
        }
        verdict::AnalysisReason::TooFewStableRequests { requests, needed } => {
            format!("{stable} had {requests} of {needed} requests needed")
        }
    }
}

/// What an operation is called.
pub(super) fn operation_name(operation: Option<&str>) -> &str {
    operation.unwrap_or("other operations")
}

fn on_hold(hold: Hold, Versions { stable, canary }: &Versions) -> String {
    match hold {
        Hold::Incident => {
            // Who took over a rollout may not know the versions' names.
            let named = if stable == "stable" { "" } else { " (stable)" };
            format!("{stable}{named} is failing: analysis on hold")
        }
        Hold::WarmingUp => format!("{canary} has only begun to serve: warming up"),
        Hold::Mixed => "requests sent before the weights changed are still being answered".into(),
        Hold::NotItsShare => format!("{canary} gets less traffic than its weight promises"),
        Hold::FewerRefusals => format!(
            "{canary} answers far fewer requests with 4xx than {stable}: promote, if that is meant"
        ),
        Hold::Disputed => "both versions failed together three times in this step".into(),
        Hold::Unsteady => {
            format!("{canary} looked worse at 100 % three times, but not beside {stable}")
        }
        Hold::Overload => {
            format!("{stable} failed more each of the three times {canary} got more traffic")
        }
    }
}

fn mirror_unseen(expected: u64, seen: (bool, bool), versions: &Versions) -> String {
    let Versions { stable, canary } = versions;
    let none = format!("none of about {expected} mirrored requests was seen");
    let (what, whose) = match seen {
        (false, false) => (none, "neither version's own proxy is".to_owned()),
        (true, false) => (none, format!("{canary}'s own proxy is not")),
        (_, true) => (
            format!("nothing to compare about {expected} mirrored requests with"),
            format!("{stable}'s own proxy is not"),
        ),
    };
    format!("{what}: {whose} in the metrics (reporter=\"destination\")")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::ForeignChange;

    fn text(reason: impl Into<Reason>) -> String {
        let versions = Versions {
            stable: "v1".into(),
            canary: "v2".into(),
        };
        super::reason(&reason.into(), &versions)
    }

    #[test]
    fn findings_are_sentences_about_the_two_versions() {
        use verdict::AnalysisReason::*;
        let slow = Subject::SlowerThan { bound_ms: 250.0 };
        let bounded = |subject, excess| Bounded {
            subject,
            ratio: 1.5,
            excess,
            confidence: 0.95,
        };
        for (reason, expected) in [
            (
                OnHold {
                    hold: Hold::Incident,
                },
                "v1 (stable) is failing: analysis on hold",
            ),
            (
                OddShare {
                    got: 0.34,
                    set: 0.1,
                },
                "v2 gets 34 % of the requests at a weight of 10 %: callers that do not follow these routes reach it",
            ),
            (
                OddShare {
                    got: 0.012_3,
                    set: 0.1,
                },
                "v2 gets 1.2 % of the requests at a weight of 10 %",
            ),
            (
                bounded(Subject::Failures, 0.005),
                "v2's error rate is at most 1.5x v1's + 0.5 pp (95 % confidence)",
            ),
            (
                bounded(slow, 0.02),
                "v2's rate of requests over 250 ms is at most 1.5x v1's + 2 pp (95 % confidence)",
            ),
            (
                Unbounded {
                    subject: Subject::Failures,
                },
                "too few requests to judge v2",
            ),
            (
                RegressionEvidence {
                    subject: Subject::Failures,
                    evidence: 2.81,
                    needed: 4.605,
                },
                "regression evidence 2.8 (rolls back at 4.6)",
            ),
            (
                FailsOperation {
                    operation: Some("checkout".into()),
                    stable: verdict::Counts {
                        requests: 350,
                        failures: 0,
                    },
                    canary: verdict::Counts {
                        requests: 40,
                        failures: 31,
                    },
                },
                "v2 fails 31 of 40 requests of checkout, v1 0 of 350",
            ),
            (
                RegressionEvidence {
                    subject: Subject::FailedIn { operation: None },
                    evidence: 5.0,
                    needed: 4.605,
                },
                "regression evidence from other operations 5.0 (rolls back at 4.6)",
            ),
            (
                OverLimit {
                    rate: 0.2,
                    limit: 0.01,
                },
                "v2's error rate is 20 %, the limit is 1 %",
            ),
            (
                OverMargin {
                    canary: 0.05,
                    stable: 0.001,
                    margin: 0.01,
                },
                "v2's error rate is 5 %, v1's 0.1 %, the margin is 1 pp",
            ),
            (
                BothFail {
                    canary: 0.33,
                    stable: 0.3333,
                },
                "both versions fail: v2 33 %, v1 33 %; v2 is not to blame",
            ),
            (
                TooFewStableRequests {
                    requests: 10,
                    needed: 100,
                },
                "v1 had 10 of 100 requests needed",
            ),
        ] {
            assert_eq!(text(reason), expected);
        }
    }

    #[test]
    fn what_a_rollout_meets_is_named() {
        for (reason, expected) in [
            (
                Reason::CanaryDown {
                    pods: 0,
                    crashing: false,
                },
                "v2 has no pods left",
            ),
            (
                Reason::CanaryDown {
                    pods: 1,
                    crashing: false,
                },
                "the only pod of v2 is not ready",
            ),
            (
                Reason::CanaryDown {
                    pods: 2,
                    crashing: true,
                },
                "none of the 2 pods of v2 is ready (crash loop)",
            ),
            (
                Reason::MirrorUnseen {
                    expected: 120,
                    stable_seen: true,
                    canary_seen: false,
                },
                "none of about 120 mirrored requests was seen: v2's own proxy is not in the metrics (reporter=\"destination\")",
            ),
            (
                Reason::MirrorUnseen {
                    expected: 120,
                    stable_seen: false,
                    canary_seen: true,
                },
                "nothing to compare about 120 mirrored requests with: v1's own proxy is not in the metrics (reporter=\"destination\")",
            ),
            (
                Reason::Drift {
                    manager: "argocd\u{1b}".into(),
                    drift: ForeignChange::StateRemoved.into(),
                },
                "argocd^[ changed the routes: the rollout state was removed",
            ),
        ] {
            assert_eq!(text(reason), expected);
        }
    }

    #[test]
    fn percentage_points_are_short() {
        let table = [(0.0005, "0.05"), (0.005, "0.5"), (0.4, "40"), (0.02, "2")];
        for (share, text) in table {
            assert_eq!(percentage_points(share), text);
        }
    }
}
