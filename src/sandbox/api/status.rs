//! What the API server says when it says no: its `Status` bodies, word for word.

use serde_json::{Value, json};

use super::kinds::ResourceKind;

/// A refused call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiStatus {
    pub code: u16,
    pub body: ApiStatusBody,
    /// Seconds of a `Retry-After` header.
    pub retry_after: Option<u32>,
}

/// Most refusals are a `Status`; a path that is not served is answered in plain text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ApiStatusBody {
    Status(Value),
    Plain(&'static str),
}

/// One cause in `details.causes`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatusCause {
    pub reason: &'static str,
    pub message: String,
    pub field: String,
}

impl ApiStatus {
    fn status(code: u16, reason: &str, message: impl Into<String>, details: Option<Value>) -> Self {
        let mut body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message.into(),
            "code": code,
        });
        if !reason.is_empty() {
            body["reason"] = json!(reason);
        }
        if let Some(details) = details {
            body["details"] = details;
        }
        Self {
            code,
            body: ApiStatusBody::Status(body),
            retry_after: None,
        }
    }

    pub(crate) fn not_found(kind: &ResourceKind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.resource());
        Self::status(404, "NotFound", message, Some(details(kind, name)))
    }

    /// Credentials that the server does not accept.
    pub(crate) fn unauthorized() -> Self {
        Self::status(401, "Unauthorized", "Unauthorized", None)
    }

    /// A list that was begun too long ago to go on with.
    pub(crate) fn list_expired() -> Self {
        Self::status(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
            None,
        )
    }

    /// A path that no group, version or resource of this server has.
    pub(crate) fn no_such_path() -> Self {
        Self {
            code: 404,
            body: ApiStatusBody::Plain("404 page not found\n"),
            retry_after: None,
        }
    }

    pub(crate) fn already_exists(kind: &ResourceKind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        Self::status(409, "AlreadyExists", message, Some(details(kind, name)))
    }

    /// A write with a stale resourceVersion.
    pub(crate) fn stale(kind: &ResourceKind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn conflict(kind: &ResourceKind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.resource()
        );
        Self::status(409, "Conflict", message, Some(details(kind, name)))
    }

    /// A JSON Patch that does not apply. The API server does not say which operation failed.
    pub(crate) fn patch_does_not_apply() -> Self {
        Self::status(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
            Some(json!({})),
        )
    }

    /// An object that breaks its schema.
    pub(crate) fn invalid(kind: &ResourceKind, name: &str, causes: &[StatusCause]) -> Self {
        let listed: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let listed = match listed.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {listed}", kind.qualified_kind());
        let mut details = json!({"name": name, "kind": kind.kind, "causes": causes.iter().map(|cause| json!({
            "reason": cause.reason, "message": cause.message, "field": cause.field,
        })).collect::<Vec<_>>()});
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        Self::status(422, "Invalid", message, Some(details))
    }

    /// A patched object that cannot be decoded any more. The message names no object.
    pub(crate) fn undecodable(object: &Value, why: &str) -> Self {
        let message = format!("Invalid value: {:?}: {why}", object.to_string());
        let details = json!({"causes": [
            {"reason": "FieldValueInvalid", "message": message, "field": "patch"},
        ]});
        let message = format!(" \"\" is invalid: patch: {message}");
        Self::status(422, "Invalid", message, Some(details))
    }

    /// An identity that a patch tried to change. The API server names the cause twice.
    pub(crate) fn immutable_uid(kind: &ResourceKind, name: &str, uid: &str) -> Self {
        let cause = StatusCause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {uid:?}: field is immutable"),
            field: "metadata.uid".to_owned(),
        };
        let mut refusal = Self::invalid(kind, name, std::slice::from_ref(&cause));
        if let ApiStatusBody::Status(body) = &mut refusal.body
            && let Some(causes) = body["details"]["causes"].as_array_mut()
        {
            causes.extend(causes.clone());
        }
        refusal
    }

    /// A resource that a built-in group does not have.
    pub(crate) fn no_such_resource() -> Self {
        Self::status(
            404,
            "NotFound",
            "the server could not find the requested resource",
            Some(json!({})),
        )
    }

    /// A `dryRun` other than `All`.
    pub(crate) fn unknown_dry_run(given: &str) -> Self {
        let message = format!("Unsupported value: [{given:?}]: supported values: \"All\"");
        let details = json!({"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [
            {"reason": "FieldValueNotSupported", "message": message, "field": "dryRun"},
        ]});
        let message = format!("PatchOptions.meta.k8s.io \"\" is invalid: dryRun: {message}");
        Self::status(422, "Invalid", message, Some(details))
    }

    /// A validating webhook that said no. It sends no reason, and the API server makes it a 400.
    pub(crate) fn webhook_denied(why: &str) -> Self {
        let message =
            format!("admission webhook \"rev.validation.istio.io\" denied the request: {why}");
        Self::status(400, "", message, None)
    }

    /// Istio's validating webhook cannot be reached, and its failure policy is to fail.
    pub(crate) fn webhook_down() -> Self {
        Self::internal(
            "failed calling webhook \"rev.validation.istio.io\": failed to call webhook: Post \
             \"https://istiod.istio-system.svc:443/validate?timeout=10s\": dial tcp 10.96.0.15:443: \
             connect: connection refused",
        )
    }

    pub(crate) fn internal(why: &str) -> Self {
        Self::status(
            500,
            "InternalError",
            format!("Internal error occurred: {why}"),
            Some(json!({"causes": [{"message": why}]})),
        )
    }

    pub(crate) fn bad_request(why: impl Into<String>) -> Self {
        Self::status(400, "BadRequest", why, None)
    }

    pub(crate) fn unsupported_media() -> Self {
        Self::status(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json",
            None,
        )
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::status(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
            Some(json!({})),
        )
    }

    /// A watch from a resourceVersion the server no longer remembers.
    pub(crate) fn expired(asked: u64, oldest: u64) -> Self {
        Self::status(
            410,
            "Expired",
            format!("too old resource version: {asked} ({oldest})"),
            None,
        )
    }

    /// What authorization answers: who may not do what to which resource.
    pub(crate) fn forbidden(attempt: &super::access::AccessAttempt<'_>) -> Self {
        let name = attempt.name.unwrap_or_default();
        let full = attempt.full_resource();
        let place = match attempt.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let subject = if name.is_empty() {
            attempt.qualified_resource()
        } else {
            format!("{} \"{name}\"", attempt.qualified_resource())
        };
        let message = format!(
            "{subject} is forbidden: User \"{}\" cannot {} resource \"{full}\" in API group \"{}\" {place}",
            attempt.user, attempt.verb, attempt.group
        );
        let mut details = json!({"kind": attempt.resource});
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        if !attempt.group.is_empty() {
            details["group"] = json!(attempt.group);
        }
        Self::status(403, "Forbidden", message, Some(details))
    }

    /// An answer of the server's own trouble, by its HTTP status.
    pub(crate) fn trouble(code: u16, retry_after: Option<u32>) -> Self {
        let (reason, message) = match code {
            429 => (
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            ),
            503 => (
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => (
                "Timeout",
                "Timeout: request did not complete within the requested timeout - context deadline exceeded",
            ),
            500 => (
                "InternalError",
                "Internal error occurred: etcdserver: request timed out",
            ),
            _ => ("", "the server could not handle the request"),
        };
        let details = retry_after.map(|seconds| json!({"retryAfterSeconds": seconds}));
        Self {
            retry_after,
            ..Self::status(code, reason, message, details)
        }
    }

    /// A proxied service that cannot be reached.
    pub(crate) fn service_unreachable(why: &str) -> Self {
        Self::status(503, "ServiceUnavailable", why, None)
    }

    /// The body as the API server writes it.
    pub(crate) fn text(&self) -> String {
        match &self.body {
            ApiStatusBody::Status(value) => value.to_string(),
            ApiStatusBody::Plain(text) => (*text).to_owned(),
        }
    }
}

fn details(kind: &ResourceKind, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind.plural});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    details
}
