//! An HTTP reply to a query, written by Prometheus, the API server, or a proxy in between.

use http::StatusCode;

/// What came back from the server.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: StatusCode,
    /// Where it sends the caller, if it does.
    pub(super) location: Option<String>,
    /// What it wants to be logged in with, if it says so.
    pub(super) challenge: Option<String>,
    pub(super) body: Vec<u8>,
    /// The setting whose credentials the query was sent with.
    pub(super) login: Option<String>,
}
