//! Patches: what a guarded write may rely on.

use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::subject::{CHANGER, MAKER, Subject, answered, object, virtual_services, weight};

pub async fn a_guarded_patch_moves_weights_and_annotations_in_one_write(
    client: Client,
    namespace: &str,
) {
    let subject = Subject::make(client, namespace, "guarded").await;
    let before = subject.now().await;
    let after = subject
        .patch(json!([
            {"op": "test", "path": "/metadata/uid", "value": before["metadata"]["uid"]},
            {"op": "test", "path": "/spec/http/0/name", "value": "primary"},
            {"op": "test", "path": "/spec/http/0/route/0/weight", "value": 100},
            {"op": "test", "path": "/spec/http/0/route/1", "value": {"destination": {"host": "guarded", "subset": "v2"}}},
            {"op": "test", "path": "/metadata/annotations", "value": null},
            {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 99},
            {"op": "add", "path": "/spec/http/0/route/1/weight", "value": 1},
            {"op": "add", "path": "/metadata/annotations", "value": {}},
            {"op": "add", "path": "/metadata/annotations/example.com~1state", "value": "{}"},
        ]))
        .await
        .unwrap();

    assert_eq!(
        (weight(&after, 0), weight(&after, 1)),
        (&json!(99), &json!(1))
    );
    assert_eq!(
        after["metadata"]["annotations"],
        json!({"example.com/state": "{}"})
    );
    assert_eq!(after["metadata"]["generation"], 2);
    assert_ne!(
        after["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );
    let mut spec = after["spec"].clone();
    spec["http"][0]["route"] = before["spec"]["http"][0]["route"].clone();
    assert_eq!(spec, before["spec"], "nothing but the weights moves");

    let entries = after["metadata"]["managedFields"].as_array().unwrap();
    let by = |manager: &str| {
        let mut entries = entries.iter().filter(|entry| entry["manager"] == manager);
        let entry = entries.next().unwrap();
        assert_eq!(entries.next(), None, "one entry for each manager");
        assert_eq!(entry["operation"], "Update");
        assert_eq!(entry["apiVersion"], "networking.istio.io/v1");
        assert_eq!(entry["fieldsType"], "FieldsV1");
        entry["fieldsV1"].clone()
    };
    // A list without markers belongs whole to who touched it last.
    assert_eq!(
        by(CHANGER),
        json!({
            "f:metadata": {"f:annotations": {".": {}, "f:example.com/state": {}}},
            "f:spec": {"f:http": {}},
        })
    );
    assert_eq!(
        by(MAKER),
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:contract": {}}},
            "f:spec": {".": {}, "f:hosts": {}},
        })
    );
    assert_eq!(subject.now().await, after, "the answer is what is stored");
    subject.remove().await;
}

pub async fn a_failed_test_is_refused_without_saying_which(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "failed-test").await;
    let before = subject.now().await;
    let status = subject
        .patch(json!([
            {"op": "test", "path": "/spec/http/0/route/0/weight", "value": 50},
            {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 51},
        ]))
        .await
        .unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(
        status.message,
        "the server rejected our request due to an error in our request"
    );
    let details = status.details.unwrap();
    assert_eq!((details.name.as_str(), details.causes.len()), ("", 0));
    assert_eq!(subject.now().await, before);
    subject.remove().await;
}

pub async fn a_test_for_null_holds_where_the_member_is_missing(client: Client, namespace: &str) {
    let subject = Subject::annotated(client, namespace, "null-member").await;
    let after = subject
        .patch(json!([
            {"op": "test", "path": "/metadata/annotations/example.com~1state", "value": null},
            {"op": "test", "path": "/spec/http/0/route/1/weight", "value": null},
            {"op": "add", "path": "/metadata/annotations/example.com~1state", "value": "x"},
        ]))
        .await
        .unwrap();
    assert_eq!(after["metadata"]["annotations"]["example.com/state"], "x");
    let again = subject
        .patch(json!([
            {"op": "test", "path": "/metadata/annotations/example.com~1state", "value": null},
            {"op": "add", "path": "/metadata/annotations/example.com~1state", "value": "y"},
        ]))
        .await;
    assert_eq!(again.unwrap_err().code, 422);
    subject.remove().await;
}

pub async fn a_test_for_null_fails_where_the_parent_is_missing(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "null-parent").await;
    let status = subject
        .patch(json!([
            {"op": "test", "path": "/metadata/annotations/example.com~1state", "value": null},
        ]))
        .await
        .unwrap_err();
    assert_eq!(status.code, 422);
    subject.remove().await;
}

pub async fn an_annotation_cannot_be_added_where_there_are_none(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "no-annotations").await;
    let add =
        json!({"op": "add", "path": "/metadata/annotations/example.com~1state", "value": "x"});
    let status = subject.patch(json!([add])).await.unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let map = json!({"op": "add", "path": "/metadata/annotations", "value": {}});
    assert!(subject.patch(json!([map, add])).await.is_ok());
    subject.remove().await;
}

pub async fn replacing_a_missing_weight_sets_it(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "replace-missing").await;
    let after = subject
        .patch(json!([{"op": "replace", "path": "/spec/http/0/route/1/weight", "value": 7}]))
        .await
        .unwrap();
    assert_eq!(weight(&after, 1), &json!(7));
    subject.remove().await;
}

pub async fn an_annotation_alone_leaves_the_generation(client: Client, namespace: &str) {
    let subject = Subject::annotated(client, namespace, "annotation-alone").await;
    let before = subject.now().await;
    let after = subject
        .patch(json!([{"op": "add", "path": "/metadata/annotations/example.com~1state", "value": "x"}]))
        .await
        .unwrap();
    assert_eq!(
        after["metadata"]["generation"],
        before["metadata"]["generation"]
    );
    assert_ne!(
        after["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );
    subject.remove().await;
}

pub async fn a_patch_that_changes_nothing_writes_nothing(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "no-change").await;
    let before = subject.now().await;
    let after = subject
        .patch(json!([
            {"op": "test", "path": "/spec/http/0/route/0/weight", "value": 100},
            {"op": "add", "path": "/spec/http/0/route/0/weight", "value": 100},
        ]))
        .await
        .unwrap();
    assert_eq!(after, before, "neither a version nor a manager moves");
    subject.remove().await;
}

pub async fn a_dry_run_answers_and_writes_nothing(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "dry-run").await;
    let before = subject.now().await;
    let tried = subject
        .try_patch(json!([{"op": "add", "path": "/spec/http/0/route/1/weight", "value": 1}]))
        .await
        .unwrap();
    assert_eq!(weight(&tried, 1), &json!(1));
    assert_eq!(subject.now().await, before);
    let status = subject
        .try_patch(json!([{"op": "test", "path": "/spec/http/0/name", "value": "other"}]))
        .await
        .unwrap_err();
    assert_eq!(status.code, 422);
    subject.remove().await;
}

pub async fn a_merge_patch_with_a_stale_version_conflicts(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "merge-stale").await;
    let stale = subject.now().await["metadata"]["resourceVersion"].clone();
    let send = async |version: Option<&Value>, owner: &str| {
        let mut patch = json!({"metadata": {"annotations": {"example.com/owner": owner}}});
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = version.clone();
        }
        let params = PatchParams::apply(CHANGER);
        let patch = Patch::Merge(patch);
        answered(subject.api.patch(subject.name, &params, &patch).await)
    };
    assert!(send(Some(&stale), "a").await.is_ok());
    let status = send(Some(&stale), "b").await.unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert!(send(None, "c").await.is_ok());
    subject.remove().await;
}

pub async fn every_served_version_is_the_same_object(client: Client, namespace: &str) {
    let subject = Subject::make(client.clone(), namespace, "versions").await;
    let older = Subject {
        api: virtual_services(client, namespace, "v1beta1"),
        name: subject.name,
    };
    let seen = older.now().await;
    assert_eq!(seen["apiVersion"], "networking.istio.io/v1beta1");
    assert_eq!(seen["spec"], object("versions")["spec"]);
    let patched = older
        .patch(json!([{"op": "add", "path": "/spec/http/0/route/1/weight", "value": 1}]))
        .await
        .unwrap();
    assert_eq!(patched["apiVersion"], "networking.istio.io/v1beta1");
    let now = subject.now().await;
    assert_eq!(now["apiVersion"], "networking.istio.io/v1");
    assert_eq!(weight(&now, 1), &json!(1));
    subject.remove().await;
}

pub async fn a_patch_of_a_missing_object_is_not_found(client: Client, namespace: &str) {
    let subject = Subject {
        api: virtual_services(client, namespace, "v1"),
        name: "never-made",
    };
    let status = subject
        .patch(json!([{"op": "add", "path": "/metadata/labels", "value": {}}]))
        .await
        .unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"));
}

pub async fn an_object_keeps_its_identity(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "identity").await;
    let set = |path: &str| json!([{"op": "replace", "path": path, "value": "other"}]);
    let status = subject.patch(set("/metadata/uid")).await.unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(status.details.unwrap().causes[0].field, "metadata.uid");
    let status = subject.patch(set("/metadata/name")).await.unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
    subject.remove().await;
}
