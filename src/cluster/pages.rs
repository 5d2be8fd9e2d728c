//! Lists of any length, a page at a time: of each object only what the caller makes of it is kept.

use kube::core::params::ListParams;
use kube::core::request::Error as RequestError;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::call::{CallError, ErrorKind};

/// The first page asks for so few that it is small however large the objects are; a small cluster is
/// seen in one call all the same.
const FIRST: u32 = 100;
/// No page asks for more objects than this.
const MOST: u32 = 1_000;
/// About how much a page may be, in bytes: what is in memory at a time is a small multiple of it.
const BYTES: usize = 1 << 20;
/// How often a list is begun anew whose continuation the server has forgotten. It does so after five
/// minutes, or when it compacts its store.
const RESTARTS: u32 = 2;

/// A page of a list: the objects as text.
#[derive(Deserialize)]
struct ReceivedPage<'p> {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'p RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMetadata {
    #[serde(rename = "continue")]
    token: String,
    resource_version: String,
}

/// Lists everything that `get` gets, and what `make` makes of each object as JSON text.
///
/// Returns with it the version of the list, from which a watch goes on.
///
/// # Errors
/// What `get` and `make` fail with; [`ErrorKind::Expired`] where the list could not be read to its end
/// although it was begun anew.
pub(super) async fn pages<T, G>(
    attempted: &str,
    get: impl Fn(ListParams) -> G,
    make: impl Fn(&str) -> Result<Option<T>, CallError>,
) -> Result<(Vec<T>, String), CallError>
where
    G: Future<Output = Result<String, CallError>>,
{
    let mut restarts = 0;
    let mut found = Vec::new();
    let mut params = ListParams::default().limit(FIRST);
    loop {
        let text = match get(params.clone()).await {
            Err(error) if error.kind == ErrorKind::Expired && restarts < RESTARTS => {
                restarts += 1;
                found.clear();
                params.continue_token = None;
                continue;
            }
            answer => answer?,
        };
        let page: ReceivedPage<'_> =
            serde_json::from_str(&text).map_err(|error| CallError::unreadable(attempted, error))?;
        let items = page.items.unwrap_or_default();
        for item in &items {
            found.extend(make(item.get())?);
        }
        if page.metadata.token.is_empty() {
            return Ok((found, page.metadata.resource_version));
        }
        params.limit = Some(limit_after(items.len(), text.len()));
        params.continue_token = Some(page.metadata.token);
    }
}

/// How many objects to ask for after a page of so many and so many bytes.
fn limit_after(objects: usize, bytes: usize) -> u32 {
    let each = bytes / objects.max(1);
    let fit = BYTES / each.max(1);
    u32::try_from(fit).unwrap_or(MOST).clamp(1, MOST)
}

/// A request with these parameters, of what `list` makes of them.
pub(super) type Listed = Result<http::Request<Vec<u8>>, RequestError>;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_page_is_as_long_as_its_objects_are_small() {
        assert_eq!(limit_after(100, 200_000), 524);
        assert_eq!(limit_after(100, 100), MOST);
        assert_eq!(limit_after(100, 150_000_000), 1);
        assert_eq!(limit_after(0, 0), MOST);
    }

    /// A server of this many objects that forgets `expired` continuations.
    async fn listed(count: usize, expired: u32) -> (Result<Vec<u64>, ErrorKind>, usize) {
        let (left, asked) = (RefCell::new(expired), RefCell::new(0));
        let (left_of, asked_for) = (&left, &asked);
        let get = |params: ListParams| async move {
            *asked_for.borrow_mut() += 1;
            let from: usize = params
                .continue_token
                .map_or(0, |token| token.parse().unwrap());
            if from > 0 && *left_of.borrow() > 0 {
                *left_of.borrow_mut() -= 1;
                return Err(CallError::new(ErrorKind::Expired, "list", "too old"));
            }
            let to = count.min(from + params.limit.unwrap() as usize);
            let items: Vec<_> = (from..to).map(|n| format!("{{\"n\":{n}}}")).collect();
            let token = if to < count {
                to.to_string()
            } else {
                String::new()
            };
            let items = items.join(",");
            Ok(format!(
                r#"{{"metadata":{{"resourceVersion":"7","continue":"{token}"}},"items":[{items}]}}"#
            ))
        };
        let make = |text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            Ok(value["n"].as_u64().filter(|n| n % 100 == 0))
        };
        let found = pages("list", get, make).await;
        let found = found.map(|(found, version)| {
            assert_eq!(version, "7");
            found
        });
        (found.map_err(|error| error.kind), asked.into_inner())
    }

    #[tokio::test]
    async fn a_list_is_read_page_by_page_and_begun_anew_where_the_server_forgot_it() {
        assert_eq!(listed(0, 0).await, (Ok(vec![]), 1));
        assert_eq!(listed(100, 0).await, (Ok(vec![0]), 1));
        assert_eq!(listed(301, 0).await, (Ok(vec![0, 100, 200, 300]), 2));
        let (found, asked) = listed(10_100, 0).await;
        assert_eq!((found.unwrap().len(), asked), (101, 11));
        // Nothing is there twice.
        let (found, asked) = listed(1_201, 2).await;
        assert_eq!((found.unwrap().len(), asked), (13, 6));
        assert_eq!(listed(1_201, 3).await, (Err(ErrorKind::Expired), 6));
    }
}
