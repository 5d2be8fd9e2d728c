//! Watches: what happened, in order, from a version on.

use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::Client;
use kube::api::{DynamicObject, WatchEvent, WatchParams};
use serde_json::json;

use super::subject::{Subject, weight};

/// Long enough for a real server, no time at all under a paused clock.
const PATIENCE: Duration = Duration::from_secs(10);

async fn next(
    events: &mut (impl Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Unpin),
) -> WatchEvent<DynamicObject> {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next())
            .await
            .expect("an event comes in time")
            .expect("the watch goes on")
            .expect("the event can be read");
        if !matches!(event, WatchEvent::Bookmark(_)) {
            return event;
        }
    }
}

fn only(name: &str) -> WatchParams {
    WatchParams::default()
        .fields(&format!("metadata.name={name}"))
        .timeout(60)
}

pub async fn a_watch_tells_every_change_in_order(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "watched").await;
    let from = subject.now().await["metadata"]["resourceVersion"].clone();
    let set =
        |value: i64| json!([{"op": "add", "path": "/spec/http/0/route/1/weight", "value": value}]);
    subject.patch(set(1)).await.unwrap();

    let params = only("watched");
    let watch = subject.api.watch(&params, from.as_str().unwrap()).await;
    let mut events = pin!(watch.unwrap());
    // One change from before the watch began, the others while it runs.
    for value in [1, 2, 3] {
        if value > 1 {
            subject.patch(set(value)).await.unwrap();
        }
        let WatchEvent::Modified(object) = next(&mut events).await else {
            panic!("a patch is a modification");
        };
        let object = serde_json::to_value(object).unwrap();
        assert_eq!(weight(&object, 1), &json!(value));
        assert_eq!(object["metadata"]["generation"], value + 1);
    }
    subject.remove().await;
    assert!(matches!(next(&mut events).await, WatchEvent::Deleted(_)));
}

pub async fn a_watch_from_nowhere_begins_with_what_there_is(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "watched-anew").await;
    let params = only("watched-anew");
    let watch = subject.api.watch(&params, "0").await;
    let mut events = pin!(watch.unwrap());
    let WatchEvent::Added(object) = next(&mut events).await else {
        panic!("what there is comes as added");
    };
    assert_eq!(object.metadata.name.as_deref(), Some("watched-anew"));
    subject.remove().await;
}

pub async fn a_watch_from_a_forgotten_version_is_told_so(client: Client, namespace: &str) {
    let subject = Subject::make(client, namespace, "watched-late").await;
    let params = only("watched-late");
    let watch = subject.api.watch(&params, "1").await;
    let mut events = pin!(watch.unwrap());
    let WatchEvent::Error(status) = next(&mut events).await else {
        panic!("a version from before the server's memory is an error");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
    subject.remove().await;
}
