//! What Istio's labels say, series by series.

use super::*;

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn service(name: &str) -> BTreeSet<ServiceKey> {
    BTreeSet::from([ServiceKey {
        name: name.into(),
        namespace: "shop".into(),
    }])
}

fn selector(name: &str, workloads: &[&str], versions: &[&str]) -> VersionSelector {
    VersionSelector {
        services: service(name),
        hosts: BTreeSet::new(),
        workloads: set(workloads),
        versions: set(versions),
    }
}

fn labels(text: &str) -> Labels {
    let base = "reporter=source destination_service_name=reviews \
                destination_service_namespace=shop \
                destination_service=reviews.shop.svc.cluster.local";
    base.split_whitespace()
        .chain(text.split_whitespace())
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

#[test]
fn one_query_asks_for_both_and_escapes_everything() {
    let one = Targets::new(
        selector("reviews", &[], &["v1"]),
        selector("reviews", &[], &["v2"]),
    )
    .unwrap();
    assert_eq!(
        one.query("istio_requests_total", "", SignedDuration::from_secs(120)),
        r#"istio_requests_total{destination_service_name=~"(reviews)([.:].*)?",destination_service_namespace=~"shop|unknown"}[120s]"#
    );
    let mut outside = selector("reviews-v2", &[], &[]);
    outside.hosts = set(&[r#"a.b"} or vector(1) or x{y="\"#]);
    let two = Targets::new(selector("reviews-v1", &[], &[]), outside).unwrap();
    assert_eq!(
        two.query("m", "", SignedDuration::from_secs(60)),
        concat!(
            r#"m{destination_service=~"reviews-v1\\.shop\\.svc\\..*|reviews-v2\\.shop\\.svc\\..*|"#,
            r#"a\\.b\"\\} or vector\\(1\\) or x\\{y=\"\\\\"}[60s]"#
        )
    );
}

#[test]
fn series_go_to_the_version_that_claims_them() {
    use SeriesOwner::{Canary, Stable, Unknown};
    let targets = Targets::new(
        selector("reviews", &["reviews-v1"], &["v1"]),
        selector("reviews", &["reviews-v2"], &["v2"]),
    )
    .unwrap();
    let cases = [
        ("destination_workload=reviews-v1", Some(Stable)),
        ("destination_workload=reviews-v2", Some(Canary)),
        // The workload decides where it is known, not the label.
        (
            "destination_workload=reviews-v2 destination_version=v1",
            Some(Canary),
        ),
        ("destination_workload=reviews-v3", None),
        ("destination_workload=reviews", None),
        (
            "destination_workload=unknown destination_version=unknown",
            Some(Unknown),
        ),
        ("destination_version=unknown", Some(Unknown)),
        (
            "destination_workload=reviews-v1 reporter=waypoint",
            Some(Stable),
        ),
        ("destination_workload=reviews-v1 reporter=odd", None),
        ("destination_workload=reviews-v1 response_flags=FI", None),
        // Delayed on purpose, and answered by its version.
        (
            "destination_workload=reviews-v1 response_flags=DI",
            Some(Stable),
        ),
        (
            "destination_workload=unknown response_flags=DC,DI",
            Some(Unknown),
        ),
        // The label was dropped at the scrape.
        ("destination_version=v2", Some(Canary)),
        ("destination_canonical_revision=v2", Some(Canary)),
        ("destination_version=v3", None),
        // No healthy upstream, by Istio's filter up to 1.22: the cluster names the service alone.
        (
            "destination_workload=unknown destination_version=unknown destination_canonical_revision=latest \
             destination_service_namespace=unknown response_flags=UH",
            Some(Unknown),
        ),
        // No cluster, in any version: there is only the host that the caller asked for.
        (
            "destination_workload=unknown destination_service_namespace=unknown response_flags=NC \
             destination_service=reviews destination_service_name=reviews source_workload_namespace=shop",
            Some(Unknown),
        ),
        (
            "destination_workload=unknown destination_service_namespace=unknown response_flags=NR \
             destination_service=reviews.shop:9080 destination_service_name=reviews.shop:9080",
            Some(Unknown),
        ),
        (
            "destination_workload=unknown destination_service_namespace=unknown response_flags=NC \
             destination_service=reviews destination_service_name=reviews source_workload_namespace=bank",
            None,
        ),
        (
            "destination_workload=unknown destination_service_namespace=unknown response_flags=NC \
             destination_service=reviews.bank destination_service_name=reviews.bank",
            None,
        ),
        (
            "destination_workload=reviews-v1 response_flags=UF,URX",
            Some(Stable),
        ),
        (
            "destination_workload=reviews-v1 destination_service=reviews.shop.svc.cluster.local-shadow",
            None,
        ),
        (
            "destination_workload=reviews-v1 destination_service_namespace=other destination_service=x",
            None,
        ),
    ];
    for (text, expected) in cases {
        let owner = targets.owner(&labels(text)).map(|(_, owner)| owner);
        assert_eq!(owner, expected, "{text}");
    }
}

#[test]
fn what_is_mirrored_is_seen_by_the_callees_alone() {
    let targets = Targets::new(
        selector("reviews", &["reviews-v1"], &[]),
        selector("reviews", &["reviews-v2"], &[]),
    )
    .unwrap()
    .seen_by_callees();
    for (text, expected) in [
        (
            "reporter=destination destination_workload=reviews-v1",
            Some(SeriesOwner::Stable),
        ),
        (
            "reporter=destination destination_workload=reviews-v2",
            Some(SeriesOwner::Canary),
        ),
        (
            "reporter=destination destination_workload=reviews-v2 destination_service=reviews.shop.svc.cluster.local-shadow",
            Some(SeriesOwner::Canary),
        ),
        ("reporter=source destination_workload=reviews-v2", None),
        ("reporter=waypoint destination_workload=reviews-v2", None),
        (
            "reporter=destination destination_workload=reviews-v2 response_flags=FI",
            None,
        ),
    ] {
        let owner = targets.owner(&labels(text)).map(|(_, owner)| owner);
        assert_eq!(owner, expected, "{text}");
    }
}

#[test]
fn with_two_hosts_the_host_decides_even_for_the_unreached() {
    let targets = Targets::new(selector("old", &[], &[]), selector("new", &[], &[])).unwrap();
    for (text, expected) in [
        (
            "destination_service_name=old destination_service=o",
            Some(SeriesOwner::Stable),
        ),
        (
            "destination_service_name=new destination_service=n",
            Some(SeriesOwner::Canary),
        ),
        (
            "destination_service_name=new destination_service=n destination_workload=unknown",
            Some(SeriesOwner::Canary),
        ),
        (
            "destination_service_name=elsewhere destination_service=e",
            None,
        ),
        // A proxy that lost the name still gives the host.
        (
            "destination_service_name= destination_service=new.shop.svc.cluster.local",
            Some(SeriesOwner::Canary),
        ),
    ] {
        let owner = targets.owner(&labels(text)).map(|(_, owner)| owner);
        assert_eq!(owner, expected, "{text}");
    }
}

#[test]
fn failures_are_what_the_rule_says() {
    for (text, expected) in [
        ("response_code=200", false),
        ("response_code=200 grpc_response_status=0", false),
        ("response_code=200 grpc_response_status=14", true),
        ("response_code=200 grpc_response_status=16", true),
        ("response_code=200 grpc_response_status=17", false),
        ("response_code=200 grpc_response_status=", false),
        ("response_code=404", false),
        ("response_code=503 response_flags=UH", true),
        ("response_code=0 response_flags=DC", true),
        ("response_code=50", false),
        ("response_code=5xx", true),
        ("", false),
    ] {
        assert_eq!(
            Unit::Requests.is_failure(&labels(text), &FailureRule::default()),
            expected,
            "{text}"
        );
    }
}

#[test]
fn versions_that_cannot_be_told_apart_are_refused() {
    let nowhere = VersionSelector::default();
    assert_eq!(
        Targets::new(selector("a", &[], &[]), nowhere),
        Err(TargetsError::Nowhere("canary"))
    );
    assert_eq!(
        Targets::new(selector("a", &[], &["v1"]), selector("a", &[], &[])),
        Err(TargetsError::Indistinguishable)
    );
    assert_eq!(
        Targets::new(
            selector("a", &["w"], &["v1"]),
            selector("a", &["w"], &["v2"])
        ),
        Err(TargetsError::Shared("w".into()))
    );
    assert_eq!(
        Targets::new(
            selector("a", &[], &["latest"]),
            selector("a", &[], &["latest"])
        ),
        Err(TargetsError::Shared("latest".into()))
    );
    // Workloads known for one version only: both are told apart by the label.
    let mixed = Targets::new(selector("a", &["w"], &["v1"]), selector("a", &[], &["v2"])).unwrap();
    assert!(mixed.stable.workloads.is_empty());
}
