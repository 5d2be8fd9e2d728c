//! What is refused in a VirtualService, by the schema and by the mesh's own webhook.

use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};

use super::subject::{Subject, weight};

fn weights(stable: Value, canary: Value) -> Value {
    json!([
        {"op": "add", "path": "/spec/http/0/route/0/weight", "value": stable},
        {"op": "add", "path": "/spec/http/0/route/1/weight", "value": canary},
    ])
}

/// The refusal of these weights; the object must stay as it was.
async fn refused(subject: &Subject, stable: Value, canary: Value) -> Box<Status> {
    let before = subject.now().await;
    let status = subject.patch(weights(stable, canary)).await.unwrap_err();
    assert_eq!(subject.now().await, before);
    status
}

pub async fn a_weight_of_the_wrong_type_breaks_the_schema(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "wrong-type").await;
    let status = refused(&subject, json!("99"), json!(1)).await;
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let details = status.details.unwrap();
    assert_eq!(details.name, "wrong-type");
    assert_eq!(details.kind, "VirtualService");
    assert_eq!(details.causes[0].field, "spec.http[0].route[0].weight");
    subject.remove().await;
}

/// The webhook's refusal is a 400 and says so in its message.
fn assert_denied(status: &Status, why: &str) {
    assert_eq!(status.code, 400);
    assert!(
        status.message.contains("admission webhook")
            && status.message.contains("denied the request"),
        "{}",
        status.message
    );
    assert!(status.message.contains(why), "{}", status.message);
}

pub async fn a_negative_weight_is_denied_by_the_mesh(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "negative").await;
    let status = refused(&subject, json!(101), json!(-1)).await;
    assert_denied(&status, "weight -1 < 0");
    subject.remove().await;
}

pub async fn a_total_of_nothing_is_denied_by_the_mesh(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "nothing").await;
    let status = refused(&subject, json!(0), json!(0)).await;
    assert_denied(&status, "total destination weight = 0");
    subject.remove().await;
}

pub async fn a_large_total_is_accepted(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "large").await;
    let after = subject
        .patch(weights(json!(9900), json!(100)))
        .await
        .unwrap();
    assert_eq!(weight(&after, 0), &json!(9900));
    subject.remove().await;
}

pub async fn a_dry_run_is_validated_too(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "dry-denied").await;
    let status = subject
        .try_patch(weights(json!(0), json!(0)))
        .await
        .unwrap_err();
    assert_denied(&status, "total destination weight = 0");
    subject.remove().await;
}

pub async fn an_annotation_must_be_a_string(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "no-string").await;
    let add = json!({"op": "add", "path": "/metadata/annotations", "value": {"example.com/n": 1}});
    let status = subject.patch(json!([add])).await.unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(status.details.unwrap().causes[0].field, "patch");
    subject.remove().await;
}
