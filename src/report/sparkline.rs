//! A small line of what was seen last, for a terminal.

/// From nothing to everything.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Values from 0 to `most`, each a character; what is not known is a gap.
pub(super) fn sparkline(values: impl IntoIterator<Item = Option<f64>>, most: f64) -> String {
    let level = |value: f64| {
        let top = (LEVELS.len() - 1) as f64;
        LEVELS[(value / most * top).clamp(0.0, top).round() as usize]
    };
    values
        .into_iter()
        .map(|value| value.map_or(' ', level))
        .collect()
}

/// A share of `width` characters.
pub(super) fn bar(share: f64, width: usize) -> String {
    let filled = (share.clamp(0.0, 1.0) * width as f64).floor() as usize;
    "█".repeat(filled) + &"░".repeat(width - filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_high_as_its_values() {
        let values = [Some(0.0), None, Some(0.5), Some(1.0), Some(3.0)];
        assert_eq!(sparkline(values, 1.0), "▁ ▅██");
    }

    #[test]
    fn a_bar_is_full_only_at_the_whole() {
        for (share, expected) in [
            (-1.0, "░░░░"),
            (0.0, "░░░░"),
            (0.99, "███░"),
            (1.0, "████"),
            (f64::INFINITY, "████"),
            (f64::NAN, "░░░░"),
        ] {
            assert_eq!(bar(share, 4), expected, "{share}");
        }
    }
}
