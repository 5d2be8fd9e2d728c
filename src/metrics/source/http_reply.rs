//! An HTTP reply to a query, written by Prometheus, the API server, or a proxy in between.

use std::time::Duration;

use http::header::{DATE, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use jiff::fmt::rfc2822;

/// What came back from the server.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: StatusCode,
    /// Where it sends the caller, if it does.
    pub(super) location: Option<String>,
    /// What it wants to be logged in with, if it says so.
    pub(super) challenge: Option<String>,
    /// How long it wants to be left alone, if it says so.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
    /// The setting whose credentials the query was sent with.
    pub(super) login: Option<String>,
}

impl HttpReply {
    /// A reply with this head, to a query that was sent with the credentials of `login`.
    pub(super) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: Vec<u8>,
        login: Option<String>,
    ) -> Self {
        let owned = |name| text(headers, &name).map(str::to_owned);
        Self {
            status,
            location: owned(LOCATION),
            challenge: owned(WWW_AUTHENTICATE),
            retry_after: retry_after(headers),
            body,
            login,
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `Retry-After` in seconds, or as a date after that of the reply: the server's clock may not be ours.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let said = text(headers, &RETRY_AFTER)?.trim();
    if let Ok(seconds) = said.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = |date: &str| rfc2822::parse(date).ok();
    let wait = at(said)?.duration_since(&at(text(headers, &DATE)?)?);
    Duration::try_from(wait).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_of_the_servers_clock() {
        let wait = |said: &str, date: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, said.parse().unwrap());
            headers.insert(DATE, date.parse().unwrap());
            retry_after(&headers).map(|wait| wait.as_secs())
        };
        let noon = "Wed, 21 Oct 2026 12:00:00 GMT";
        assert_eq!(wait("120", noon), Some(120));
        assert_eq!(wait(" 0 ", ""), Some(0));
        assert_eq!(wait("Wed, 21 Oct 2026 12:00:30 GMT", noon), Some(30));
        assert_eq!(wait("Wed, 21 Oct 2026 11:00:00 GMT", noon), None);
        assert_eq!(wait("Wed, 21 Oct 2026 12:00:30 GMT", "today"), None);
        assert_eq!(wait("-5", noon), None);
        assert_eq!(wait("soon", noon), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
