//! The VirtualService a behaviour is about, and how to look at it.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, Status};
use kube::{Client, Error};
use serde_json::{Value, json};

/// Who makes the objects.
pub const MAKER: &str = "contract-maker";

/// Who changes them.
pub const CHANGER: &str = "contract-changer";

/// One VirtualService with two weighted destinations, 100 and 0, the second without a weight.
pub struct Subject {
    pub api: Api<DynamicObject>,
    pub name: &'static str,
}

/// VirtualServices of a version of Istio's API.
pub fn virtual_services(client: Client, namespace: &str, version: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("networking.istio.io", version, "VirtualService");
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk(&kind))
}

impl Subject {
    /// Makes the object, after removing what an earlier run may have left.
    pub async fn make(client: Client, namespace: &str, name: &'static str) -> Self {
        let api = virtual_services(client, namespace, "v1");
        let subject = Self { api, name };
        subject.remove().await;
        subject.create(json!({})).await;
        subject
    }

    /// Makes the object with annotations.
    pub async fn annotated(client: Client, namespace: &str, name: &'static str) -> Self {
        let api = virtual_services(client, namespace, "v1");
        let subject = Self { api, name };
        subject.remove().await;
        subject.create(json!({"example.com/owner": "shop"})).await;
        subject
    }

    async fn create(&self, annotations: Value) {
        let mut object = object(self.name);
        if annotations != json!({}) {
            object["metadata"]["annotations"] = annotations;
        }
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let params = PostParams {
            field_manager: Some(MAKER.to_owned()),
            ..PostParams::default()
        };
        self.api.create(&params, &object).await.unwrap();
    }

    /// Removes the object, if it is there.
    pub async fn remove(&self) {
        match self.api.delete(self.name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// The object as it is now.
    pub async fn now(&self) -> Value {
        serde_json::to_value(self.api.get(self.name).await.unwrap()).unwrap()
    }

    /// Sends a JSON Patch and returns the object as answered.
    pub async fn patch(&self, operations: Value) -> Result<Value, Box<Status>> {
        self.patch_with(operations, &PatchParams::apply(CHANGER))
            .await
    }

    /// Sends a JSON Patch that is only tried.
    pub async fn try_patch(&self, operations: Value) -> Result<Value, Box<Status>> {
        self.patch_with(operations, &PatchParams::apply(CHANGER).dry_run())
            .await
    }

    async fn patch_with(
        &self,
        operations: Value,
        params: &PatchParams,
    ) -> Result<Value, Box<Status>> {
        let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
        let patch = Patch::Json::<()>(patch);
        answered(self.api.patch(self.name, params, &patch).await)
    }
}

/// An object, or the status with which the server refused.
pub fn answered(answer: kube::Result<DynamicObject>) -> Result<Value, Box<Status>> {
    match answer {
        Ok(object) => Ok(serde_json::to_value(object).unwrap()),
        Err(Error::Api(status)) => Err(status),
        Err(error) => panic!("no answer of the server's: {error}"),
    }
}

/// The VirtualService as it is made.
pub fn object(name: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "labels": {"contract": name}},
        "spec": {
            "hosts": [name],
            "http": [
                {
                    "name": "primary",
                    "route": [
                        {"destination": {"host": name, "subset": "v1"}, "weight": 100},
                        {"destination": {"host": name, "subset": "v2"}},
                    ],
                    "timeout": "5s",
                },
            ],
        },
    })
}

/// The weight of a destination in the first route.
pub fn weight(object: &Value, destination: usize) -> &Value {
    &object["spec"]["http"][0]["route"][destination]["weight"]
}
