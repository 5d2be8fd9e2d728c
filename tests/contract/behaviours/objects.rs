//! Objects: found, not found, taken, stale, chosen, reviewed.

use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, Error};
use serde_json::json;

use super::subject::{Subject, answered, object, virtual_services};

pub async fn a_missing_object_is_named(client: Client, namespace: &str) {
    let api = virtual_services(client, namespace, "v1");
    let status = answered(api.get("never-made").await).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (404, "NotFound"));
    assert_eq!(
        status.message,
        "virtualservices.networking.istio.io \"never-made\" not found"
    );
    let details = status.details.unwrap();
    assert_eq!(details.name, "never-made");
    assert_eq!(details.group, "networking.istio.io");
    assert_eq!(details.kind, "virtualservices");
}

pub async fn an_unknown_group_is_not_found(client: Client, namespace: &str) {
    let path = format!("/apis/nobody.example.com/v1/namespaces/{namespace}/things");
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    match client.request_text(request).await.unwrap_err() {
        Error::Api(status) => assert_eq!(status.code, 404),
        error => panic!("no answer of the server's: {error}"),
    }
}

pub async fn a_name_that_is_taken_is_refused(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "taken").await;
    let again = serde_json::from_value(object("taken")).unwrap();
    let status = answered(subject.api.create(&PostParams::default(), &again).await).unwrap_err();
    assert_eq!(
        (status.code, status.reason.as_str()),
        (409, "AlreadyExists")
    );
    subject.remove().await;
}

pub async fn a_stale_update_conflicts(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "stale").await;
    let mut first = subject.api.get("stale").await.unwrap();
    let mut second = first.clone();
    first.data["spec"]["http"][0]["route"][0]["weight"] = json!(90);
    second.data["spec"]["http"][0]["route"][0]["weight"] = json!(80);
    let params = PostParams::default();
    let updated = answered(subject.api.replace("stale", &params, &first).await).unwrap();
    assert_eq!(updated["metadata"]["generation"], 2);
    let status = answered(subject.api.replace("stale", &params, &second).await).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on virtualservices.networking.istio.io \"stale\": the object has \
         been modified; please apply your changes to the latest version and try again"
    );
    subject.remove().await;
}

pub async fn an_update_without_a_version_is_refused(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "versionless").await;
    let update = serde_json::from_value(object("versionless")).unwrap();
    let answer = subject
        .api
        .replace("versionless", &PostParams::default(), &update)
        .await;
    let status = answered(answer).unwrap_err();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(
        status.details.unwrap().causes[0].field,
        "metadata.resourceVersion"
    );
    subject.remove().await;
}

pub async fn selectors_choose(client: Client, namespace: &str) {
    let one = Subject::make(client.clone(), namespace, "select-one").await;
    let two = Subject::make(client, namespace, "select-two").await;
    for params in [
        ListParams::default().labels("contract=select-two"),
        ListParams::default().labels("contract in (select-one, select-two),contract!=select-one"),
        ListParams::default().fields("metadata.name=select-two"),
    ] {
        let list = one.api.list(&params).await.unwrap();
        let names: Vec<_> = list
            .items
            .iter()
            .filter_map(|item| item.metadata.name.as_deref())
            .collect();
        assert_eq!(names, ["select-two"]);
        assert!(list.metadata.resource_version.is_some());
    }
    one.remove().await;
    two.remove().await;
}

pub async fn a_deleted_object_is_gone(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "deleted").await;
    subject.remove().await;
    let deleted = subject
        .api
        .delete("deleted", &DeleteParams::default())
        .await;
    match deleted.unwrap_err() {
        Error::Api(status) => assert_eq!(status.code, 404),
        error => panic!("no answer of the server's: {error}"),
    }
}

pub async fn a_review_tells_what_is_allowed(client: Client, namespace: &str) {
    let review = serde_json::from_value(json!({
        "metadata": {},
        "spec": {"resourceAttributes": {
            "namespace": namespace, "verb": "patch",
            "group": "networking.istio.io", "resource": "virtualservices",
        }},
    }))
    .unwrap();
    let api: Api<SelfSubjectAccessReview> = Api::all(client);
    let reviewed = api.create(&PostParams::default(), &review).await.unwrap();
    assert!(reviewed.status.unwrap().allowed);
}

pub async fn a_field_that_cannot_select_is_refused(client: Client, namespace: &str) {
    let api = virtual_services(client, namespace, "v1");
    let params = ListParams::default().fields("spec.hosts=x");
    match api.list(&params).await.unwrap_err() {
        Error::Api(status) => {
            assert_eq!((status.code, status.reason.as_str()), (400, "BadRequest"));
        }
        error => panic!("no answer of the server's: {error}"),
    }
}
