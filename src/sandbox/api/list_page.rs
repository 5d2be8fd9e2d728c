//! One page of a list. Pages after the first show the present, not the past that the first was taken from.

use serde_json::Value;

use super::change_log::ChangeLog;
use super::route::QueryParams;
use super::status::ApiStatus;

/// The objects of a page, and how to go on.
pub(super) struct ListPage<'a> {
    pub objects: Vec<&'a Value>,
    /// The revision of the whole list.
    pub revision: u64,
    /// What asks for the next page, if there is one.
    pub token: Option<String>,
    /// How many objects are not on this page or one before.
    pub remaining: usize,
}

impl<'a> ListPage<'a> {
    /// The page that a request asks for, of objects in the order of namespace and name.
    pub(super) fn of(
        objects: impl Iterator<Item = &'a Value>,
        query: &QueryParams,
        history: &ChangeLog,
    ) -> Result<Self, ApiStatus> {
        let token = query.get("continue");
        let (revision, after) = match token.split_once(' ') {
            Some((revision, after)) => (revision.parse().unwrap_or(0), Some(after)),
            None if token.is_empty() => (history.revision(), None),
            None => return Err(ApiStatus::bad_request("continue key is not valid")),
        };
        if revision < history.oldest() {
            return Err(ApiStatus::list_expired());
        }
        let limit = match query.get("limit").parse() {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        };
        let is_before =
            |object: &&Value| after.is_some_and(|after| place_of(object).as_str() <= after);
        let mut objects: Vec<_> = objects.skip_while(is_before).collect();
        let remaining = objects.len().saturating_sub(limit);
        objects.truncate(limit);
        let last = objects.last().filter(|_| remaining > 0);
        let token = last.map(|last| format!("{revision} {}", place_of(last)));
        Ok(Self {
            objects,
            revision,
            token,
            remaining,
        })
    }
}

/// Namespace and name, ordered as the objects are: nothing in a name comes before the blank.
fn place_of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    format!("{} {}", text("namespace"), text("name"))
}
