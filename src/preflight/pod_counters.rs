//! Whether the versions' pods show their proxies' counters, where these are read from them.

use super::Facts;
use super::role::{role, role_rule};
use super::sampled_pods::SampledPods;
use crate::metrics::MetricsError;
use crate::plan::Finding;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(versions) = &facts.sampled_pods else {
        return Vec::new();
    };
    if let Some(error) = versions.iter().find_map(|version| version.clone().silent()) {
        return vec![unread(&error, facts.vs.namespace())];
    }
    let of = |version: &SampledPods| match version {
        SampledPods { read, pods, .. } if read == pods => {
            format!("{} of {}", counted(*pods), version.version)
        }
        SampledPods { read, pods, .. } => {
            format!("{read} of {} of {}", counted(*pods), version.version)
        }
    };
    let [stable, canary] = versions.each_ref().map(of);
    let mut findings = vec![Finding::ok(format!(
        "the counters are read from {stable} and {canary}, once a second; requests that reach no pod are not seen"
    ))];
    findings.extend(versions.iter().filter_map(partly));
    if versions[0].series == 0 && versions[0].answered > 0 {
        findings.push(Finding::warn(
            format!(
                "the pods of {} have counted no requests yet",
                versions[0].version
            ),
            "without requests the analysis is inconclusive",
            "send traffic, or check that Istio's sidecar is in the pods",
        ));
    }
    findings
}

fn counted(pods: usize) -> String {
    match pods {
        1 => "1 pod".to_owned(),
        pods => format!("{pods} pods"),
    }
}

fn unread(error: &MetricsError, namespace: &str) -> Finding {
    let why = "without metrics there is no analysis";
    match error {
        MetricsError::PodsUnread {
            forbidden: true, ..
        } => Finding::refuse(error.what(), why, role(namespace, &["get"], "pods/proxy"))
            .with_snippet(role_rule("", "pods/proxy", &["get"])),
        error => Finding::refuse(error.what(), why, error.fix()),
    }
}

fn partly(version: &SampledPods) -> Option<Finding> {
    let problem = version.problem.as_ref()?;
    let silent = version.read - version.answered;
    Some(Finding::warn(
        format!(
            "{silent} of {} of {} did not answer: {}",
            counted(version.read),
            version.version,
            problem.why
        ),
        "a verdict rests on the others",
        "kubectl get pods, for what is wrong with it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{CallError, ErrorKind};
    use crate::preflight::test_facts::{facts, told};

    fn of(version: &str, pods: usize, answered: usize, problem: Option<ErrorKind>) -> SampledPods {
        SampledPods {
            version: version.into(),
            pods,
            read: pods.min(10),
            answered,
            series: answered,
            problem: problem.map(|kind| CallError {
                kind,
                attempted: "get port 15090".into(),
                why: "no".into(),
            }),
        }
    }

    fn found(stable: SampledPods, canary: SampledPods) -> Vec<String> {
        let mut facts = facts();
        facts.sampled_pods = Some([stable, canary]);
        told(check(&facts))
    }

    #[test]
    fn what_is_read_is_told_with_how_much_of_it() {
        assert_eq!(
            found(
                of("v1", 50, 9, Some(ErrorKind::Unknown)),
                of("v2", 1, 1, None)
            ),
            [
                "ok: the counters are read from 10 of 50 pods of v1 and 1 pod of v2, once a second; requests that reach no pod are not seen",
                "warn: 1 of 10 pods of v1 did not answer: no: a verdict rests on the others (try: kubectl get pods, for what is wrong with it)",
            ]
        );
        let idle = SampledPods {
            series: 0,
            ..of("v1", 2, 2, None)
        };
        assert!(
            found(idle, of("v2", 1, 1, None))[1]
                .starts_with("warn: the pods of v1 have counted no")
        );
    }

    #[test]
    fn a_version_whose_pods_are_silent_is_refused_with_the_way_out() {
        assert_eq!(
            found(
                of("v1", 3, 3, None),
                of("v2", 1, 0, Some(ErrorKind::Unknown))
            ),
            [
                "refuse: no pod of v2 shows its proxy's counters: no: without metrics there is no analysis (try: pods with Istio's sidecar, whose port 15090 the API server can reach)"
            ]
        );
        assert_eq!(
            found(
                of("v1", 3, 0, Some(ErrorKind::Forbidden)),
                of("v2", 1, 1, None)
            ),
            [
                "refuse: no pod of v1 shows its proxy's counters: no: without metrics there is no analysis (try: a Role in namespace shop with get on pods/proxy)\n- apiGroups: [\"\"]\n  resources: [\"pods/proxy\"]\n  verbs: [get]"
            ]
        );
    }
}
