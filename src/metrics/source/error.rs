//! Why a question to Prometheus has no usable answer.

use std::error::Error;
use std::time::Duration;

use thiserror::Error;

/// Why there is no answer. No variant holds a URL with credentials, a header or a token.
///
/// `at` is the address as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetricsError {
    /// No connection: refused, no such host, TLS failed, no route.
    #[error("cannot reach {at}: {cause}; try: check the address and the network, or --prometheus")]
    Unreachable {
        /// Who was asked.
        at: String,
        /// What the network said.
        cause: String,
    },
    /// No answer in the time allowed.
    #[error("{at} did not answer within {}; try: a longer --request-timeout", seconds(*after))]
    TimedOut {
        /// Who was asked.
        at: String,
        /// The time allowed.
        after: Duration,
    },
    /// Credentials are missing or wrong (401).
    #[error("{who} wants credentials{}; try: {advice}", colon(message))]
    Unauthorized {
        /// Who said so: the API server, or Prometheus itself.
        who: String,
        /// What it said.
        message: String,
        /// What may help.
        advice: &'static str,
    },
    /// The credentials are known but do not suffice (403).
    #[error("{who} refuses{}; try: {advice}", colon(message))]
    Forbidden {
        /// Who said so: the API server, or Prometheus itself.
        who: String,
        /// What it said.
        message: String,
        /// What may help.
        advice: &'static str,
    },
    /// There is no such Service, or nothing at this path.
    #[error(
        "{at} is not there{}; try: --prometheus, or check namespace, name and port",
        colon(message)
    )]
    NotFound {
        /// Who was asked.
        at: String,
        /// What was said.
        message: String,
    },
    /// Prometheus understood the question and does not accept it.
    #[error("{at} cannot take the query: {message}")]
    BadQuery {
        /// Who was asked.
        at: String,
        /// Prometheus' own words.
        message: String,
    },
    /// Prometheus tried and gave up: too many samples, a storage error, its own timeout.
    #[error("{at} could not evaluate the query ({kind}): {message}")]
    QueryFailed {
        /// Who was asked.
        at: String,
        /// Prometheus' own name for the problem.
        kind: String,
        /// Prometheus' own words.
        message: String,
    },
    /// It is down or overloaded, or has no endpoints (429, 502, 503, 504).
    #[error("{at} is unavailable{}; try: again in a moment", colon(message))]
    Unavailable {
        /// Who was asked.
        at: String,
        /// What was said.
        message: String,
    },
    /// Something answers that does not speak Prometheus' API.
    #[error("{at} does not answer like Prometheus: {saw}; try: check port and path prefix")]
    NotPrometheus {
        /// Who was asked.
        at: String,
        /// What came instead, shortened.
        saw: String,
    },
    /// It sends the question elsewhere, which would carry credentials to another host.
    #[error(
        "{at} redirects to {to}, which is not followed; try: --prometheus with the final address"
    )]
    Redirected {
        /// Who was asked.
        at: String,
        /// Scheme and host of the other place.
        to: String,
    },
    /// More came than one look may hold in memory.
    #[error("{at} answers with more than {limit} MiB; try: a shorter range, or a narrower service")]
    TooLarge {
        /// Who was asked.
        at: String,
        /// The limit.
        limit: u64,
    },
    /// A result of a kind that is not counted here.
    #[error("{at} answers with {what}, which cannot be counted; try: {advice}")]
    Unsupported {
        /// Who was asked.
        at: String,
        /// What came.
        what: &'static str,
        /// What may help.
        advice: &'static str,
    },
    /// The client could not be built from what was given.
    #[error("cannot prepare the client for {at}: {cause}")]
    Client {
        /// Who was to be asked.
        at: String,
        /// What is wrong.
        cause: String,
    },
}

impl MetricsError {
    /// Whether asking again may well succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::QueryFailed { .. }
            | Self::Unavailable { .. } => true,
            Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. }
            | Self::BadQuery { .. }
            | Self::NotPrometheus { .. }
            | Self::Redirected { .. }
            | Self::TooLarge { .. }
            | Self::Unsupported { .. }
            | Self::Client { .. } => false,
        }
    }
}

impl MetricsError {
    /// The kind of error in one word, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed-out",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound { .. } => "not-found",
            Self::BadQuery { .. } => "bad-query",
            Self::QueryFailed { .. } => "query-failed",
            Self::Unavailable { .. } => "unavailable",
            Self::NotPrometheus { .. } => "not-prometheus",
            Self::Redirected { .. } => "redirected",
            Self::TooLarge { .. } => "too-large",
            Self::Unsupported { .. } => "unsupported",
            Self::Client { .. } => "client",
        }
    }
}

impl MetricsError {
    /// The same with every secret taken out of what others said.
    pub(crate) fn without(mut self, secrets: &[String]) -> Self {
        for text in self.texts() {
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                if text.contains(secret.as_str()) {
                    *text = text.replace(secret.as_str(), "***");
                }
            }
        }
        self
    }

    /// Every text that somebody else may have written.
    fn texts(&mut self) -> Vec<&mut String> {
        match self {
            Self::Unreachable { at, cause } | Self::Client { at, cause } => vec![at, cause],
            Self::Unauthorized { who, message, .. } | Self::Forbidden { who, message, .. } => {
                vec![who, message]
            }
            Self::NotFound { at, message }
            | Self::BadQuery { at, message }
            | Self::Unavailable { at, message } => vec![at, message],
            Self::QueryFailed { at, kind, message } => vec![at, kind, message],
            Self::NotPrometheus { at, saw } => vec![at, saw],
            Self::Redirected { at, to } => vec![at, to],
            Self::TimedOut { at, .. }
            | Self::TooLarge { at, .. }
            | Self::Unsupported { at, .. } => {
                vec![at]
            }
        }
    }
}

/// The chain of causes in one line, without saying the same thing twice.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

/// The beginning of a foreign text on one line, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 160;
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|letter| !letter.is_control());
    if line.chars().count() > LONGEST {
        line = line.chars().take(LONGEST).collect();
        line.push('…');
    }
    line
}

fn colon(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_fragments_that_end_with_a_way_out() {
        let error = MetricsError::TimedOut {
            at: "istio-system/prometheus:9090".into(),
            after: Duration::from_millis(2500),
        };
        assert_eq!(
            error.to_string(),
            "istio-system/prometheus:9090 did not answer within 2.5 s; try: a longer --request-timeout"
        );
        assert!(error.is_transient());
    }

    #[test]
    fn a_foreign_text_becomes_one_short_line() {
        assert_eq!(
            excerpt("<html>\n  <b>no\u{1b}[0m</b>"),
            "<html> <b>no[0m</b>"
        );
        assert_eq!(excerpt(&"x".repeat(500)).chars().count(), 161);
    }
}
