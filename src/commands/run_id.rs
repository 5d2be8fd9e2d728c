//! The name of a run, as a pipeline may choose it.

/// The longest label of Kubernetes, where the run stands on a Job and its pods.
const LONGEST: usize = 63;

/// Reads a run's id: a DNS label.
///
/// # Errors
/// In words, if it is none.
pub(super) fn run_id(text: &str) -> Result<String, String> {
    let may_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().last()];
    let is_label = text.len() <= LONGEST
        && ends.iter().all(|byte| byte.is_some_and(may_end))
        && text.bytes().all(|byte| may_end(byte) || byte == b'-');
    match is_label {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "not a DNS label (try: up to {LONGEST} lowercase letters, digits and hyphens, such as pipeline-4711)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_by_a_dns_label() {
        for text in ["pipeline-4711", "1", "0198c0de", &"a".repeat(63)] {
            assert_eq!(run_id(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a.b",
            "ä",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(run_id(text).is_err(), "{text:?}");
        }
    }
}
