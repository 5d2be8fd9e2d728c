//! What is counted: requests where proxies understand them, connections where they do not.

use serde::{Deserialize, Serialize};

use super::versions::label;
use crate::metrics::source::Labels;
use crate::plan::FailureRule;
use crate::verdict::StatusCode;

/// Envoy's response flags of a connection that did not reach its upstream, or lost it.
///
/// A connection that the caller closed (`DC`) or that ended by itself is no failure of a version.
const FAILURES: [&str; 12] = [
    "UF", "UH", "UO", "UC", "UT", "URX", "NR", "NC", "UAEX", "LR", "UMSDR", "UPE",
];

/// The unit in which two versions are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// HTTP and gRPC requests.
    #[default]
    Requests,
    /// TCP connections, as they are opened.
    Connections,
}

impl Unit {
    /// Istio's counter of them.
    pub fn metric(self) -> &'static str {
        match self {
            Self::Requests => "istio_requests_total",
            Self::Connections => "istio_tcp_connections_opened_total",
        }
    }

    /// Whether there is a histogram of how long they took.
    pub fn has_durations(self) -> bool {
        match self {
            Self::Requests => true,
            Self::Connections => false,
        }
    }

    /// Whether the labels tell a success from a failure.
    ///
    /// A Telemetry override or a relabeling may have removed the code, and then every request looks fine.
    pub(super) fn is_readable(self, labels: &Labels) -> bool {
        match self {
            Self::Requests => {
                let code = label(labels, "response_code");
                code == "0" || is_status(code) || !label(labels, "grpc_response_status").is_empty()
            }
            // A connection that went well has no flag.
            Self::Connections => true,
        }
    }

    /// Whether the labels of whole gRPC answers have their status; `None` of anything else. Where no label tells
    /// the protocol, what the versions speak by their ports does.
    ///
    /// A stream that was reset has none, and a flag that says so.
    pub(super) fn has_grpc_status(self, labels: &Labels, speaks_grpc: bool) -> Option<bool> {
        let is_grpc = self == Self::Requests
            && match label(labels, "request_protocol") {
                "" => speaks_grpc,
                protocol => protocol == "grpc",
            };
        let has_status = !label(labels, "grpc_response_status").is_empty();
        let is_whole = is_unflagged(labels) && label(labels, "response_code").starts_with('2');
        (is_grpc && (has_status || is_whole)).then_some(has_status)
    }

    /// Whether something answered, and well: not what the caller's proxy answers itself.
    pub(super) fn is_answered(self, labels: &Labels) -> bool {
        is_unflagged(labels) && self.is_readable(labels) && self.status(labels).is_none()
    }

    /// The status of an answer that was no success, or an error of the caller's; `None` for a success and
    /// for what has no status.
    pub(super) fn status(self, labels: &Labels) -> Option<StatusCode> {
        match self {
            Self::Requests => status_of_request(labels),
            Self::Connections => None,
        }
    }

    /// Whether those with these labels failed.
    pub(super) fn is_failure(self, labels: &Labels, rule: &FailureRule) -> bool {
        match self {
            Self::Requests => is_failed_request(labels, rule),
            Self::Connections => label(labels, "response_flags")
                .split(',')
                .any(|flag| FAILURES.contains(&flag.trim())),
        }
    }
}

/// Whether Envoy has nothing to say of how it ended.
fn is_unflagged(labels: &Labels) -> bool {
    matches!(label(labels, "response_flags"), "" | "-")
}

/// Whether requests with these labels failed, also where codes are grouped (`5xx`).
///
/// An absent gRPC status means a request that was not gRPC, so only a present one can fail.
fn is_failed_request(labels: &Labels, rule: &FailureRule) -> bool {
    let code = label(labels, "response_code");
    let http = match code.parse::<u16>() {
        Ok(status) => (status == 0 || is_status(code)) && rule.http(status),
        Err(_) if is_status(code) => code[..1].parse().is_ok_and(|class| rule.http_class(class)),
        Err(_) => false,
    };
    let grpc = label(labels, "grpc_response_status").parse::<u16>();
    http || grpc.is_ok_and(|status| rule.grpc(status))
}

fn status_of_request(labels: &Labels) -> Option<StatusCode> {
    let code = label(labels, "response_code");
    let grpc = label(labels, "grpc_response_status").parse::<u16>();
    let grpc = grpc.ok().filter(|status| (1..=16).contains(status));
    let http = match code {
        "0" => Some(0),
        _ if !is_status(code) => None,
        _ if code.ends_with(['x', 'X']) => code[..1].parse().ok(),
        _ => code.parse().ok(),
    };
    let told = |code: &u16| *code == 0 || (4..=5).contains(code) || (400..=599).contains(code);
    match (http.filter(told), grpc) {
        (Some(code), _) => Some(StatusCode::Http(code)),
        (None, Some(status)) => Some(StatusCode::Grpc(status)),
        (None, None) => None,
    }
}

/// An HTTP status such as `404`, or a group of them such as `4xx`.
fn is_status(code: &str) -> bool {
    let (class, rest) = code.split_at_checked(1).unwrap_or_default();
    let is_group = rest.eq_ignore_ascii_case("xx");
    let is_code = rest.len() == 2 && rest.bytes().all(|byte| byte.is_ascii_digit());
    matches!(class, "1" | "2" | "3" | "4" | "5") && (is_group || is_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_in_every_spelling_and_its_absence_is_no_success() {
        for (code, grpc, readable, failed) in [
            ("200", "", true, false),
            ("503", "", true, true),
            ("5xx", "", true, true),
            ("5XX", "", true, true),
            ("4xx", "", true, false),
            ("0", "", true, true),
            ("", "13", true, true),
            ("", "0", true, false),
            ("", "", false, false),
            ("unknown", "", false, false),
            ("5", "", false, false),
            ("5000", "", false, false),
            ("é00", "", false, false),
        ] {
            let labels = Labels::from(
                [("response_code", code), ("grpc_response_status", grpc)]
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
            let unit = Unit::Requests;
            let found = (
                unit.is_readable(&labels),
                unit.is_failure(&labels, &FailureRule::default()),
            );
            assert_eq!(found, (readable, failed), "{code:?} {grpc:?}");
        }
    }

    #[test]
    fn connections_fail_by_their_flags_and_requests_by_their_codes() {
        for (flags, code, connection, request) in [
            ("-", "200", false, false),
            ("", "", false, false),
            ("UF", "503", true, true),
            ("UF,URX", "0", true, true),
            ("URX", "", true, false),
            ("DC", "0", false, true),
            ("NR", "", true, false),
            ("UFX", "", false, false),
        ] {
            let labels = Labels::from(
                [("response_flags", flags), ("response_code", code)]
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
            let failed = [Unit::Connections, Unit::Requests]
                .map(|counted| counted.is_failure(&labels, &FailureRule::default()));
            assert_eq!(failed, [connection, request], "{flags} {code}");
        }
    }
}
