//! Numbers as people read them.

/// Digits in groups of three: `15 722`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `part` of `whole` as a percentage, see [`share`]; `None` of nothing.
pub(crate) fn rate(part: u64, whole: u64) -> Option<String> {
    (whole > 0).then(|| share(part as f64 / whole as f64))
}

/// A share from 0 to 1 as a percentage with about two digits: `21 %`, `0.9 %`, `<0.01 %`.
///
/// What is not nothing is never shown as 0 %, and what is not everything never as 100 %.
pub(crate) fn share(share: f64) -> String {
    let percent = share * 100.0;
    if share <= 0.0 {
        "0 %".into()
    } else if share >= 1.0 {
        "100 %".into()
    } else if percent < 0.01 {
        "<0.01 %".into()
    } else if percent < 0.995 {
        format!("{} %", format!("{percent:.2}").trim_end_matches('0'))
    } else if percent < 9.95 {
        format!("{} %", format!("{percent:.1}").trim_end_matches(".0"))
    } else {
        format!("{:.0} %", percent.min(99.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (15_722, "15 722"),
            (1_234_567, "1 234 567"),
            (1_000_000, "1 000 000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn rates_are_short_and_never_round_to_a_certainty() {
        for (part, whole, text) in [
            (0, 10, "0 %"),
            (1, 1_000_000, "<0.01 %"),
            (14, 15_722, "0.09 %"),
            (1, 100, "1 %"),
            (64, 301, "21 %"),
            (15, 1000, "1.5 %"),
            (9_999, 10_000, "99 %"),
            (10, 10, "100 %"),
        ] {
            assert_eq!(rate(part, whole).unwrap(), text, "{part} of {whole}");
        }
        assert_eq!(rate(0, 0), None);
    }
}
