//! A proxy's counters in Prometheus' text format, as its own port shows them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::sandbox::traffic::{BOUNDS, Stream, StreamCounters, target_labels};

/// Everything that the proxy of a pod has counted.
pub(crate) fn exposition<'a>(
    streams: impl Iterator<Item = (&'a Stream, &'a StreamCounters)>,
) -> String {
    let (mut totals, mut durations) = (String::new(), String::new());
    for (stream, counters) in streams {
        let mut labels = stream.labels();
        // These are known to who scrapes only.
        for of_scrape in target_labels(&stream.pod).keys() {
            labels.remove(of_scrape);
        }
        let metric = match stream.tcp {
            true => "istio_tcp_connections_opened_total",
            false => "istio_requests_total",
        };
        line(&mut totals, metric, &labels, counters.requests);
        if stream.tcp {
            continue;
        }
        let bounds = BOUNDS.iter().map(f64::to_string);
        let mut below = 0;
        for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(counters.buckets) {
            below += bucket;
            labels.insert("le".to_owned(), bound);
            let metric = "istio_request_duration_milliseconds_bucket";
            line(&mut durations, metric, &labels, below);
        }
    }
    format!(
        "# TYPE istio_requests_total counter\n{totals}# TYPE istio_request_duration_milliseconds histogram\n{durations}"
    )
}

fn line(text: &mut String, metric: &str, labels: &BTreeMap<String, String>, value: u64) {
    let labels = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""));
    let labels = labels.collect::<Vec<_>>().join(",");
    writeln!(text, "{metric}{{{labels}}} {value}").expect("a text takes any line");
}
