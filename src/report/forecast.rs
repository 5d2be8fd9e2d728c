//! What is to be expected of a plan, in words and numbers.

use std::io::{self, Write};

use clap::ValueEnum;

use super::{Layout, Table, Tone, escape};
use crate::number::grouped;
use crate::plan::{Forecast, HumanDuration, SmallerStep};
use crate::verdict::sequential::Preset;

/// `about 9 min at 212 req/s`; what is not known is left out.
pub(super) fn brief(expected: Option<HumanDuration>, per_second: Option<f64>) -> Option<String> {
    let time = expected.map(|time| format!("about {}", about(time)));
    let rate = per_second.map(|rate| format!("at {}", pace(rate)));
    let parts: Vec<_> = time.into_iter().chain(rate).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Writes the forecast below a plan. `stable` is the name of the stable version.
pub(super) fn show(
    forecast: &Forecast,
    stable: &str,
    out: &mut dyn Write,
    layout: Layout,
) -> io::Result<()> {
    let stable = escape(stable);
    writeln!(
        out,
        "{:<9}{} on {stable}, {} failed, scraped every {}",
        "traffic",
        pace(forecast.requests_per_second),
        percentage(forecast.failure_rate),
        forecast.scrape
    )?;
    let judged = || forecast.steps.iter().filter(|step| step.judged);
    if judged().next().is_some() {
        let steps: Vec<_> = judged()
            .map(|step| format!("{}% {}", step.exposure.share(), in_time(step.takes)))
            .collect();
        let total = match forecast.total {
            Some(total) => format!("about {} to 100%", about(total)),
            None => "not to 100% by itself".into(),
        };
        writeln!(out, "{:<9}{}; {total}", "takes", steps.join(", "))?;
        writeln!(
            out,
            "{:<9}a canary that fails every request fails about {} of them at {}%",
            "broken",
            count(forecast.broken),
            forecast.broken_at
        )?;
    }
    if let Some(smaller) = &forecast.smaller {
        let word = layout
            .palette
            .paint(Tone::Strong, format!("{:<9}", "advice"));
        writeln!(out, "{word}{}", advice(smaller))?;
    }
    if forecast.presets.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let titles = ["preset", "to 100%", "may slip through"];
    let mut table = Table::new(titles).without_headers(layout.without_headers);
    for preset in &forecast.presets {
        let mark = if preset.chosen { " (this plan)" } else { "" };
        let overlooked = preset.overlooks.map_or_else(
            || "no verdict in time".into(),
            |rate| {
                let slow = preset.overlooks_slow.map_or_else(String::new, |excess| {
                    let points = percentage(excess);
                    let points = points.trim_end_matches('%');
                    format!(", or {points} points more slow requests")
                });
                format!("a canary that fails up to {}{slow}", percentage(rate))
            },
        );
        table.row([
            format!("{}{mark}", name(preset.preset)),
            in_time(preset.total),
            overlooked,
        ]);
    }
    table.write(out, "")?;
    writeln!(out)
}

fn advice(smaller: &SmallerStep) -> String {
    let time = smaller
        .total
        .map(|total| format!(" and takes {}", about(total)))
        .unwrap_or_default();
    let weights = if smaller.fine_weights {
        " --fine-weights"
    } else {
        ""
    };
    format!(
        "--steps {}{weights} costs about {} instead{time}",
        smaller.steps,
        count(smaller.broken)
    )
}

fn in_time(time: Option<HumanDuration>) -> String {
    time.map_or_else(|| "no verdict in time".into(), about)
}

/// What `--preset` calls it.
pub(super) fn name(preset: Preset) -> String {
    preset
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// A time with no more digits than a forecast has: `40 s`, `9 min`, `2 h 10 min`.
pub(super) fn about(time: HumanDuration) -> String {
    let seconds = time.signed().as_secs_f64();
    if seconds < 99.5 {
        return format!("{seconds:.0} s");
    }
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// `212 req/s`, `10 req/min`.
pub(super) fn pace(per_second: f64) -> String {
    match per_second {
        rate if rate < 1.0 => format!("{} req/min", count(60.0 * rate)),
        rate if rate < 10.0 => format!("{rate:.1} req/s"),
        rate => format!("{} req/s", count(rate)),
    }
}

/// A share as a percentage with two digits that count.
pub(super) fn percentage(share: f64) -> String {
    // What is not everything is never shown as 100 %.
    let percent = match 100.0 * share {
        percent if (99.5..100.0).contains(&percent) => {
            return format!("{:.2}%", percent.min(99.99));
        }
        percent => percent,
    };
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
        "0" if share > 0.0 => "<0.001%".into(),
        short => format!("{short}%"),
    }
}

/// A mean number of requests: `0.4`, `30`, `1 500`.
pub(super) fn count(number: f64) -> String {
    if number > 0.0 && number < 9.95 {
        let text = format!("{number:.1}");
        return text.trim_end_matches(".0").to_owned();
    }
    grouped(number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Options, Plan};
    use crate::verdict::sequential::Traffic;

    fn shown(per_second: f64, shared: i64) -> String {
        let plan = Plan::resolve(Options::default()).unwrap();
        let traffic = Traffic {
            per_second,
            failure_rate: 0.001,
        };
        let forecast = Forecast::of(&plan, traffic, 0, shared).unwrap();
        let mut out = Vec::new();
        show(&forecast, "v1", &mut out, Layout::default()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_forecast_reads_well() {
        insta::assert_snapshot!(shown(1000.0, 100), @"
        traffic  1 000 req/s on v1, 0.1% failed, scraped every 15s
        takes    1% 70 s, 10% 70 s, 50% 70 s; about 4 min to 100%
        broken   a canary that fails every request fails about 102 of them at 1%
        advice   --steps 0.4,10,50,100 --fine-weights costs about 41 instead and takes 4 min

        PRESET                TO 100%   MAY SLIP THROUGH
        careful (this plan)   4 min     a canary that fails up to 0.2%, or 2 points more slow requests
        quick                 2 min     a canary that fails up to 1.1%, or 4 points more slow requests
        quicker               2 min     a canary that fails up to 2.2%, or 8 points more slow requests
        ");
    }

    #[test]
    fn too_little_traffic_reads_well() {
        insta::assert_snapshot!(shown(1.0 / 6.0, 100), @"
        traffic  10 req/min on v1, 0.1% failed, scraped every 15s
        takes    1% 70 s, 10% 70 s, 50% no verdict in time; not to 100% by itself
        broken   a canary that fails every request fails about 3 of them at 1%

        PRESET                TO 100%              MAY SLIP THROUGH
        careful (this plan)   no verdict in time   no verdict in time
        quick                 no verdict in time   no verdict in time
        quicker               37 min               a canary that fails up to 2.2%, or 8 points more slow requests
        ");
    }

    #[test]
    fn numbers_have_as_many_digits_as_they_deserve() {
        for (seconds, text) in [
            (40, "40 s"),
            (99, "99 s"),
            (100, "2 min"),
            (544, "9 min"),
            (7_200, "2 h"),
            (7_800, "2 h 10 min"),
        ] {
            assert_eq!(about(HumanDuration::seconds(seconds)), text);
        }
        for (rate, text) in [
            (1.0 / 6.0, "10 req/min"),
            (1.5, "1.5 req/s"),
            (212.4, "212 req/s"),
            (15_000.0, "15 000 req/s"),
        ] {
            assert_eq!(pace(rate), text);
        }
        for (share, text) in [
            (0.0, "0%"),
            (0.000_001, "<0.001%"),
            (0.000_1, "0.01%"),
            (0.001, "0.1%"),
            (0.0125, "1.2%"),
            (0.02, "2%"),
            (0.5, "50%"),
            (0.996_2, "99.62%"),
            (0.999_999, "99.99%"),
            (1.0, "100%"),
        ] {
            assert_eq!(percentage(share), text);
        }
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert_eq!(brief(None, None), None);
        assert_eq!(brief(None, Some(0.2)).unwrap(), "at 12 req/min");
    }
}
