//! What is to be expected of a plan, in words and numbers.

use std::io::{self, Write};

use clap::ValueEnum;

use super::reason_text::operation_name;
use super::{Layout, Table, Tone, escape, phrase};
use crate::number::{mean, pace, percentage, percentage_points};
use crate::plan::{
    DetectedRegression, Forecast, HumanDuration, MetricPower, Remedy, RemedyChange, SmallerStep,
};
use crate::verdict::sequential::{Preset, Subject};

/// The most remedies that are told.
const REMEDIES: usize = 2;

/// `about 9m at 212 req/s`; what is not known is left out.
pub(super) fn brief(expected: Option<HumanDuration>, per_second: Option<f64>) -> Option<String> {
    let time = expected.map(|time| format!("about {}", time.rounded()));
    let rate = per_second.map(|rate| format!("at {}", pace(rate)));
    let parts: Vec<_> = time.into_iter().chain(rate).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// `+1 pp failures in 4m with 8 failed requests; from +0.6 pp on`.
pub(super) fn detects(power: &MetricPower, example: Option<DetectedRegression>) -> String {
    let example = example.map(|example| {
        format!(
            "{} in {} with {}",
            regression(power, &example),
            example.after.rounded(),
            bad(power, &example)
        )
    });
    let smallest = match power.smallest {
        Some(smallest) => format!("from {} on", excess(smallest)),
        None => format!("no regression of {} before 100 %", what(&power.subject)),
    };
    phrase::clauses([example, Some(smallest)])
}

fn excess(excess: f64) -> String {
    format!("+{} pp", percentage_points(excess))
}

fn regression(power: &MetricPower, example: &DetectedRegression) -> String {
    format!("{} {}", excess(example.excess), what(&power.subject))
}

fn bad(power: &MetricPower, example: &DetectedRegression) -> String {
    let kind = match power.subject {
        Subject::Failures
        | Subject::FailedWith { .. }
        | Subject::FailedOtherwise
        | Subject::FailedIn { .. } => "failed",
        Subject::Refusals => "refused",
        Subject::SlowerThan { .. } => "slow",
    };
    format!("{} {kind} requests", mean(example.bad))
}

fn what(subject: &Subject) -> String {
    match subject {
        Subject::Failures => "failures".into(),
        Subject::FailedWith { status } => format!("failures with {status}"),
        Subject::FailedOtherwise => "other failures".into(),
        Subject::FailedIn { operation } => {
            format!("failures of {}", operation_name(operation.as_deref()))
        }
        Subject::Refusals => "4xx".into(),
        Subject::SlowerThan { bound_ms } => format!("requests over {bound_ms} ms"),
    }
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
            .map(|step| format!("{} at {} %", in_time(step.takes), step.exposure.share()))
            .collect();
        let total = match forecast.total {
            Some(total) => format!("about {} to 100 %", total.rounded()),
            None => "inconclusive before 100 %".into(),
        };
        writeln!(out, "{:<9}{}; {total}", "duration", steps.join(", "))?;
        writeln!(
            out,
            "{:<9}a canary that fails every request fails about {} at {} %",
            "worst",
            mean(forecast.broken),
            forecast.broken_at
        )?;
    }
    if let Some(smaller) = &forecast.smaller {
        let word = layout
            .palette
            .paint(Tone::Strong, format!("{:<9}", "advice"));
        writeln!(out, "{word}{}", advice(smaller))?;
    }
    for text in remedies(forecast) {
        let word = layout
            .palette
            .paint(Tone::Strong, format!("{:<9}", "advice"));
        writeln!(out, "{word}{text}")?;
    }
    show_power(&forecast.power, out, layout)?;
    if forecast.presets.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let titles = ["preset", "to 100 %", "may go undetected"];
    let mut table = Table::new(titles).without_headers(layout.without_headers);
    for preset in &forecast.presets {
        let mark = if preset.chosen { " (this plan)" } else { "" };
        let overlooked = preset.overlooks.map_or_else(
            || "inconclusive".into(),
            |rate| {
                let slow = preset.overlooks_slow.map_or_else(String::new, |excess| {
                    format!(", or {} pp more slow requests", percentage_points(excess))
                });
                format!("up to {} failures{slow}", percentage(rate))
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

/// A row for each metric: what is caught of it.
fn show_power(power: &[MetricPower], out: &mut dyn Write, layout: Layout) -> io::Result<()> {
    if power.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let titles = ["regression", "detected in", "with", "smallest detected"];
    let mut table = Table::new(titles).without_headers(layout.without_headers);
    for of_metric in power {
        let smallest = of_metric.smallest.map_or_else(String::new, excess);
        table.row(match &of_metric.example {
            Some(example) => [
                regression(of_metric, example),
                example.after.rounded().to_string(),
                bad(of_metric, example),
                smallest,
            ],
            None => [
                what(&of_metric.subject),
                "not before 100 %".into(),
                String::new(),
                smallest,
            ],
        });
    }
    table.write(out, "")
}

/// What helps most, in words.
pub(super) fn remedies(forecast: &Forecast) -> impl Iterator<Item = String> {
    forecast.remedies.iter().take(REMEDIES).map(helps)
}

fn helps(remedy: &Remedy) -> String {
    let what = match &remedy.change {
        RemedyChange::Flag { flag } => flag.clone(),
        RemedyChange::SyntheticRequests { per_second } => {
            format!("{} of synthetic traffic", pace(*per_second))
        }
    };
    let cost = if remedy.overlooks_more {
        let rate = percentage(remedy.overlooks);
        format!(", up to {rate} failures go undetected")
    } else {
        String::new()
    };
    let total = remedy.total.rounded();
    format!("{what}: about {total} to 100 %{cost}")
}

fn advice(smaller: &SmallerStep) -> String {
    let time = smaller
        .total
        .map(|total| format!(" and takes about {}", total.rounded()))
        .unwrap_or_default();
    let weights = if smaller.fine_weights {
        " --fine-weights"
    } else {
        ""
    };
    format!(
        "--steps {}{weights} fails about {} instead{time}",
        smaller.steps,
        mean(smaller.broken)
    )
}

fn in_time(time: Option<HumanDuration>) -> String {
    time.map_or_else(|| "inconclusive".into(), |time| time.rounded().to_string())
}

/// What `--preset` calls it.
pub(super) fn name(preset: Preset) -> String {
    preset
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
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
        traffic  1,000 req/s on v1, 0.1 % failed, scraped every 15s
        duration 1m10s at 1 %, 1m10s at 10 %, 1m10s at 50 %; about 4m to 100 %
        worst    a canary that fails every request fails about 105 at 1 %
        advice   --steps 0.4,10,50,100 --fine-weights fails about 45 instead and takes about 4m

        PRESET                TO 100 %   MAY GO UNDETECTED
        careful (this plan)   4m         up to 0.2 % failures, or 2 pp more slow requests
        quick                 2m         up to 1.1 % failures, or 4 pp more slow requests
        quicker               2m         up to 2.2 % failures, or 8 pp more slow requests
        ");
    }

    #[test]
    fn too_little_traffic_reads_well() {
        insta::assert_snapshot!(shown(1.0 / 6.0, 100), @"
        traffic  10 req/min on v1, 0.1 % failed, scraped every 15s
        duration 1m10s at 1 %, 1m10s at 10 %, inconclusive at 50 %; inconclusive before 100 %
        worst    a canary that fails every request fails about 4.8 at 1 %
        advice   --preset quicker: about 37m to 100 %, up to 2.2 % failures go undetected
        advice   42 req/min of synthetic traffic: about 39m to 100 %

        PRESET                TO 100 %       MAY GO UNDETECTED
        careful (this plan)   inconclusive   inconclusive
        quick                 inconclusive   inconclusive
        quicker               37m            up to 2.2 % failures, or 8 pp more slow requests
        ");
    }

    #[test]
    fn what_is_caught_reads_well() {
        let example = |excess, seconds, bad| {
            let after = HumanDuration::seconds(seconds);
            Some(DetectedRegression { excess, after, bad })
        };
        let power = |subject, smallest, example| MetricPower {
            subject,
            smallest,
            example,
        };
        let slow = Subject::SlowerThan { bound_ms: 250.0 };
        let power = [
            power(Subject::Failures, Some(0.0026), example(0.01, 273, 9.2)),
            power(Subject::Refusals, Some(0.0254), example(0.05, 154, 33.7)),
            power(slow, None, None),
        ];
        let mut out = Vec::new();
        show_power(&power, &mut out, Layout::default()).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @"

        REGRESSION             DETECTED IN        WITH                  SMALLEST DETECTED
        +1 pp failures         5m                 9.2 failed requests   +0.26 pp
        +5 pp 4xx              3m                 34 refused requests   +2.5 pp
        requests over 250 ms   not before 100 %   <none>                <none>
        ");
        let lines: Vec<_> = power.iter().map(|of| detects(of, of.example)).collect();
        assert_eq!(
            lines,
            [
                "+1 pp failures in 5m with 9.2 failed requests; from +0.26 pp on",
                "+5 pp 4xx in 3m with 34 refused requests; from +2.5 pp on",
                "no regression of requests over 250 ms before 100 %",
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        assert_eq!(brief(None, None), None);
        assert_eq!(brief(None, Some(0.2)).unwrap(), "at 12 req/min");
    }
}
