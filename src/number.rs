//! Numbers as people read them: one form of a thousand, of a percentage and of a pace, everywhere.

/// Digits in groups of three: `15,722`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A mean number of requests: `0.4`, `30`, `1,500`.
pub(crate) fn mean(number: f64) -> String {
    if number > 0.0 && number < 9.95 {
        let text = format!("{number:.1}");
        return text.trim_end_matches(".0").to_owned();
    }
    grouped(number.round() as u64)
}

/// Requests in a time: `212 req/s`, `10 req/min`.
pub(crate) fn pace(per_second: f64) -> String {
    match per_second {
        rate if rate < 1.0 => format!("{} req/min", mean(60.0 * rate)),
        rate if rate < 10.0 => format!("{rate:.1} req/s"),
        rate => format!("{} req/s", mean(rate)),
    }
}

/// A share (0 to 1) as a percentage with two significant digits: `21 %`, `0.089 %`, `<0.001 %`.
///
/// What is not nothing is never shown as 0 %, and what is not everything never as 100 %.
pub(crate) fn percentage(share: f64) -> String {
    format!("{} %", percentage_points(share))
}

/// The same without the unit, for a difference of two shares: `0.5` of `0.5 points`.
pub(crate) fn percentage_points(share: f64) -> String {
    let percent = 100.0 * share;
    if (99.5..100.0).contains(&percent) {
        return format!("{:.2}", percent.min(99.99));
    }
    let digits = match percent {
        percent if percent <= 0.0 || percent >= 9.95 => 0,
        percent if percent >= 0.995 => 1,
        percent if percent >= 0.095 => 2,
        _ => 3,
    };
    let text = format!("{percent:.digits$}");
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    match short {
        "0" if share > 0.0 => "<0.001".into(),
        short => short.to_owned(),
    }
}

/// `part` of `whole` as a percentage; `None` of nothing.
pub(crate) fn rate(part: u64, whole: u64) -> Option<String> {
    (whole > 0).then(|| percentage(part.min(whole) as f64 / whole as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (15_722, "15,722"),
            (1_234_567, "1,234,567"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn means_and_paces_have_as_many_digits_as_they_deserve() {
        for (number, text) in [(0.0, "0"), (0.42, "0.4"), (3.0, "3"), (1_499.6, "1,500")] {
            assert_eq!(mean(number), text);
        }
        for (rate, text) in [
            (1.0 / 6.0, "10 req/min"),
            (1.5, "1.5 req/s"),
            (212.4, "212 req/s"),
            (15_000.0, "15,000 req/s"),
        ] {
            assert_eq!(pace(rate), text);
        }
    }

    #[test]
    fn percentages_are_short_and_never_round_to_a_certainty() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.000_001, "<0.001 %"),
            (0.000_1, "0.01 %"),
            (0.001, "0.1 %"),
            (0.0125, "1.2 %"),
            (0.02, "2 %"),
            (0.5, "50 %"),
            (0.996_2, "99.62 %"),
            (0.999_999, "99.99 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percentage(share), text);
        }
        for (part, whole, text) in [
            (0, 10, "0 %"),
            (1, 1_000_000, "<0.001 %"),
            (14, 15_722, "0.089 %"),
            (1, 100, "1 %"),
            (64, 301, "21 %"),
            (15, 1000, "1.5 %"),
            (9_999, 10_000, "99.99 %"),
            (10, 10, "100 %"),
        ] {
            assert_eq!(rate(part, whole).unwrap(), text, "{part} of {whole}");
        }
        assert_eq!(rate(0, 0), None);
    }
}
