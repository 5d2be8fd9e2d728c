//! Whether there are metrics, how old they are, and whether Prometheus' clock agrees with ours.

use jiff::SignedDuration;

use super::prometheus_search::PrometheusSearch;
use super::role::role_rule;
use super::{Facts, Samples};
use crate::metrics::{Flaw, MetricsError, MetricsWarning, MixedLabel, RefusedBy, Unclaimed};
use crate::plan::{Finding, HumanDuration, Level, shell_word};
use crate::verdict::sequential::History;

/// After how many scrapes without a sample the metrics count as old.
const OLD_AFTER: i32 = 3;
/// How often Prometheus scrapes where that cannot be seen: its own default.
const USUAL_SCRAPE: SignedDuration = SignedDuration::from_mins(1);
/// Clocks that are no further apart than this are one clock.
const SAME_CLOCK: SignedDuration = SignedDuration::from_secs(2);

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = of_prometheus(facts);
    if facts.sampled_pods.is_some() {
        for finding in &mut findings {
            if finding.level == Level::Refuse {
                finding.level = Level::Warn;
                finding.why = Some(NO_HISTORY.to_owned());
            }
        }
    }
    findings
}

/// What the pods do not make up for.
const NO_HISTORY: &str =
    "what stable did before is unknown: a verdict takes longer, and slow requests are not judged";

fn of_prometheus(facts: &Facts) -> Vec<Finding> {
    let search = facts.search.as_ref();
    if let Some(ambiguous) = search.and_then(PrometheusSearch::ambiguous) {
        return vec![ambiguous];
    }
    match &facts.samples {
        None => Vec::new(),
        Some(Err(error)) => vec![unavailable(error, search)],
        Some(Ok(samples)) => {
            let warnings = samples.warnings.iter().map(limited);
            std::iter::once(of(facts, samples))
                .chain(shortened(samples))
                .chain(search.and_then(PrometheusSearch::finding))
                .chain(warnings)
                .collect()
        }
    }
}

/// Where many series are added up the past is read for as long as that may take.
fn shortened(samples: &Samples) -> Option<Finding> {
    let is_short = samples.added_up.is_some() && samples.depth < History::SHORTEST;
    is_short.then(|| {
        let (read, usual) = (spoken(samples.depth), spoken(History::SHORTEST));
        Finding::ok(format!(
            "the past of stable was read {read} back instead of {usual}: more of so many series takes too long"
        ))
    })
}

/// What a verdict would not see.
fn limited(warning: &MetricsWarning) -> Finding {
    let (why, fix) = match warning {
        MetricsWarning::OnlyDestination => (
            "a canary that answers nobody would show no requests at all",
            "scrape the callers' proxies and gateways too (reporter=\"source\")",
        ),
        MetricsWarning::NoDurations { .. } => (
            "a canary that is only slower would be promoted",
            "scrape istio_request_duration_milliseconds_bucket, or --ignore-latency",
        ),
        MetricsWarning::SomeWithoutCode => (
            "a canary that fails could be promoted",
            "keep the label response_code: Telemetry tagOverrides, metric_relabel_configs",
        ),
        MetricsWarning::Sums => (
            "while gateways or callers scale, a verdict takes longer",
            "keep pod or instance in the recording rule, or --prometheus with the store that has the proxies' own series",
        ),
        MetricsWarning::OtherWorkloads { .. } => (
            "its requests would be seen as neither version's",
            "label version on the pods and destination_workload or destination_version in the metrics, with the same names",
        ),
        MetricsWarning::SamplesLeftOut { .. } | MetricsWarning::Server { .. } => (
            "a verdict rests on what is left",
            "the logs of Prometheus and of what it scrapes",
        ),
    };
    Finding::warn(warning.to_string(), why, fix)
}

fn unavailable(error: &MetricsError, search: Option<&PrometheusSearch>) -> Finding {
    let fix = match error {
        // Where it was looked for, it is not known to be the right one.
        MetricsError::TimedOut { .. } | MetricsError::Unavailable { .. } if search.is_some() => {
            "--prometheus URL or NAMESPACE/SERVICE:PORT"
        }
        error => error.fix(),
    };
    let what = match search {
        Some(search) => format!("{}; {}", error.what(), search.failures()),
        None => error.what(),
    };
    let finding = Finding::refuse(what, "without metrics there is no analysis", fix);
    match error {
        MetricsError::Forbidden {
            by: RefusedBy::ApiServer,
            ..
        } => finding.with_snippet(role_rule("", "services/proxy", &["get"])),
        MetricsError::Forbidden {
            by: RefusedBy::PortForward,
            ..
        } => finding.with_snippet(
            [
                role_rule("", "services", &["get"]),
                role_rule("", "pods", &["list"]),
                role_rule("", "pods/portforward", &["get", "create"]),
            ]
            .join("\n"),
        ),
        _ => finding,
    }
}

fn of(facts: &Facts, samples: &Samples) -> Finding {
    let source = &samples.source;
    match &samples.flaw {
        Some(Flaw::Unclaimed(unclaimed)) => return of_others(samples, unclaimed),
        Some(Flaw::Mixed(mixed)) => return of_several(source, mixed),
        Some(Flaw::NoCodes) => {
            return Finding::refuse(
                format!(
                    "no series of {} in {source} has a readable response_code",
                    samples.counted.metric()
                ),
                "failures cannot be told from successes, and any canary would look healthy",
                "keep the label response_code: Telemetry tagOverrides, metric_relabel_configs",
            );
        }
        Some(Flaw::NoGrpcStatus) => {
            return Finding::refuse(
                format!(
                    "no gRPC answer of {} in {source} has a grpc_response_status",
                    samples.counted.metric()
                ),
                "a failed call is 200 as any other, and any canary would look healthy",
                "keep the label grpc_response_status: Telemetry tagOverrides, metric_relabel_configs",
            );
        }
        None => {}
    }
    if samples.series == 0 {
        return Finding::warn(
            format!(
                "{source} has no {} of either version in the last 30m",
                samples.counted.metric()
            ),
            "without requests the analysis is inconclusive",
            "send traffic, or check that the proxies are scraped",
        );
    }
    let added_up = match samples.added_up {
        Some(_) => ", added up by Prometheus",
        None => "",
    };
    let every = match samples.scrape {
        Some(scrape) => format!(", scraped every {}", spoken(scrape)),
        None => String::new(),
    };
    let series = samples.series;
    let Some(newest) = samples.newest else {
        return Finding::ok(format!(
            "{source} has {series} series of the two versions{added_up}{every}"
        ));
    };
    let age = facts.now.duration_since(newest);
    if age < -SAME_CLOCK {
        return Finding::warn(
            format!(
                "the newest sample of {source} is {} ahead of the local clock",
                spoken(-age)
            ),
            "every analysis would be that late",
            "timedatectl set-ntp true, on this machine or where Prometheus runs",
        );
    }
    let scrape = samples.scrape.unwrap_or(USUAL_SCRAPE);
    if age > scrape * OLD_AFTER {
        return Finding::warn(
            format!(
                "the newest sample of {source} is {} old, and it scrapes every {}",
                spoken(age),
                spoken(scrape)
            ),
            "it no longer scrapes the proxies, or the local clock is ahead; the analysis would be inconclusive",
            "compare date -u here and in the cluster, and look at Prometheus' page /targets",
        );
    }
    Finding::ok(format!(
        "{source} has {series} series of the two versions{added_up}{every}, the newest sample {} old",
        spoken(age.max(SignedDuration::ZERO))
    ))
}

/// Requests of the service that are neither version's by their names.
fn of_others(samples: &Samples, Unclaimed { found, wanted }: &Unclaimed) -> Finding {
    let (source, metric) = (&samples.source, samples.counted.metric());
    let (found, wanted) = (found.join(", "), wanted.join(", "));
    Finding::warn(
        format!("{source} has {metric} of {found}, and the pods are {wanted}"),
        "requests of neither version would be seen, and the analysis is inconclusive",
        "label version on the pods and destination_workload or destination_version in the metrics, with the same names",
    )
}

/// A store in which a label that should have one value has several.
fn of_several(source: &str, mixed: &MixedLabel) -> Finding {
    let MixedLabel { label, values, .. } = mixed;
    let first = values.first().map_or("VALUE", String::as_str);
    let flag = match label.as_str() {
        // Each pod has a value of its own.
        "instance" => {
            "one target for each proxy, at port 15020 or 15090, and sums under names of their own"
                .to_owned()
        }
        _ => format!("--query-scope {}", shell_word(&format!("{label}={first}"))),
    };
    let (why, fix) = match mixed.copies {
        true => (
            "every request would count that often, and evidence with it",
            flag,
        ),
        false => (
            "failures in another cluster would be this canary's",
            format!("{flag}, or {label}=* to count all of them"),
        ),
    };
    let what = match mixed.copies {
        true => format!("{source} has the same series under several values of {label}"),
        false => format!("{source} has series with several values of {label}"),
    };
    Finding::refuse(format!("{what}: {}", values.join(", ")), why, fix)
}

/// In whole seconds from one second on.
fn spoken(duration: SignedDuration) -> HumanDuration {
    let exact = HumanDuration::from(duration);
    match duration.as_secs() {
        0 => exact,
        _ => exact.whole_seconds(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Unit;
    use crate::preflight::test_facts::{facts, told};

    fn found(series: usize, age: i64, scrape: Option<i64>) -> Vec<String> {
        let mut facts = facts();
        facts.samples = Some(Ok(Samples {
            counted: Unit::Requests,
            source: "istio-system/prometheus:9090".into(),
            series,
            newest: Some(facts.now - SignedDuration::from_secs(age)),
            scrape: scrape.map(SignedDuration::from_secs),
            callees_report: true,
            flaw: None,
            canary_share: None,
            added_up: None,
            depth: SignedDuration::from_mins(30),
            warnings: Vec::new(),
        }));
        told(check(&facts))
    }

    #[test]
    fn fresh_metrics_are_told_with_their_age() {
        assert_eq!(
            found(8, 3, Some(5)),
            [
                "ok: istio-system/prometheus:9090 has 8 series of the two versions, scraped every 5s, the newest sample 3s old"
            ]
        );
        assert_eq!(
            found(8, -1, None),
            [
                "ok: istio-system/prometheus:9090 has 8 series of the two versions, the newest sample 0s old"
            ]
        );
    }

    #[test]
    fn series_that_are_added_up_are_told_with_how_far_the_past_was_read() {
        let mut facts = facts();
        facts.samples = Some(Ok(Samples {
            counted: Unit::Requests,
            source: "mon/prometheus:9090".into(),
            series: 9000,
            added_up: Some(9000),
            depth: SignedDuration::from_secs(270),
            newest: Some(facts.now - SignedDuration::from_secs(3)),
            scrape: Some(SignedDuration::from_secs(15)),
            callees_report: true,
            flaw: None,
            canary_share: None,
            warnings: Vec::new(),
        }));
        assert_eq!(
            told(check(&facts)),
            [
                "ok: mon/prometheus:9090 has 9000 series of the two versions, added up by Prometheus, scraped every 15s, the newest sample 3s old",
                "ok: the past of stable was read 4m30s back instead of 30m: more of so many series takes too long"
            ]
        );
    }

    #[test]
    fn what_a_verdict_would_not_see_is_a_warning() {
        for (warning, expected) in [
            (
                MetricsWarning::OnlyDestination,
                "warn: only the versions' own proxies report: requests that never reach them are not seen",
            ),
            (
                MetricsWarning::NoDurations {
                    why: "no answer".into(),
                },
                "warn: slow requests are not judged: no answer",
            ),
            (
                MetricsWarning::Server {
                    text: "a store is away".into(),
                },
                "warn: Prometheus warns: a store is away",
            ),
        ] {
            let found = told(vec![limited(&warning)]);
            assert!(found[0].starts_with(expected), "{found:?}");
            assert_eq!(found[0].matches("(try: ").count(), 1, "{found:?}");
        }
    }

    #[test]
    fn what_would_keep_a_verdict_away_is_a_warning() {
        assert_eq!(
            found(0, 0, None),
            [
                "warn: istio-system/prometheus:9090 has no istio_requests_total of either version in the last 30m: without requests the analysis is inconclusive (try: send traffic, or check that the proxies are scraped)"
            ]
        );
        assert_eq!(
            found(8, 240, Some(15)),
            [
                "warn: the newest sample of istio-system/prometheus:9090 is 4m old, and it scrapes every 15s: it no longer scrapes the proxies, or the local clock is ahead; the analysis would be inconclusive (try: compare date -u here and in the cluster, and look at Prometheus' page /targets)"
            ]
        );
        assert_eq!(
            found(8, -40, Some(15)),
            [
                "warn: the newest sample of istio-system/prometheus:9090 is 40s ahead of the local clock: every analysis would be that late (try: timedatectl set-ntp true, on this machine or where Prometheus runs)"
            ]
        );
    }

    #[test]
    fn a_store_of_several_clusters_or_replicas_forbids_the_start() {
        let refused = |label: &str, copies| {
            let values = vec!["a".to_owned(), "b c".to_owned()];
            let mixed = MixedLabel {
                label: label.into(),
                values,
                copies,
            };
            told(vec![of_several("mon/prometheus:9090", &mixed)])
        };
        assert_eq!(
            refused("cluster", false),
            [
                "refuse: mon/prometheus:9090 has series with several values of cluster: a, b c: failures in another cluster would be this canary's (try: --query-scope cluster=a, or cluster=* to count all of them)"
            ]
        );
        assert_eq!(
            refused("replica", true),
            [
                "refuse: mon/prometheus:9090 has the same series under several values of replica: a, b c: every request would count that often, and evidence with it (try: --query-scope replica=a)"
            ]
        );
    }

    #[test]
    fn requests_that_neither_version_claims_are_told_with_both_names() {
        let samples = Samples {
            counted: Unit::Requests,
            source: "mon/prometheus:9090".into(),
            series: 0,
            newest: None,
            scrape: None,
            callees_report: true,
            flaw: None,
            canary_share: None,
            added_up: None,
            depth: SignedDuration::from_mins(30),
            warnings: Vec::new(),
        };
        let unclaimed = Unclaimed {
            found: vec!["reviews-7d9f".into(), "version v3".into()],
            wanted: vec!["reviews-v1".into(), "reviews-v2".into()],
        };
        assert_eq!(
            told(vec![of_others(&samples, &unclaimed)]),
            [
                "warn: mon/prometheus:9090 has istio_requests_total of reviews-7d9f, version v3, and the pods are reviews-v1, reviews-v2: requests of neither version would be seen, and the analysis is inconclusive (try: label version on the pods and destination_workload or destination_version in the metrics, with the same names)"
            ]
        );
    }

    #[test]
    fn metrics_without_response_codes_forbid_the_start() {
        let mut facts = facts();
        facts.samples = Some(Ok(Samples {
            counted: Unit::Requests,
            source: "mon/prometheus:9090".into(),
            series: 8,
            newest: None,
            scrape: None,
            callees_report: true,
            flaw: Some(Flaw::NoCodes),
            canary_share: None,
            added_up: None,
            depth: SignedDuration::from_mins(30),
            warnings: Vec::new(),
        }));
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: no series of istio_requests_total in mon/prometheus:9090 has a readable response_code: failures cannot be told from successes, and any canary would look healthy (try: keep the label response_code: Telemetry tagOverrides, metric_relabel_configs)"
            ]
        );
    }

    #[test]
    fn metrics_that_do_not_answer_forbid_the_start() {
        let mut facts = facts();
        facts.samples = Some(Err(MetricsError::Forbidden {
            at: "mon/prometheus:9090".into(),
            by: RefusedBy::ApiServer,
            message: "services \"prometheus\" is forbidden".into(),
        }));
        assert_eq!(
            told(check(&facts)),
            [
                "refuse: the API server in front of mon/prometheus:9090 does not allow the query: services \"prometheus\" is forbidden: without metrics there is no analysis (try: a Role in Prometheus' namespace with get on services/proxy, or --prometheus URL)\n\
                 - apiGroups: [\"\"]\n  resources: [\"services/proxy\"]\n  verbs: [get]"
            ]
        );
        facts.samples = None;
        assert!(check(&facts).is_empty(), "not asked is not refused");
    }
}
