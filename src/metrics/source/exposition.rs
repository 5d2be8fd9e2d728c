//! Prometheus' text format, as a proxy shows its counters: only the lines that are asked for are taken apart.
//!
//! An answer is taken whole or not at all. One that was cut would look like one in which series are missing, and
//! a series that comes back counts from zero.

use std::str::Chars;

use super::query_result::Labels;

/// What kept a text from being read, in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableSamples(pub String);

/// The samples whose metric and labels `is_wanted` accepts, the metric's name as `__name__`.
///
/// # Errors
/// If a line of a metric whose name is in `metrics` is no sample, or the text does not end with a line.
pub fn samples(
    text: &str,
    metrics: &[&str],
    is_wanted: impl Fn(&Labels) -> bool,
) -> Result<Vec<(Labels, f64)>, UnreadableSamples> {
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(UnreadableSamples(
            "the answer ends in the middle of a line".into(),
        ));
    }
    let mut found = Vec::new();
    for line in text.lines() {
        let end = line.find(['{', ' ', '\t']).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        if !metrics.contains(&name) {
            continue;
        }
        let unreadable = || UnreadableSamples(format!("a line of {name} that is no sample"));
        let (labels, value) = sample(name, rest).ok_or_else(unreadable)?;
        if is_wanted(&labels) {
            found.push((labels, value));
        }
    }
    Ok(found)
}

/// `{a="b"} 5`, or ` 5` without labels; a timestamp or an exemplar behind it says nothing here.
fn sample(name: &str, rest: &str) -> Option<(Labels, f64)> {
    let mut labels = Labels::from([("__name__".to_owned(), name.to_owned())]);
    let value = match rest.strip_prefix('{') {
        Some(inside) => {
            let mut chars = inside.chars();
            read_labels(&mut chars, &mut labels)?;
            chars.as_str()
        }
        None => rest,
    };
    Some((labels, number(value.split_ascii_whitespace().next()?)?))
}

/// Label after label up to the brace.
fn read_labels(chars: &mut Chars<'_>, labels: &mut Labels) -> Option<()> {
    loop {
        let text = chars.as_str().trim_start_matches([' ', ',']);
        if let Some(rest) = text.strip_prefix('}') {
            *chars = rest.chars();
            return Some(());
        }
        let (name, rest) = text.split_once('=')?;
        let mut value = rest.trim_start().strip_prefix('"')?.chars();
        let text = quoted(&mut value)?;
        labels.insert(name.trim().to_owned(), text);
        *chars = value;
    }
}

/// A value up to its closing quote.
fn quoted(chars: &mut Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        text.push(match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => '\n',
                other => other,
            },
            other => other,
        });
    }
}

/// A value as Go writes it.
fn number(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    const METRICS: [&str; 2] = ["istio_requests_total", "bucket"];

    fn read(text: &str) -> Result<Vec<(Labels, f64)>, UnreadableSamples> {
        samples(text, &METRICS, |_| true)
    }

    fn named(name: &str, labels: &[(&str, &str)]) -> Labels {
        let own = [("__name__", name)];
        let labels = labels.iter().chain(&own);
        labels
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn only_the_metrics_that_are_asked_for_are_read() {
        let text = "# TYPE istio_requests_total counter\n\
            istio_requests_total{reporter=\"destination\",response_code=\"200\",} 12\n\
            istio_requests_total_created{a=\"b\"} not a number\n\
            envoy_other{ broken\n\
            \n\
            bucket{le=\"+Inf\"} 1.5e3 1700000000000\n\
            bucket 7 # {trace_id=\"x\"} 1\n";
        assert_eq!(
            read(text).unwrap(),
            [
                (
                    named(
                        "istio_requests_total",
                        &[("reporter", "destination"), ("response_code", "200")]
                    ),
                    12.0
                ),
                (named("bucket", &[("le", "+Inf")]), 1500.0),
                (named("bucket", &[]), 7.0),
            ]
        );
        assert_eq!(read("").unwrap(), []);
        let inbound = |labels: &Labels| labels.get("le").is_none();
        assert_eq!(samples(text, &METRICS, inbound).unwrap().len(), 2);
    }

    #[test]
    fn an_answer_that_is_cut_or_garbled_is_not_read_in_part() {
        for text in [
            "bucket 7\nbucket{le=\"1\"} 1",
            "bucket 7\nbucket{le=\"1\n",
            "bucket{le=\"1\"}\n",
            "bucket{le=1} 1\n",
            "bucket{le} 1\n",
            "bucket seven\n",
            "bucket\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    fn written(samples: &[(Labels, f64)]) -> String {
        let mut text = String::new();
        for (labels, value) in samples {
            let escape = |text: &str| {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"");
                text.replace('\n', "\\n")
            };
            let own = labels.iter().filter(|(name, _)| *name != "__name__");
            let own = own.map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
            let own = own.collect::<Vec<_>>().join(",");
            writeln!(text, "{}{{{own}}} {value}", labels["__name__"]).unwrap();
        }
        text
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            samples in prop::collection::vec(
                (prop::collection::btree_map("[a-z_]{1,6}", "[^\r]{0,12}", 0..4), 0.0..1e12f64),
                0..6,
            )
        ) {
            let samples: Vec<_> = samples
                .into_iter()
                .map(|(mut labels, value)| {
                    labels.insert("__name__".to_owned(), "bucket".to_owned());
                    (labels, value)
                })
                .collect();
            // Nothing that stands in a value ends a line.
            prop_assert_eq!(read(&written(&samples)).unwrap(), samples);
        }

        #[test]
        fn no_text_makes_it_panic_and_no_cut_one_is_read(text in "(bucket|[{}\"=,\\\\ n1.\n]){0,40}", cut in 0usize..60) {
            let _ = read(&text);
            let whole = "bucket{le=\"1\",a=\"b\"} 12\nbucket{le=\"2\"} 34\n";
            let cut = cut.min(whole.len() - 1);
            let part = &whole[..cut];
            prop_assert_eq!(read(part).is_ok(), part.is_empty() || part.ends_with('\n'));
        }
    }
}
