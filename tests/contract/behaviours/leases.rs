//! Leases: the lock of a driver.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::Status;
use kube::{Client, Error};
use serde_json::{Value, json};

async fn make(client: Client, namespace: &str, name: &str) -> (Api<Lease>, Lease) {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    remove(&api, name).await;
    let made = api
        .create(&PostParams::default(), &lease(name, "one", 15))
        .await;
    (api, made.unwrap())
}

async fn remove(api: &Api<Lease>, name: &str) {
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(Error::Api(status)) if status.code == 404 => {}
        Err(error) => panic!("{error}"),
    }
}

fn lease(name: &str, holder: &str, seconds: i32) -> Lease {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 0,
            "acquireTime": "2026-01-01T00:00:00.123456Z", "renewTime": "2026-01-01T00:00:00.123456Z",
        },
    }))
    .unwrap()
}

fn spec(lease: &Lease) -> Value {
    serde_json::to_value(lease).unwrap()["spec"].clone()
}

fn refusal(answer: kube::Result<Lease>) -> Box<Status> {
    match answer {
        Err(Error::Api(status)) => status,
        other => panic!("no refusal: {other:?}"),
    }
}

pub async fn a_lease_is_created_only_once(client: Client, namespace: &str) {
    let (api, made) = make(client, namespace, "once").await;
    assert_eq!(spec(&made)["renewTime"], "2026-01-01T00:00:00.123456Z");
    let again = api
        .create(&PostParams::default(), &lease("once", "two", 15))
        .await;
    let status = refusal(again);
    assert_eq!(
        (status.code, status.reason.as_str()),
        (409, "AlreadyExists")
    );
    remove(&api, "once").await;
}

pub async fn a_stale_renewal_conflicts(client: Client, namespace: &str) {
    let (api, made) = make(client, namespace, "renewed").await;
    let params = PostParams::default();
    let mut renewed = lease("renewed", "one", 16);
    renewed.metadata.resource_version = made.metadata.resource_version.clone();
    let kept = api.replace("renewed", &params, &renewed).await.unwrap();
    assert_ne!(
        kept.metadata.resource_version,
        made.metadata.resource_version
    );
    let mut late = lease("renewed", "two", 15);
    late.metadata.resource_version = made.metadata.resource_version;
    let status = refusal(api.replace("renewed", &params, &late).await);
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    remove(&api, "renewed").await;
}

pub async fn a_released_lease_can_be_taken(client: Client, namespace: &str) {
    let (api, made) = make(client, namespace, "released").await;
    let params = PostParams::default();
    let mut released = lease("released", "", 1);
    released.metadata.resource_version = made.metadata.resource_version;
    let released = api.replace("released", &params, &released).await.unwrap();
    assert_eq!(spec(&released)["holderIdentity"], "");
    let mut taken = lease("released", "two", 15);
    taken.metadata.resource_version = released.metadata.resource_version;
    let taken = api.replace("released", &params, &taken).await.unwrap();
    assert_eq!(spec(&taken)["holderIdentity"], "two");
    assert_eq!(taken.metadata.uid, made.metadata.uid);
    remove(&api, "released").await;
}

pub async fn a_lease_without_a_duration_is_refused(client: Client, namespace: &str) {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let answer = api
        .create(&PostParams::default(), &lease("no-duration", "one", 0))
        .await;
    let status = refusal(answer);
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(
        status.details.unwrap().causes[0].field,
        "spec.leaseDurationSeconds"
    );
}
