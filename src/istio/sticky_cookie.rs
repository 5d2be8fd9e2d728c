//! The cookie that keeps users of the canary on it: set by the canary's destination, and looked for by a rule
//! above the route.

use serde_json::{Map, Value, json};

use super::canary_rules::HeaderMatch;
use super::route::Route;
use super::split::{Split, SplitError};
use super::virtual_service::VirtualService;
use crate::plan::{HeaderValue, Sticky};

/// The header that sets a cookie, as this program writes it.
const SET_COOKIE: &str = "set-cookie";

/// The cookie of one run. Its value is the run's name, so that those of other rollouts say nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct StickyCookie {
    /// `NAME=RUN`.
    pair: String,
    seconds: i64,
}

/// What becomes of the cookie at the canary's destination in one route.
#[derive(Clone, Debug, PartialEq)]
pub enum CookieEdit {
    /// The rollout sets none here at any step.
    Keep,
    /// The canary's answers set it.
    Set(StickyCookie),
    /// They do not, or no longer.
    Remove(StickyCookie),
}

impl StickyCookie {
    pub(crate) fn new(sticky: &Sticky, run: &str) -> Self {
        Self {
            pair: format!("{}={run}", sticky.cookie),
            seconds: sticky.ttl.signed().as_secs(),
        }
    }

    /// The value of the header that sets it. Scripts of a page have no use for it.
    fn header(&self) -> String {
        format!("{}; Max-Age={}; Path=/; HttpOnly", self.pair, self.seconds)
    }

    /// Which requests carry it.
    pub(crate) fn condition(&self) -> HeaderMatch {
        let pair = regex::escape(&self.pair);
        HeaderMatch {
            header: "cookie".into(),
            value: HeaderValue::Regex(format!("(.*; ?)?{pair}(;.*)?")),
        }
    }

    /// Whether a header sets this cookie, whatever another client made of its attributes.
    fn is_set_by(&self, header: &Value) -> bool {
        let text = header.as_str().unwrap_or_default();
        let pair = text.split(';').next().unwrap_or_default();
        pair.trim() == self.pair
    }

    /// Whether the canary of `route` may get a cookie, so that it can be taken away without a trace.
    ///
    /// # Errors
    /// If its match looks at cookies, or it has something to say of `set-cookie` itself.
    pub(super) fn check(
        vs: &VirtualService,
        route: &Route,
        split: &Split,
    ) -> Result<(), SplitError> {
        let rule = vs.rule(route.at);
        let canary = rule
            .get("route")
            .and_then(|targets| targets.get(split.canary));
        let of_canary = canary.and_then(|entry| entry.get("headers"));
        let blocks = rule.get("match").and_then(Value::as_array);
        let matches = blocks.into_iter().flatten().any(|block| {
            let headers = block.get("headers").and_then(Value::as_object);
            headers.is_some_and(|headers| has_name(headers, "cookie"))
        });
        let why = if matches {
            "already matches on header cookie"
        } else if [of_canary, rule.get("headers")]
            .into_iter()
            .flatten()
            .any(speaks_of_cookies)
        {
            "already changes set-cookie in headers.response"
        } else if of_canary.is_some_and(is_hollow) {
            // Once the cookie is gone it could not be told whether the empty object was there before.
            "has empty headers at its canary"
        } else {
            return Ok(());
        };
        Err(SplitError::Unsticky {
            route: route.to_string(),
            why,
        })
    }
}

fn has_name(headers: &Map<String, Value>, wanted: &str) -> bool {
    headers.keys().any(|name| name.eq_ignore_ascii_case(wanted))
}

/// Whether a rule or a destination adds, sets or removes the header that sets cookies.
fn speaks_of_cookies(headers: &Value) -> bool {
    let of = |key: &str| headers.pointer(&format!("/response/{key}"));
    let changes = ["add", "set"].into_iter().any(|key| {
        let named = of(key).and_then(Value::as_object);
        named.is_some_and(|named| has_name(named, SET_COOKIE))
    });
    let removed = of("remove").and_then(Value::as_array);
    let removes = removed.into_iter().flatten().any(|name| {
        let name = name.as_str().unwrap_or_default();
        name.eq_ignore_ascii_case(SET_COOKIE)
    });
    changes || removes
}

/// Whether one of the objects on the way to the added headers is there without anything in it.
fn is_hollow(headers: &Value) -> bool {
    ["", "/response", "/response/add"].iter().any(|at| {
        let found = headers.pointer(at);
        found.is_some_and(|found| found.as_object().is_none_or(Map::is_empty))
    })
}

/// The object at `key`, which is made where there is none.
fn object_at<'v>(parent: &'v mut Map<String, Value>, key: &str) -> &'v mut Map<String, Value> {
    let value = parent.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made one")
}

/// The header that adds a cookie to the answers of a destination.
fn added(entry: &Value) -> Option<&Value> {
    entry
        .pointer("/headers/response/add")
        .and_then(|added| added.get(SET_COOKIE))
}

impl CookieEdit {
    /// Whether the canary's destination, where it is there, is as it shall be.
    pub(super) fn is_made(&self, canary: Option<&Value>) -> bool {
        let found = canary.and_then(added);
        match self {
            Self::Keep => true,
            Self::Set(cookie) => found.and_then(Value::as_str) == Some(&cookie.header()),
            Self::Remove(cookie) => !found.is_some_and(|found| cookie.is_set_by(found)),
        }
    }

    /// The canary's destination without a cookie of this run.
    pub(super) fn without(&self, canary: &Value) -> Value {
        let edit = match self {
            Self::Keep => Self::Keep,
            Self::Set(cookie) | Self::Remove(cookie) => Self::Remove(cookie.clone()),
        };
        let mut canary = canary.clone();
        edit.make(&mut canary);
        canary
    }

    /// Changes the canary's destination, and nothing else of it. What was made for the cookie goes with it.
    pub(super) fn make(&self, canary: &mut Value) {
        let is_made = self.is_made(Some(canary));
        let Some(entry) = canary.as_object_mut().filter(|_| !is_made) else {
            return;
        };
        match self {
            Self::Keep => {}
            Self::Set(cookie) => {
                let response = object_at(object_at(entry, "headers"), "response");
                object_at(response, "add").insert(SET_COOKIE.into(), cookie.header().into());
            }
            Self::Remove(_) => {
                let headers = object_at(entry, "headers");
                let response = object_at(headers, "response");
                let added = object_at(response, "add");
                added.remove(SET_COOKIE);
                if added.is_empty() {
                    response.remove("add");
                }
                if response.is_empty() {
                    headers.remove("response");
                }
                if headers.is_empty() {
                    entry.remove("headers");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie() -> StickyCookie {
        StickyCookie::new(&"cookie=canary,30m".parse().unwrap(), "run-1")
    }

    #[test]
    fn a_cookie_comes_and_goes_without_a_trace() {
        let added = |headers: Value| json!({"destination": {"host": "a"}, "headers": headers});
        let text = "canary=run-1; Max-Age=1800; Path=/; HttpOnly";
        for (before, with) in [
            (
                json!({"destination": {"host": "a"}}),
                added(json!({"response": {"add": {"set-cookie": text}}})),
            ),
            (
                added(json!({"request": {"set": {"x": "1"}}})),
                added(
                    json!({"request": {"set": {"x": "1"}}, "response": {"add": {"set-cookie": text}}}),
                ),
            ),
            (
                added(json!({"response": {"remove": ["x"]}})),
                added(json!({"response": {"remove": ["x"], "add": {"set-cookie": text}}})),
            ),
            (
                added(json!({"response": {"add": {"x": "1"}}})),
                added(json!({"response": {"add": {"x": "1", "set-cookie": text}}})),
            ),
        ] {
            let mut entry = before.clone();
            CookieEdit::Remove(cookie()).make(&mut entry);
            assert_eq!(entry, before, "nothing to take away");
            CookieEdit::Set(cookie()).make(&mut entry);
            assert_eq!(entry, with);
            assert!(CookieEdit::Set(cookie()).is_made(Some(&entry)));
            assert!(!CookieEdit::Remove(cookie()).is_made(Some(&entry)));
            CookieEdit::Keep.make(&mut entry);
            assert_eq!(entry, with);
            assert_eq!(CookieEdit::Set(cookie()).without(&entry), before);
            // Another client made it last longer: it is ours all the same.
            let at = "/headers/response/add/set-cookie";
            *entry.pointer_mut(at).unwrap() = json!("canary=run-1; Max-Age=9999");
            assert!(!CookieEdit::Set(cookie()).is_made(Some(&entry)));
            CookieEdit::Remove(cookie()).make(&mut entry);
            assert_eq!(entry, before);
        }
        let mut other = added(json!({"response": {"add": {"set-cookie": "canary=run-10"}}}));
        let before = other.clone();
        CookieEdit::Remove(cookie()).make(&mut other);
        assert_eq!(other, before, "another run's");
    }

    #[test]
    fn the_rule_looks_for_this_very_cookie_among_all() {
        let HeaderValue::Regex(regex) = cookie().condition().value else {
            panic!("it is looked for among others");
        };
        // Proxies match the whole value.
        let regex = regex::Regex::new(&format!("^(?:{regex})$")).unwrap();
        for (cookies, found) in [
            ("canary=run-1", true),
            ("a=b; canary=run-1", true),
            ("canary=run-1; a=b", true),
            ("a=b;canary=run-1;c=d", true),
            ("canary=run-10", false),
            ("canary=run-0", false),
            ("xcanary=run-1", false),
            ("a=canary=run-1", false),
            ("a=b", false),
            ("", false),
        ] {
            assert_eq!(regex.is_match(cookies), found, "{cookies}");
        }
    }
}
