//! What libraries, servers and helper programs say, before any of it becomes a message, an event or a record.
//!
//! Such a text may repeat what it was given: a token, a URL with a password, a line of a kubeconfig. So the
//! little that helps its reader is taken out of it by its form wherever it has one (the exit code of a
//! plugin, the place in a file), and the rest passes through [`foreign_text`], which masks whatever looks
//! like a secret and every value that is known to be one.

use std::borrow::Cow;
use std::error::Error;
use std::sync::{LazyLock, PoisonError, RwLock};

use regex::{Captures, Regex};

/// What stands for a secret.
const MASK: &str = "***";
/// The longest text, in characters: a webhook gives a reason in less.
const LONGEST: usize = 500;
/// Shorter values are words that a message may well need, such as `admin`.
const SHORTEST_SECRET: usize = 6;

/// The values that are known to be secret. A process only ever learns more of them.
static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// From now on this value is masked wherever it turns up.
pub(crate) fn keep_secret(value: &str) {
    let value = value.trim();
    if value.len() < SHORTEST_SECRET {
        return;
    }
    // A list that a panic interrupted is still a list.
    let mut secrets = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    if !secrets.iter().any(|known| known == value) {
        secrets.push(value.to_owned());
        // The longest first, since one may be the beginning of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }
}

/// The text on one line of bounded length, without anything that looks like a secret or is known as one.
pub(crate) fn foreign_text(text: &str) -> String {
    let line: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .filter(|letter| !letter.is_control())
        .collect();
    let mut line = without_known(line);
    for (pattern, replace) in PATTERNS.iter() {
        if let Cow::Owned(masked) = pattern.replace_all(&line, *replace) {
            line = masked;
        }
    }
    if line.chars().count() > LONGEST {
        line = line.chars().take(LONGEST).collect();
        line.push('…');
    }
    line
}

/// The last cause, which is the one that the network or the system reports: what the layers of the client
/// say before it (`client error (Connect)`) does not help its reader.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    let text = root.to_string();
    foreign_text(&match text.split_once(" (os error") {
        Some((said, _)) => said.to_lowercase(),
        None => text,
    })
}

/// Why a text is not the JSON that was expected, without the parts of it that a parser repeats.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // These name what the reader wants, and nothing of what was there.
    let absent = text.strip_prefix("missing field ");
    let what = match (absent.and_then(|rest| rest.split(" at line").next()), error) {
        (Some(field), _) => format!("missing field {field}"),
        (None, error) if error.is_data() => "a value that does not belong there".to_owned(),
        (None, error) if error.is_eof() => "it ends too early".to_owned(),
        (None, _) => "it is not JSON".to_owned(),
    };
    match error.line() {
        0 => what,
        line => format!("{what} at line {line} column {}", error.column()),
    }
}

fn without_known(mut line: String) -> String {
    let secrets = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    for secret in secrets.iter().filter(|secret| !secret.contains('\n')) {
        if line.contains(secret.as_str()) {
            line = line.replace(secret.as_str(), MASK);
        }
    }
    line
}

type Replace = fn(&Captures<'_>) -> String;

/// What secrets look like, and what is left of them.
static PATTERNS: LazyLock<Vec<(Regex, Replace)>> = LazyLock::new(|| {
    let masked: Replace = |_| MASK.to_owned();
    let patterns: [(&str, Replace); 7] = [
        // Keys and certificates.
        (r"-----BEGIN .*?(-----END [A-Z ]*-----|$)", masked),
        // Of a URL only the server is of use; user, path and query may each hold a secret.
        (r#"(?i)\b([a-z][a-z0-9+.-]*://)([^\s"'<>\\]*)"#, |found| {
            shortened_url(&found[1], &found[2])
        }),
        // The value of a header.
        (
            r#"(?i)\b(bearer|basic|negotiate|digest)\s+([^\s"',;]+)"#,
            |found| match ["auth", "authentication", "token", "credentials"].contains(&&found[2]) {
                true => found[0].to_owned(),
                false => format!("{} {MASK}", &found[1]),
            },
        ),
        // `user:password@host`; a user's name that an API server gives is none.
        (
            r#"User "[^"]*"|[^\s"'/:@=]+:[^\s"'/@]+@"#,
            |found| match found[0].starts_with("User ") {
                true => found[0].to_owned(),
                false => format!("{MASK}@"),
            },
        ),
        // `token=…`, `"password": "…"`, `--client-secret …`.
        (
            r#"(?i)([\w.-]*(?:token|secret|passw(?:or)?d|passphrase|pwd|api[_-]?key|access[_-]?key|private[_-]?key|key[_-]data|credentials?|authorization|signature|cookie|session|assertion)\\?["']?\s*[=:]\s*\\?["']?|--?[\w-]*(?:token|secret|password)\s+)(?:(?:bearer|basic)\s+)?[^\s&"',;<>\\{}()\[\]]+"#,
            |found| format!("{}{MASK}", &found[1]),
        ),
        // A JSON Web Token.
        (r"\beyJ[\w-]{5,}\.[\w-]+(\.[\w-]*)?", masked),
        // What nobody calls an object: digits, small and capital letters in one long word, or a long number in
        // base 16.
        (r"[A-Za-z0-9+/=]{40,}|[A-Za-z0-9+=_-]{24,}", |found| {
            let word = &found[0];
            let has = |is: fn(char) -> bool| word.chars().any(is);
            let mixed = has(|letter| letter.is_ascii_digit())
                && has(|letter| letter.is_ascii_lowercase())
                && has(|letter| letter.is_ascii_uppercase());
            let hexadecimal =
                word.len() >= 32 && word.chars().all(|letter| letter.is_ascii_hexdigit());
            match mixed || hexadecimal {
                true => MASK.to_owned(),
                false => word.to_owned(),
            }
        }),
    ];
    let compiled = patterns.map(|(pattern, replace)| {
        let pattern = Regex::new(pattern).expect("a constant pattern");
        (pattern, replace)
    });
    compiled.into()
});

/// Scheme and server of a URL; `…` stands for the rest.
fn shortened_url(scheme: &str, rest: &str) -> String {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A password may hold a slash, and whatever stands before an `@` may be one.
    let server = match rest.rsplit_once('@') {
        Some((_, after)) => after.split(['/', '?', '#']).next().unwrap_or_default(),
        None => authority,
    };
    // The punctuation of the sentence around it.
    let closing = |letter| matches!(letter, ',' | ';' | ':' | '.' | ')' | ']');
    match path.trim_end_matches(closing) {
        "" | "/" => format!("{scheme}{server}"),
        shown => format!("{scheme}{server}/…{}", &path[shown.len()..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked() {
        for (text, expected) in [
            ("Authorization: Bearer abc.def", "Authorization: ***"),
            ("sent 'Basic dXNlcjpwdw=='", "sent 'Basic ***'"),
            (
                "proxy user:hunter2@proxy:3128 said no",
                "proxy ***@proxy:3128 said no",
            ),
            ("http://me:hunter2@prom:9090/x?y=1", "http://prom:9090/…"),
            ("http://me:hunt/er2@prom:9090", "http://prom:9090/…"),
            (
                "GET https://prom/api?token=hunter2: no",
                "GET https://prom/…: no",
            ),
            ("see https://prom:9090.", "see https://prom:9090."),
            ("/api/v1?token=hunter2&x=1", "/api/v1?token=***&x=1"),
            (
                r#"{"password": "hunter2", "a": 1}"#,
                r#"{"password": "***", "a": 1}"#,
            ),
            (
                r#"{\"clientSecret\":\"hunter2\"}"#,
                r#"{\"clientSecret\":\"***\"}"#,
            ),
            ("aws --secret hunter2 failed", "aws --secret *** failed"),
            ("client-key-data: hunter2", "client-key-data: ***"),
            ("jwt eyJhbGciOi.eyJzdWIi.c2ln is old", "jwt *** is old"),
            ("id AKIAq8Zp2Lm4Xx91TtRr00Kk unknown", "id *** unknown"),
            (
                "-----BEGIN RSA KEY-----\nabc\n-----END RSA KEY----- x",
                "*** x",
            ),
            ("digest 0123456789abcdef0123456789abcdef", "digest ***"),
        ] {
            assert_eq!(foreign_text(text), expected);
        }
    }

    #[test]
    fn what_helps_its_reader_stays() {
        for text in [
            r#"virtualservices "reviews" is forbidden: User "oidc:bob@example.com" cannot patch resource "virtualservices""#,
            r#"admission webhook "rev.validation.istio.io" denied the request: total weight 90 != 100"#,
            "connection refused",
            "a bearer token is needed",
            "networking.istio.io/v1alpha3/VirtualService",
            "query processing would load too many samples",
            r#"services "http:prometheus:9090" is forbidden"#,
            "virtualservices my-very-long-service-name-of-production-2026 not found",
            "write to bob@example.com",
        ] {
            assert_eq!(foreign_text(text), text);
        }
        assert_eq!(
            foreign_text(
                r#"Post "https://istiod.istio-system.svc:443/validate?timeout=10s": dial tcp: refused"#
            ),
            r#"Post "https://istiod.istio-system.svc:443/…": dial tcp: refused"#
        );
    }

    #[test]
    fn a_known_secret_is_masked_in_any_form_and_a_word_is_none() {
        keep_secret("correct horse");
        keep_secret("own");
        assert_eq!(
            foreign_text("no correct horse of my own"),
            "no *** of my own"
        );
    }

    #[test]
    fn a_text_is_one_line_of_bounded_length() {
        assert_eq!(foreign_text("a\n  b\u{1b}[0m"), "a b[0m");
        assert_eq!(foreign_text(&"x ".repeat(500)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn a_parsers_problem_is_told_without_the_text() {
        let problem = |text| json_problem(&serde_json::from_str::<Vec<u8>>(text).unwrap_err());
        assert_eq!(
            problem(r#"["hunter2"]"#),
            "a value that does not belong there at line 1 column 10"
        );
        assert_eq!(problem("hunter2"), "it is not JSON at line 1 column 1");
        assert_eq!(problem("[1"), "it ends too early at line 1 column 2");
    }
}
