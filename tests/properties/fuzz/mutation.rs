//! What may be wrong with a document.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// One thing that is wrong with a document.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// It is something else altogether.
    Bytes(Vec<u8>),
    /// It breaks off.
    Truncated(Index),
    /// Some of its bytes are others.
    Flipped(Vec<(Index, u8)>),
    /// One of its values is another; in a text that is no JSON, the end of a line is.
    Replaced(Index, Value),
    /// One of its lines is there twice.
    Doubled(Index),
}

/// Text that a terminal would obey, and text that looks like something else.
const HOSTILE: [&str; 11] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{9b}31m",
    "\u{202e}drowssap",
    "\u{200e}",
    "over\rwritten",
    "two\nlines",
    "nul\0",
    "",
    "<html><body>502 Bad Gateway</body></html>",
    "{{ .Values.host }}",
    "99999999999999999999999999",
];

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop::sample::select(HOSTILE.to_vec()).prop_map(Value::from),
        1 => ".{0,40}".prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(json!([])),
        1 => Just(json!({})),
        1 => Just(json!([[[[{"a": [null, -1, 1e308]}]]]])),
    ]
}

pub fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        1 => vec(any::<u8>(), 0..200).prop_map(Mutation::Bytes),
        1 => any::<Index>().prop_map(Mutation::Truncated),
        2 => vec((any::<Index>(), any::<u8>()), 1..4).prop_map(Mutation::Flipped),
        5 => (any::<Index>(), value()).prop_map(|(place, value)| Mutation::Replaced(place, value)),
        1 => any::<Index>().prop_map(Mutation::Doubled),
    ]
}

impl Mutation {
    /// A document with this wrong in it.
    pub fn of(&self, document: &[u8]) -> Vec<u8> {
        if document.is_empty() {
            return Vec::new();
        }
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Truncated(place) => document[..place.index(document.len())].to_vec(),
            Self::Flipped(places) => {
                let mut bytes = document.to_vec();
                for (place, byte) in places {
                    let place = place.index(bytes.len());
                    bytes[place] = *byte;
                }
                bytes
            }
            Self::Replaced(place, value) => match serde_json::from_slice::<Value>(document) {
                Ok(mut json) => {
                    let all = pointers(&json);
                    let chosen = &all[place.index(all.len())];
                    *json.pointer_mut(chosen).expect("it was just found") = value.clone();
                    json.to_string().into_bytes()
                }
                Err(_) => in_a_line(document, *place, |line| {
                    let text = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    let start = line.split_once(": ").map_or(line, |(start, _)| start);
                    format!("{start}: {text}")
                }),
            },
            Self::Doubled(place) => in_a_line(document, *place, |line| format!("{line}\n{line}")),
        }
    }
}

fn in_a_line(document: &[u8], place: Index, change: impl Fn(&str) -> String) -> Vec<u8> {
    let text = String::from_utf8_lossy(document).into_owned();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let place = place.index(lines.len());
    lines[place] = change(&lines[place]);
    lines.join("\n").into_bytes()
}

/// Where every value of a document stands.
fn pointers(json: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut next = 0;
    while next < found.len() {
        let at = found[next].clone();
        next += 1;
        match json.pointer(&at) {
            Some(Value::Array(items)) => {
                found.extend((0..items.len()).map(|index| format!("{at}/{index}")));
            }
            Some(Value::Object(fields)) => {
                let escaped = |key: &String| key.replace('~', "~0").replace('/', "~1");
                found.extend(fields.keys().map(|key| format!("{at}/{}", escaped(key))));
            }
            _ => {}
        }
    }
    found
}
