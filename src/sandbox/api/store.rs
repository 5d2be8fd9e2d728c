//! The objects, and the rules by which a write changes them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::change_log::{ChangeLog, Key, ObjectChange};
use super::kinds::ResourceKind;
use super::ownership::{self, Author};
use super::selector::ObjectSelector;
use super::status::ApiStatus;
use super::validation;

/// How a write is to be done, and by whom.
#[derive(Clone, Debug)]
pub(crate) struct Write<'a> {
    pub manager: &'a str,
    /// The API version the caller spoke.
    pub version: &'a str,
    pub subresource: Option<&'a str>,
    pub dry_run: bool,
    /// A set-up writes the status along with the object, which no API call can.
    pub with_status: bool,
    pub now: Timestamp,
}

/// The objects of this world.
#[derive(Debug)]
pub(crate) struct Store {
    objects: BTreeMap<Key, Value>,
    uids: u64,
    /// Whether istiod's webhook is registered, which checks what no schema does.
    pub has_webhook: bool,
    pub history: ChangeLog,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            uids: 0,
            has_webhook: true,
            history: ChangeLog::new(),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.history.revision()
    }

    pub(crate) fn get(&self, kind: &ResourceKind, namespace: &str, name: &str) -> Option<&Value> {
        self.objects
            .get(&(kind.plural, namespace.to_owned(), name.to_owned()))
    }

    /// Every object of a kind in a namespace, or in all, that the selector matches, in order of name.
    pub(crate) fn list<'a>(
        &'a self,
        kind: &'a ResourceKind,
        namespace: Option<&'a str>,
        selector: &'a ObjectSelector,
    ) -> impl Iterator<Item = &'a Value> {
        self.objects
            .range((kind.plural, String::new(), String::new())..)
            .take_while(move |((plural, ..), _)| *plural == kind.plural)
            .filter(move |((_, place, _), _)| namespace.is_none_or(|wanted| wanted == place))
            .map(|(_, object)| object)
            .filter(move |object| selector.matches(object))
    }

    pub(crate) fn create(
        &mut self,
        kind: &'static ResourceKind,
        namespace: &str,
        mut object: Value,
        write: &Write<'_>,
    ) -> Result<Value, ApiStatus> {
        let name = self.name_for(kind, &mut object)?;
        let key = (kind.plural, namespace.to_owned(), name.clone());
        if self.objects.contains_key(&key) {
            return Err(ApiStatus::already_exists(kind, &name));
        }
        object["apiVersion"] = json!(kind.api_version(kind.versions[0]));
        object["kind"] = json!(kind.kind);
        let metadata = &mut object["metadata"];
        if kind.namespaced {
            metadata["namespace"] = json!(namespace);
        }
        self.uids += 1;
        metadata["uid"] = json!(format!("5a4db0c5-0000-4000-8000-{:012x}", self.uids));
        metadata["creationTimestamp"] = json!(seconds(write.now));
        if kind.generation {
            metadata["generation"] = json!(1);
        }
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
        }
        validation::check(kind, &name, &object, self.has_webhook)?;
        let api_version = kind.api_version(write.version);
        let time = seconds(write.now);
        ownership::record(None, &mut object, author(write, &api_version, &time));
        Ok(self.commit(key, None, object, write.dry_run))
    }

    /// Replaces an object by what `change` makes of it; without a difference nothing is written.
    pub(crate) fn update(
        &mut self,
        kind: &'static ResourceKind,
        namespace: &str,
        name: &str,
        write: &Write<'_>,
        change: impl FnOnce(&Value) -> Result<Value, ApiStatus>,
    ) -> Result<Value, ApiStatus> {
        let key = (kind.plural, namespace.to_owned(), name.to_owned());
        let Some(live) = self.objects.get(&key).cloned() else {
            return Err(ApiStatus::not_found(kind, name));
        };
        let mut wanted = change(&live)?;
        check_identity(kind, name, &live, &wanted)?;
        wanted["apiVersion"] = live["apiVersion"].clone();
        wanted["kind"] = live["kind"].clone();
        for field in [
            "uid",
            "creationTimestamp",
            "generation",
            "namespace",
            "resourceVersion",
            "managedFields",
        ] {
            put(&mut wanted["metadata"], field, &live["metadata"][field]);
        }
        match write.subresource {
            Some("status") => {
                let status = wanted["status"].take();
                wanted = live.clone();
                put(&mut wanted, "status", &status);
            }
            _ if kind.status && !write.with_status => put(&mut wanted, "status", &live["status"]),
            _ => {}
        }
        validation::check(kind, name, &wanted, self.has_webhook)?;
        if wanted == live {
            return Ok(live);
        }
        if kind.generation && desired(&wanted) != desired(&live) {
            let generation = live["metadata"]["generation"].as_i64().unwrap_or(0);
            wanted["metadata"]["generation"] = json!(generation + 1);
        }
        let api_version = kind.api_version(write.version);
        let time = seconds(write.now);
        ownership::record(Some(&live), &mut wanted, author(write, &api_version, &time));
        Ok(self.commit(key, Some(live), wanted, write.dry_run))
    }

    /// Deletes an object and what it owns; returns it as it last was.
    pub(crate) fn delete(
        &mut self,
        kind: &'static ResourceKind,
        namespace: &str,
        name: &str,
        dry_run: bool,
    ) -> Result<Value, ApiStatus> {
        let key = (kind.plural, namespace.to_owned(), name.to_owned());
        let Some(live) = self.objects.get(&key).cloned() else {
            return Err(ApiStatus::not_found(kind, name));
        };
        if dry_run {
            return Ok(live);
        }
        let uid = live["metadata"]["uid"].clone();
        self.forget(key, live.clone());
        if kind.plural == "namespaces" {
            self.forget_all(|key, _| key.1 == name);
        }
        self.forget_all(|_, object| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid))
        });
        Ok(live)
    }

    fn forget_all(&mut self, doomed: impl Fn(&Key, &Value) -> bool) {
        let doomed: Vec<(Key, Value)> = self
            .objects
            .iter()
            .filter(|(key, object)| doomed(key, object))
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        for (key, object) in doomed {
            self.forget(key, object);
        }
    }

    fn forget(&mut self, key: Key, live: Value) {
        self.objects.remove(&key);
        let mut object = live.clone();
        let revision = self.history.advance();
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        self.history.remember(ObjectChange {
            revision,
            key,
            before: Some(live),
            after: None,
            object,
        });
    }

    fn commit(
        &mut self,
        key: Key,
        before: Option<Value>,
        mut object: Value,
        dry_run: bool,
    ) -> Value {
        if dry_run {
            return object;
        }
        let revision = self.history.advance();
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.history.remember(ObjectChange {
            revision,
            key,
            before,
            after: Some(object.clone()),
            object: object.clone(),
        });
        object
    }

    fn name_for(&self, kind: &ResourceKind, object: &mut Value) -> Result<String, ApiStatus> {
        let metadata = &object["metadata"];
        if let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) {
            return Ok(name.to_owned());
        }
        match metadata["generateName"].as_str() {
            Some(prefix) if !prefix.is_empty() => {
                let name = format!("{prefix}{:05x}", self.uids + 1);
                object["metadata"]["name"] = json!(name);
                Ok(name)
            }
            _ => Err(ApiStatus::invalid(
                kind,
                "",
                &[super::status::StatusCause {
                    reason: "FieldValueRequired",
                    message: "Required value: name or generateName is required".to_owned(),
                    field: "metadata.name".to_owned(),
                }],
            )),
        }
    }
}

/// Whole seconds, as `creationTimestamp` and `managedFields` have them.
pub(crate) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn author<'a>(write: &Write<'a>, api_version: &'a str, time: &'a str) -> Author<'a> {
    Author {
        manager: write.manager,
        api_version,
        subresource: write.subresource,
        time,
    }
}

/// Sets a member, or removes it where the value is null.
fn put(object: &mut Value, member: &str, value: &Value) {
    if let Value::Object(members) = object {
        if value.is_null() {
            members.remove(member);
        } else {
            members.insert(member.to_owned(), value.clone());
        }
    }
}

/// The desired state of an object: everything but metadata and status.
fn desired(object: &Value) -> Value {
    let mut object = object.clone();
    if let Value::Object(members) = &mut object {
        members.remove("metadata");
        members.remove("status");
    }
    object
}

/// A write must be about the object it was sent to, and about the version it claims.
fn check_identity(
    kind: &ResourceKind,
    name: &str,
    live: &Value,
    wanted: &Value,
) -> Result<(), ApiStatus> {
    let (was, is) = (&live["metadata"], &wanted["metadata"]);
    if is["name"].as_str() != Some(name) {
        let called = is["name"].as_str().unwrap_or_default();
        return Err(ApiStatus::bad_request(format!(
            "the name of the object ({called}) does not match the name on the URL ({name})"
        )));
    }
    let given = |field: &str| is[field].as_str().filter(|text| !text.is_empty());
    if let Some(uid) = given("uid")
        && was["uid"] != uid
    {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            was["uid"].as_str().unwrap_or_default()
        );
        return Err(ApiStatus::conflict(kind, name, &why));
    }
    if let Some(revision) = given("resourceVersion")
        && was["resourceVersion"] != revision
    {
        return Err(ApiStatus::stale(kind, name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write() -> Write<'static> {
        Write {
            manager: "test",
            version: "v1",
            subresource: None,
            dry_run: false,
            with_status: false,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn service() -> Value {
        json!({
            "metadata": {"name": "reviews"},
            "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]},
            "status": {"x": 1},
        })
    }

    #[test]
    fn versions_move_only_with_a_change_and_generation_only_with_the_spec() {
        let kind = ResourceKind::by_plural("virtualservices").unwrap();
        let mut store = Store::new();
        let first = store.create(kind, "shop", service(), &write()).unwrap();
        let mut change = |edit: fn(&mut Value)| {
            let changed = store.update(kind, "shop", "reviews", &write(), |live| {
                let mut wanted = live.clone();
                edit(&mut wanted);
                Ok(wanted)
            });
            let metadata = changed.unwrap()["metadata"].clone();
            (
                metadata["resourceVersion"].clone(),
                metadata["generation"].as_i64().unwrap(),
            )
        };
        let same = change(|_| {});
        assert_eq!(same, (first["metadata"]["resourceVersion"].clone(), 1));
        assert_eq!(change(|object| object["status"] = json!({"x": 2})), same);
        let annotated = change(|object| object["metadata"]["annotations"] = json!({"a": "b"}));
        assert!(annotated.0 != same.0 && annotated.1 == 1);
        assert_eq!(change(|object| object["spec"]["hosts"] = json!(["x"])).1, 2);
        assert_eq!(store.history.since(0).count(), 3);
    }

    #[test]
    fn what_an_object_owns_goes_with_it() {
        let mut store = Store::new();
        let services = ResourceKind::by_plural("virtualservices").unwrap();
        let leases = ResourceKind::by_plural("leases").unwrap();
        let owner = store.create(services, "shop", service(), &write()).unwrap();
        let lease = json!({"metadata": {"name": "l", "ownerReferences": [{"uid": owner["metadata"]["uid"]}]}});
        store.create(leases, "shop", lease, &write()).unwrap();
        store.delete(services, "shop", "reviews", false).unwrap();
        assert!(store.get(leases, "shop", "l").is_none());
    }
}
