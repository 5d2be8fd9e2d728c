//! What a library's error comes down to.

use std::error::Error;

/// The last cause, which is the one that the network or the system reports: what the layers of the client
/// say before it (`client error (Connect)`) does not help its reader.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let text = root.to_string();
    match text.split_once(" (os error") {
        Some((said, _)) => said.to_lowercase(),
        None => text,
    }
}
