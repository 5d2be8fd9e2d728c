//! What is counted: requests where proxies understand them, connections where they do not.

use serde::{Deserialize, Serialize};

use super::versions::{FailureRule, label};
use crate::metrics::source::Labels;

/// Envoy's response flags of a connection that did not reach its upstream, or lost it.
///
/// A connection that the caller broke off (`DC`) or that ended by itself is no failure of a version.
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

    /// Whether those with these labels failed; `rule` says which requests did.
    pub(crate) fn is_failure(self, rule: &FailureRule, labels: &Labels) -> bool {
        match self {
            Self::Requests => rule.is_failure(labels),
            Self::Connections => label(labels, "response_flags")
                .split(',')
                .any(|flag| FAILURES.contains(&flag.trim())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fail_by_their_flags_and_requests_by_their_codes() {
        let rule = FailureRule::default();
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
                .map(|counted| counted.is_failure(&rule, &labels));
            assert_eq!(failed, [connection, request], "{flags} {code}");
        }
    }
}
