//! Rows that flow into as many columns as a terminal has.

use super::{Palette, Tone};

/// What stands in a row and is never divided: a word, or a few that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowPart {
    pub tone: Tone,
    pub text: String,
}

impl RowPart {
    pub(super) fn new(tone: Tone, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { tone, text }
    }
}

/// Parts beside each other with `gap` between them, in as many rows as it takes where no row is longer than
/// `columns`; a part that is longer by itself is shortened.
pub(super) fn flow(palette: Palette, parts: &[RowPart], gap: usize, columns: usize) -> Vec<String> {
    let mut rows: Vec<Vec<RowPart>> = Vec::new();
    let mut taken = 0;
    for part in parts.iter().filter(|part| !part.text.is_empty()) {
        let text = shortened(&part.text, columns);
        let width = text.chars().count();
        match rows.last_mut() {
            Some(row) if taken + gap + width <= columns => {
                taken += gap + width;
                // Parts of one tone are painted as one.
                match row.last_mut().filter(|last| last.tone == part.tone) {
                    Some(last) => last.text += &format!("{}{text}", " ".repeat(gap)),
                    None => row.push(RowPart::new(part.tone, text)),
                }
            }
            _ => {
                taken = width;
                rows.push(vec![RowPart::new(part.tone, text)]);
            }
        }
    }
    let painted = rows.into_iter().map(|row| {
        let parts = row.iter().map(|part| palette.paint(part.tone, &part.text));
        parts.collect::<Vec<_>>().join(&" ".repeat(gap))
    });
    painted.collect()
}

/// The same of the words of a text.
pub(super) fn flow_words(palette: Palette, tone: Tone, text: &str, columns: usize) -> Vec<String> {
    let words: Vec<_> = text
        .split(' ')
        .map(|word| RowPart::new(tone, word))
        .collect();
    flow(palette, &words, 1, columns)
}

/// As much of a text as `columns` hold, with a sign where something is missing: in the middle, as names differ
/// at both ends.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    if length <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let end = room / 2;
    let head = text.chars().take(room - end);
    let tail = text.chars().skip(length - end);
    head.chain(['…']).chain(tail).take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_whole_and_go_on_below() {
        let parts = ["✓ 1 %", "▸ 10 % for 5s", "", "· 50 %", "· 100 %"];
        let parts = parts.map(|text| RowPart::new(Tone::Plain, text));
        let flowed = |columns| flow(Palette::PLAIN, &parts, 3, columns);
        assert_eq!(flowed(60), ["✓ 1 %   ▸ 10 % for 5s   · 50 %   · 100 %"]);
        assert_eq!(flowed(21), ["✓ 1 %   ▸ 10 % for 5s", "· 50 %   · 100 %"]);
        assert_eq!(flowed(8), ["✓ 1 %", "▸ 10… 5s", "· 50 %", "· 100 %"]);
    }

    #[test]
    fn parts_of_one_tone_are_painted_as_one() {
        let rows = flow_words(Palette::COLORED, Tone::Good, "healthy so far", 12);
        assert_eq!(rows, ["\x1b[32mhealthy so\x1b[0m", "\x1b[32mfar\x1b[0m"]);
    }

    #[test]
    fn what_is_missing_is_in_the_middle() {
        for (columns, expected) in [
            (20, "checkout-eu-west-1"),
            (18, "checkout-eu-west-1"),
            (9, "chec…st-1"),
            (1, "…"),
            (0, ""),
        ] {
            assert_eq!(shortened("checkout-eu-west-1", columns), expected);
        }
    }
}
