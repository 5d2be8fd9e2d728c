//! Asking what we may do before doing half of it.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::core::Request;
use kube::core::params::PostParams;

use super::Cluster;
use super::call::{CallError, ErrorKind};

/// Something that a rollout needs to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// `get`, `patch`, ...
    pub verb: &'static str,
    /// The API group.
    pub group: &'static str,
    /// The plural name of the resource.
    pub resource: &'static str,
}

impl Permission {
    /// To move weights.
    pub const PATCH_ROUTES: Self = Self {
        verb: "patch",
        group: "networking.istio.io",
        resource: "virtualservices",
    };
    /// To notice what others do.
    pub const WATCH_ROUTES: Self = Self {
        verb: "watch",
        ..Self::PATCH_ROUTES
    };
    /// To notice at once that the canary dies.
    pub const WATCH_PODS: Self = Self {
        verb: "watch",
        group: "",
        resource: "pods",
    };
    /// To see whether another driver lives.
    pub const GET_LEASES: Self = Self {
        verb: "get",
        group: "coordination.k8s.io",
        resource: "leases",
    };
    /// To be seen as the driver.
    pub const CREATE_LEASES: Self = Self {
        verb: "create",
        ..Self::GET_LEASES
    };
    /// To stay the driver.
    pub const UPDATE_LEASES: Self = Self {
        verb: "update",
        ..Self::GET_LEASES
    };
}

impl Cluster {
    /// The name that the cluster knows the caller by.
    ///
    /// RBAC: `create` on `selfsubjectreviews`, which everybody who is authenticated has.
    ///
    /// # Errors
    /// See [`CallError`]; clusters before Kubernetes 1.28 do not serve it.
    pub async fn caller(&self) -> Result<String, CallError> {
        let attempted = "ask for the name of the caller";
        let unusable = |why: String| CallError::new(ErrorKind::Refused, attempted, why);
        let body = serde_json::to_vec(&SelfSubjectReview::default())
            .map_err(|error| unusable(error.to_string()))?;
        let request = Request::new("/apis/authentication.k8s.io/v1/selfsubjectreviews")
            .create(&PostParams::default(), body);
        let answer: SelfSubjectReview = self.send(attempted, request).await?;
        let user = answer.status.and_then(|status| status.user_info);
        let name = user.and_then(|user| user.username);
        name.filter(|name| !name.is_empty())
            .ok_or_else(|| unusable("the response has no name".into()))
    }

    /// Whether we have `permission` in `namespace`.
    ///
    /// RBAC: none; everybody may ask for themselves.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn may(&self, permission: Permission, namespace: &str) -> Result<bool, CallError> {
        let attempted = format!(
            "ask for the permission to {} {}",
            permission.verb, permission.resource
        );
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    verb: Some(permission.verb.to_owned()),
                    group: Some(permission.group.to_owned()),
                    resource: Some(permission.resource.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let body = serde_json::to_vec(&review)
            .map_err(|error| CallError::new(ErrorKind::Refused, &attempted, error.to_string()))?;
        let request = Request::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .create(&PostParams::default(), body);
        let answer: SelfSubjectAccessReview = self.send(&attempted, request).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
