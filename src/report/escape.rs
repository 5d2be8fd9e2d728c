//! Text from elsewhere, made safe for a terminal and for a format of one line an event.

use std::borrow::Cow;

/// Takes the power out of every character that a terminal would obey.
///
/// Names, reasons and error messages come from the cluster, and anyone who may write an annotation or
/// answer a query could otherwise rewrite the reader's screen. Line breaks and tabs become
/// a space, so that a record stays one line; other control characters are shown in caret notation;
/// marks that reorder text become U+FFFD.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    let mut chars = text.trim_end_matches(['\n', '\r']).chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => safe.push(' '),
            '\0'..='\x1f' | '\x7f' => {
                safe.push('^');
                safe.push(char::from(char as u8 ^ 0x40));
            }
            other if is_obeyed(other) => safe.push(char::REPLACEMENT_CHARACTER),
            other => safe.push(other),
        }
    }
    Cow::Owned(safe)
}

/// The same JSON on the same lines, with whatever a terminal would obey as `\uXXXX`.
///
/// Outside its strings JSON has no such character but the line break, which stays, and inside them this
/// is how JSON says it: nothing is lost.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    let escaped = |char| char != '\n' && is_obeyed(char);
    if !json.chars().any(escaped) {
        return Cow::Borrowed(json);
    }
    json.chars()
        .fold(String::with_capacity(json.len() + 8), |mut safe, char| {
            match escaped(char) {
                // All of them are in the basic plane, so that one escape is the whole character.
                true => safe.push_str(&format!("\\u{:04x}", u32::from(char))),
                false => safe.push(char),
            }
            safe
        })
        .into()
}

/// Whether a terminal does something else than to show it.
pub(super) fn is_obeyed(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(escape("zoë v2, 50 %"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        for (text, safe) in [
            ("\x1b[2Jgone", "^[[2Jgone"),
            ("bell\x07", "bell^G"),
            ("over\rwritten", "over written"),
            ("two\r\nlines\n", "two lines"),
            ("\u{9b}31m", "\u{fffd}31m"),
            ("del\x7f", "del^?"),
            ("\u{202e}drawkcab", "\u{fffd}drawkcab"),
        ] {
            assert_eq!(escape(text), safe);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_obeyed_survives(text in "\\PC*|[\\x00-\\x9f\\u{2028}-\\u{202e}]*") {
            let safe = escape(&text);
            prop_assert!(!safe.chars().any(is_obeyed), "{safe:?}");
        }

        #[test]
        fn json_says_the_same_without_them(text in "\\PC*|[\\x00-\\x9f\\u{200e}-\\u{2069}]*") {
            let json = serde_json::to_string_pretty(&[&text]).unwrap();
            let safe = escape_json(&json);
            prop_assert!(!safe.chars().any(|char| char != '\n' && is_obeyed(char)), "{safe:?}");
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap(), [text]);
        }
    }
}
