//! One request against the state of the world: discovery, reads and writes of objects.

use serde_json::{Value, json};

use super::access::AccessAttempt;
use super::discovery::{self, Discovery};
use super::kinds::{ResourceKind, shown};
use super::list_page::ListPage;
use super::patch::ObjectPatch;
use super::route::{ApiRoute, QueryParams, ResourcePath};
use super::selector::ObjectSelector;
use super::status::ApiStatus;
use super::store::Write;
use super::table;
use super::watch_stream::WatchStream;
use crate::sandbox::state::WorldState;

/// A request, as far as it matters here.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub verb: &'a str,
    pub route: &'a ApiRoute<'a>,
    pub query: &'a QueryParams,
    pub accept: &'a str,
    pub content_type: &'a str,
    pub user: &'a str,
    pub user_agent: &'a str,
    pub body: &'a [u8],
}

/// What a request is answered with.
pub(crate) enum Reply {
    Json(u16, Value),
    /// JSON of a media type of its own.
    Typed(Value, &'static str),
    Text(String),
    Watch(Box<WatchStream>),
}

/// The verb of a request, as authorization and the journal know it.
pub(crate) fn verb(method: &str, route: &ApiRoute<'_>, query: &QueryParams) -> &'static str {
    let named = matches!(
        route,
        ApiRoute::Object(ResourcePath { name: Some(_), .. })
            | ApiRoute::Proxy(_)
            | ApiRoute::PodProxy(_)
            | ApiRoute::PortForward(_)
    );
    let object = matches!(
        route,
        ApiRoute::Object(_)
            | ApiRoute::Proxy(_)
            | ApiRoute::PodProxy(_)
            | ApiRoute::PortForward(_)
            | ApiRoute::AccessReview
            | ApiRoute::SelfReview
    );
    match method {
        "GET" if matches!(route, ApiRoute::Object(_)) && query.is_set("watch") => "watch",
        "GET" if object && !named => "list",
        "POST" if object => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        "POST" => "post",
        _ => "get",
    }
}

/// Carries a request out.
pub(crate) fn perform(state: &mut WorldState, request: &Request<'_>) -> Result<Reply, ApiStatus> {
    let served = |kind: &ResourceKind, version: &str| state.serves(kind, version);
    let discovery = Discovery { served };
    let aggregated =
        request.accept.contains("as=APIGroupDiscoveryList") && request.accept.contains("v=v2;");
    let found = |answer: Option<Value>| {
        answer
            .map(|value| Reply::Json(200, value))
            .ok_or_else(ApiStatus::no_such_path)
    };
    match request.route {
        ApiRoute::Version => Ok(Reply::Json(200, discovery::version())),
        ApiRoute::Health => Ok(Reply::Text("ok".to_owned())),
        ApiRoute::Core | ApiRoute::Groups if aggregated => {
            let core = matches!(request.route, ApiRoute::Core);
            Ok(Reply::Typed(
                discovery.aggregated(core),
                discovery::AGGREGATED,
            ))
        }
        ApiRoute::Core => Ok(Reply::Json(200, discovery.core())),
        ApiRoute::Groups => Ok(Reply::Json(200, discovery.group_list())),
        ApiRoute::Group(group) => found(discovery.group(group)),
        ApiRoute::Resources(group, version) => found(discovery.resources(group, version)),
        ApiRoute::AccessReview if request.verb == "create" => {
            let review = body(request)?;
            Ok(Reply::Json(201, state.access.review(request.user, review)))
        }
        ApiRoute::Object(target) => {
            authorize(state, request, target)?;
            object(state, request, target)
        }
        ApiRoute::SelfReview if request.verb == "create" => {
            let attempt = AccessAttempt {
                user: request.user,
                verb: request.verb,
                group: "authentication.k8s.io",
                resource: "selfsubjectreviews",
                subresource: None,
                namespace: None,
                name: None,
            };
            if !state.access.allows(&attempt) {
                return Err(ApiStatus::forbidden(&attempt));
            }
            let mut review = body(request)?;
            review["status"] = json!({"userInfo": {"username": request.user}});
            Ok(Reply::Json(201, review))
        }
        ApiRoute::AccessReview | ApiRoute::SelfReview => Err(ApiStatus::method_not_allowed()),
        ApiRoute::NoSuchResource => Err(ApiStatus::no_such_resource()),
        ApiRoute::Proxy(_)
        | ApiRoute::PodProxy(_)
        | ApiRoute::PortForward(_)
        | ApiRoute::Prometheus(_)
        | ApiRoute::Unknown => Err(ApiStatus::no_such_path()),
    }
}

fn authorize(
    state: &WorldState,
    request: &Request<'_>,
    target: &ResourcePath<'_>,
) -> Result<(), ApiStatus> {
    let attempt = AccessAttempt {
        user: request.user,
        verb: request.verb,
        group: target.kind.group,
        resource: target.kind.plural,
        subresource: target.subresource,
        namespace: target.namespace,
        name: target.name,
    };
    if state.access.allows(&attempt) {
        Ok(())
    } else {
        Err(ApiStatus::forbidden(&attempt))
    }
}

fn object(
    state: &mut WorldState,
    request: &Request<'_>,
    target: &ResourcePath<'_>,
) -> Result<Reply, ApiStatus> {
    let ResourcePath {
        kind,
        version,
        namespace,
        name,
        subresource,
    } = *target;
    let place = namespace.unwrap_or_default();
    let manager = manager(request);
    let write = Write {
        manager: &manager,
        version,
        subresource,
        dry_run: dry_run(request)?,
        with_status: false,
        now: state.at,
    };
    match (request.verb, name) {
        ("get", Some(name)) => {
            let found = state.store.get(kind, place, name);
            let found = found.ok_or_else(|| ApiStatus::not_found(kind, name))?;
            let revision = state.store.revision();
            Ok(one_or_table(request, target, found, revision, state.at))
        }
        ("list", None) => list(state, request, target),
        ("watch", None) => Ok(Reply::Watch(Box::new(WatchStream::open(
            state,
            target,
            request.query,
            wants_table(request),
        )?))),
        ("create", None) => {
            let mut wanted = body(request)?;
            let claimed = wanted["metadata"]["namespace"].as_str();
            if kind.namespaced && claimed.is_some_and(|claimed| claimed != place) {
                return Err(ApiStatus::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            if kind.status
                && let Some(members) = wanted.as_object_mut()
            {
                members.remove("status");
            }
            if kind.namespaced {
                let spaces = ResourceKind::by_plural("namespaces");
                if let Some(spaces) = spaces
                    && state.store.get(spaces, "", place).is_none()
                {
                    return Err(ApiStatus::not_found(spaces, place));
                }
            }
            let created = state.store.create(kind, place, wanted, &write)?;
            Ok(Reply::Json(201, shown(kind, version, &created)))
        }
        ("update", Some(name)) => {
            let wanted = body(request)?;
            if (kind.custom || kind.plural == "leases")
                && wanted["metadata"]["resourceVersion"]
                    .as_str()
                    .is_none_or(str::is_empty)
            {
                return Err(ApiStatus::invalid(
                    kind,
                    name,
                    &[super::status::StatusCause {
                        reason: "FieldValueInvalid",
                        message: "Invalid value: 0: must be specified for an update".to_owned(),
                        field: "metadata.resourceVersion".to_owned(),
                    }],
                ));
            }
            let updated = state
                .store
                .update(kind, place, name, &write, |_| Ok(wanted))?;
            Ok(Reply::Json(200, shown(kind, version, &updated)))
        }
        ("patch", Some(name)) => {
            let change = ObjectPatch::read(request.content_type, request.body)?;
            let patched = state.store.update(kind, place, name, &write, |live| {
                // The patch meets the object in the version the caller speaks.
                let wanted = change.apply(&shown(kind, version, live))?;
                match wanted["metadata"]["uid"].as_str() {
                    Some(uid) if live["metadata"]["uid"] != uid => {
                        Err(ApiStatus::immutable_uid(kind, name, uid))
                    }
                    _ => Ok(wanted),
                }
            })?;
            Ok(Reply::Json(200, shown(kind, version, &patched)))
        }
        ("delete", Some(name)) => {
            check_preconditions(state, request, target, name)?;
            let deleted = state.store.delete(kind, place, name, write.dry_run)?;
            if ["pods", "namespaces", "services"].contains(&kind.plural) {
                return Ok(Reply::Json(200, shown(kind, version, &deleted)));
            }
            let mut details =
                json!({"name": name, "kind": kind.plural, "uid": deleted["metadata"]["uid"]});
            if !kind.group.is_empty() {
                details["group"] = json!(kind.group);
            }
            Ok(Reply::Json(
                200,
                json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "details": details,
                }),
            ))
        }
        ("deletecollection", None) => {
            let selector = selector(kind, request)?;
            let doomed: Vec<Value> = state
                .store
                .list(kind, namespace, &selector)
                .cloned()
                .collect();
            for object in &doomed {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
                state
                    .store
                    .delete(kind, text("namespace"), text("name"), write.dry_run)?;
            }
            Ok(Reply::Json(200, list_of(state, target, doomed.iter())))
        }
        _ => Err(ApiStatus::method_not_allowed()),
    }
}

fn list(
    state: &WorldState,
    request: &Request<'_>,
    target: &ResourcePath<'_>,
) -> Result<Reply, ApiStatus> {
    let selector = selector(target.kind, request)?;
    let found = state.store.list(target.kind, target.namespace, &selector);
    let page = ListPage::of(found, request.query, &state.store.history)?;
    let mut list = if wants_table(request) {
        let objects = page.objects.into_iter();
        table::of(target.kind, objects, page.revision, state.at)
    } else {
        list_of(state, target, page.objects.into_iter())
    };
    list["metadata"] = json!({"resourceVersion": page.revision.to_string()});
    if let Some(token) = page.token {
        list["metadata"]["continue"] = json!(token);
        list["metadata"]["remainingItemCount"] = json!(page.remaining);
    }
    Ok(Reply::Json(200, list))
}

fn list_of<'a>(
    state: &WorldState,
    target: &ResourcePath<'_>,
    objects: impl Iterator<Item = &'a Value>,
) -> Value {
    let ResourcePath { kind, version, .. } = *target;
    json!({
        "kind": format!("{}List", kind.kind),
        "apiVersion": kind.api_version(version),
        "metadata": {"resourceVersion": state.store.revision().to_string()},
        "items": objects.map(|object| shown(kind, version, object)).collect::<Vec<_>>(),
    })
}

fn selector(kind: &ResourceKind, request: &Request<'_>) -> Result<ObjectSelector, ApiStatus> {
    ObjectSelector::parse(
        request.query.get("labelSelector"),
        request.query.get("fieldSelector"),
    )
    .and_then(|selector| selector.checked(kind))
    .map_err(ApiStatus::bad_request)
}

fn one_or_table(
    request: &Request<'_>,
    target: &ResourcePath<'_>,
    object: &Value,
    revision: u64,
    now: jiff::Timestamp,
) -> Reply {
    if wants_table(request) {
        Reply::Json(
            200,
            table::of(target.kind, [object].into_iter(), revision, now),
        )
    } else {
        Reply::Json(200, shown(target.kind, target.version, object))
    }
}

fn wants_table(request: &Request<'_>) -> bool {
    request.accept.contains("as=Table")
}

/// The manager is what the caller says, or else the first word of its User-Agent.
fn manager(request: &Request<'_>) -> String {
    let given = request.query.get("fieldManager");
    let product = request.user_agent.split('/').next().unwrap_or_default();
    match (given, product) {
        ("", "") => "unknown".to_owned(),
        ("", product) => product.to_owned(),
        (given, _) => given.to_owned(),
    }
}

fn dry_run(request: &Request<'_>) -> Result<bool, ApiStatus> {
    match request.query.get("dryRun") {
        "" => Ok(false),
        "All" => Ok(true),
        other => Err(ApiStatus::unknown_dry_run(other)),
    }
}

fn body(request: &Request<'_>) -> Result<Value, ApiStatus> {
    if request.content_type.contains("protobuf") {
        return Err(ApiStatus::bad_request(
            "the sandbox reads JSON, not protobuf",
        ));
    }
    serde_json::from_slice::<Value>(request.body)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| {
            ApiStatus::bad_request("the object provided is unrecognized (must be of type JSON)")
        })
}

/// A delete may name the uid and the resourceVersion it is meant for.
fn check_preconditions(
    state: &WorldState,
    request: &Request<'_>,
    target: &ResourcePath<'_>,
    name: &str,
) -> Result<(), ApiStatus> {
    let Ok(options) = serde_json::from_slice::<Value>(request.body) else {
        return Ok(());
    };
    let live = state
        .store
        .get(target.kind, target.namespace.unwrap_or_default(), name);
    let Some(live) = live else {
        return Ok(());
    };
    for (field, called) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let (Some(wanted), Some(is)) = (
            options["preconditions"][field].as_str(),
            live["metadata"][field].as_str(),
        ) else {
            continue;
        };
        if wanted != is {
            let why = format!(
                "Precondition failed: {called} in precondition: {wanted}, {called} in object meta: {is}"
            );
            return Err(ApiStatus::conflict(target.kind, name, &why));
        }
    }
    Ok(())
}
