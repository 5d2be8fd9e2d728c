//! How a request was answered, as far as it failed.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of an answer: of HTTP where that tells, else of gRPC.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum StatusCode {
    /// A status of HTTP; 0 for none at all, a single digit for a class of them such as `5xx`.
    Http(u16),
    /// A status of gRPC, 1 to 16.
    Grpc(u16),
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(class @ 1..=9) => write!(f, "{class}xx"),
            Self::Http(code) => write!(f, "{code}"),
            Self::Grpc(status) => write!(f, "gRPC {status}"),
        }
    }
}

/// Not the status of an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the status of an answer")]
pub struct StatusCodeError(String);

impl FromStr for StatusCode {
    type Err = StatusCodeError;

    fn from_str(text: &str) -> Result<Self, StatusCodeError> {
        let number = |digits: &str| digits.parse::<u16>().ok();
        let code = match (text.strip_prefix("gRPC "), text.strip_suffix("xx")) {
            (Some(status), _) => number(status).map(Self::Grpc),
            (None, Some(class)) => number(class).map(Self::Http),
            (None, None) => number(text).map(Self::Http),
        };
        code.ok_or_else(|| StatusCodeError(text.to_owned()))
    }
}

impl TryFrom<String> for StatusCode {
    type Error = StatusCodeError;

    fn try_from(text: String) -> Result<Self, StatusCodeError> {
        text.parse()
    }
}

impl From<StatusCode> for String {
    fn from(code: StatusCode) -> Self {
        code.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_written_as_it_is_read() {
        for (code, text) in [
            (StatusCode::Http(503), "503"),
            (StatusCode::Http(0), "0"),
            (StatusCode::Http(5), "5xx"),
            (StatusCode::Grpc(13), "gRPC 13"),
        ] {
            assert_eq!(code.to_string(), text);
            assert_eq!(String::from(code), text);
            assert_eq!(text.parse::<StatusCode>().unwrap(), code);
        }
        assert!("teapot".parse::<StatusCode>().is_err());
    }
}
