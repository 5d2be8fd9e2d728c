//! Every call that was made, in order.

use jiff::Timestamp;
use serde_json::Value;

/// How many calls are kept; a demo that runs for days must not grow without end.
const KEPT: usize = 100_000;

/// One call to the API server or to Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// When it arrived.
    pub at: Timestamp,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, or for other paths the HTTP method in lower case.
    pub verb: String,
    /// The path.
    pub path: String,
    /// The query string, as it was sent.
    pub query: String,
    /// The HTTP status of the answer; `None` as long as there is none, or if there never was one.
    pub status: Option<u16>,
    /// The caller's User-Agent.
    pub user_agent: String,
    /// Who called.
    pub user: String,
    /// What was sent, if it was JSON; a form as a string.
    pub body: Option<Value>,
}

impl Call {
    /// Whether the call asks for a change.
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete"].contains(&self.verb.as_str())
    }
}

/// The calls so far.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    calls: Vec<Call>,
    dropped: usize,
}

impl RequestLog {
    /// Notes a call and returns its number.
    pub(crate) fn begin(&mut self, call: Call) -> usize {
        if self.calls.len() >= KEPT {
            self.calls.drain(..KEPT / 2);
            self.dropped += KEPT / 2;
        }
        self.calls.push(call);
        self.dropped + self.calls.len() - 1
    }

    /// Notes how a call was answered.
    pub(crate) fn end(&mut self, number: usize, status: u16) {
        let call = number
            .checked_sub(self.dropped)
            .and_then(|at| self.calls.get_mut(at));
        if let Some(call) = call {
            call.status = Some(status);
        }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.clone()
    }
}
