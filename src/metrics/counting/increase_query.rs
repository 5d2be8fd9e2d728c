//! What the server is asked to add up.
//!
//! Between two moments `step` apart a series has gained what it stands at less what it stood at; if it stands
//! lower it was reset and has gained what it stands at; and one that is new has counted from zero, if its proxy
//! was scraped without it. In PromQL, `c` being the last sample of the five minutes up to the one moment and
//! `b` of those up to the other:
//!
//! ```text
//! c - b >= 0 or c and on (what tells proxies apart) b
//! ```
//!
//! `last_over_time` rather than a plain selector: it still sees what a series counted before its proxy went away,
//! and what was counted over a scrape that was missed.

use jiff::SignedDuration;

use super::grid::Grid;
use super::mixed_stores::{CLUSTERS, REPLICAS};
use super::operations::{MOST, Operations};
use super::target::SCRAPE;
use super::versions::{Reporter, Targets};

/// The label that tells one row of an answer from another.
pub(super) const KIND: &str = "canary_row";
/// What was gained since the moment before.
pub(super) const GAINED: &str = "gained";
/// What the series stand at in all, and what they stood at at the moment before.
pub(super) const END: &str = "end";
pub(super) const START: &str = "start";
/// The time of the newest sample, in seconds.
pub(super) const NEWEST: &str = "newest";

/// Over which time scrapes are counted.
pub(super) const COUNTED: SignedDuration = SignedDuration::from_mins(5);

/// How far a last sample is looked for.
const LOOKBACK: SignedDuration = SignedDuration::from_mins(5);

/// The labels by which a version and an outcome are told.
pub(super) fn groups() -> Vec<&'static str> {
    let of_requests = [
        "reporter",
        "destination_workload",
        "destination_version",
        "destination_canonical_revision",
        "destination_service",
        "destination_service_name",
        "destination_service_namespace",
        "response_code",
        "response_flags",
        "request_protocol",
        "grpc_response_status",
    ];
    of_requests.into_iter().chain(CLUSTERS).collect()
}

/// The metric, and which of its series.
#[derive(Clone, Copy)]
pub(super) struct SummedSeries<'a> {
    pub(super) metric: &'a str,
    /// Further matchers, each with a comma before it.
    pub(super) more: &'a str,
    /// Labels that are added up over, beside those of [`groups`] that are kept.
    pub(super) dropped: &'a [&'a str],
    /// A label that is kept.
    pub(super) kept: &'a [&'a str],
    /// Operations that are added up each by itself; all others together.
    pub(super) operations: Option<&'a Operations>,
    /// Whether the newest samples are asked for as well.
    pub(super) newest: bool,
}

/// What was gained at each of the last `steps` moments up to the one of evaluation.
pub(super) fn increases(
    targets: &Targets,
    counted: SummedSeries<'_>,
    grid: Grid,
    steps: i64,
) -> String {
    let mut by = groups();
    by.retain(|label| !counted.dropped.contains(label));
    by.extend(counted.kept);
    let selector = |which: &str| {
        let more = format!("{which}{}{}", grid.reporter.matcher(), counted.more);
        targets.selector(counted.metric, &more)
    };
    let named = ",destination_service_namespace!=\"unknown\"";
    let parts = match counted.operations {
        None => vec![(named.to_owned(), by.join(","))],
        Some(operations) => {
            let [told_apart, others] = operations.matchers();
            let by = by.join(",");
            vec![
                (
                    format!("{named}{told_apart}"),
                    format!("{by},{}", operations.label()),
                ),
                (format!("{named}{others}"), by),
            ]
        }
    };
    let mut rows = Vec::new();
    for (matchers, by) in parts {
        let selected = selector(&matchers);
        let (now, before) = last(&selected, grid);
        rows.push(row(
            GAINED,
            &format!("sum by ({by}) ({})", gained(&selected, grid)),
        ));
        rows.push(row(END, &format!("sum by ({by}) ({now})")));
        rows.push(row(START, &format!("sum by ({by}) ({before})")));
        if counted.newest {
            rows.push(row(
                NEWEST,
                &format!("max by ({by}) (timestamp({selected}))"),
            ));
        }
    }
    // A short name is looked up where the caller is.
    let by = by.join(",");
    let nameless = selector(",destination_service_namespace=\"unknown\"");
    rows.push(row(
        GAINED,
        &format!(
            "sum by ({by},source_workload_namespace) ({})",
            gained(&nameless, grid)
        ),
    ));
    let rows = rows.join(" or ");
    match steps {
        ..=1 => rows,
        // A range is closed on both sides up to Prometheus 2, and open on the left from 3 on.
        _ => format!("({rows})[{}s:{}s]", grid.step * steps - 1, grid.step),
    }
}

/// What each of these series gained over a step; sums lose parts, and what that is like a reset is none.
fn gained(selector: &str, grid: Grid) -> String {
    let (now, before) = last(selector, grid);
    match grid.are_sums {
        true => format!("{now} - {before} >= 0"),
        false => format!(
            "{now} - {before} >= 0 or {now} and on ({}) {before}",
            SCRAPE.join(",")
        ),
    }
}

fn last(selector: &str, grid: Grid) -> (String, String) {
    let (lookback, step) = (LOOKBACK.as_secs(), grid.step);
    (
        format!("last_over_time({selector}[{lookback}s])"),
        format!("last_over_time({selector}[{lookback}s] offset {step}s)"),
    )
}

fn row(kind: &str, vector: &str) -> String {
    format!("label_replace({vector},\"{KIND}\",\"{kind}\",\"\",\"\")")
}

/// How many series one side has, by what tells versions apart.
pub(super) fn count(targets: &Targets, reporter: Reporter) -> String {
    let by: Vec<_> = groups().into_iter().chain(REPLICAS).collect();
    let selector = requests(targets, reporter, "");
    format!("count by ({}) ({selector})", by.join(","))
}

/// The most frequent operations, by what was counted since the proxies began, of one side's reports or of both.
pub(super) fn operations(targets: &Targets, side: Option<Reporter>) -> String {
    let label = targets.operation_label();
    let side = side.map_or("", Reporter::matcher);
    let more = format!("{side},{label}!~\"|unknown\"");
    let selector = targets.selector(targets.counted().metric(), &more);
    format!("topk({MOST},sum by ({label}) ({selector}))")
}

/// How often nearly all series were sampled at least in [`COUNTED`].
pub(super) fn sampled(targets: &Targets, reporter: Reporter) -> String {
    let selector = requests(targets, reporter, "");
    let seconds = COUNTED.as_secs();
    format!("quantile(0.9,count_over_time({selector}[{seconds}s]))")
}

/// How many series name no proxy.
pub(super) fn without_target(targets: &Targets, reporter: Reporter) -> String {
    let selector = requests(targets, reporter, ",instance=\"\",pod=\"\",pod_name=\"\"");
    format!("count({selector})")
}

/// How many proxies there are.
pub(super) fn targets_of(targets: &Targets, reporter: Reporter) -> String {
    let selector = requests(targets, reporter, "");
    format!("count(count by ({}) ({selector}))", SCRAPE.join(","))
}

/// How many series are the same but for a label.
pub(super) fn copies(targets: &Targets, reporter: Reporter, label: &str) -> String {
    let selector = requests(targets, reporter, "");
    format!("count(count without ({label}) ({selector}) > 1)")
}

fn requests(targets: &Targets, reporter: Reporter, more: &str) -> String {
    let more = format!("{}{more}", reporter.matcher());
    targets.selector(targets.counted().metric(), &more)
}
