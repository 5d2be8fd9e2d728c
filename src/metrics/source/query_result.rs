//! What Prometheus said: the envelope of its API, decoded with its warnings.
//!
//! The client library drops `warnings`, and with them the only sign that Thanos or a remote
//! read answered with a part of the data. So the envelope is decoded here, from the raw body.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::error::MetricsError;
use super::error::excerpt;

/// Labels of a series.
pub type Labels = BTreeMap<String, String>;

/// One series and its samples, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// All its labels, the metric's name as `__name__`.
    pub labels: Labels,
    /// Samples, also those that are not a number.
    pub samples: Vec<(Timestamp, f64)>,
}

/// The answer to one query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// The series; a scalar is one series without labels.
    pub series: Vec<Series>,
    /// What Prometheus warns of. See [`QueryResult::is_partial`].
    pub warnings: Vec<String>,
}

impl QueryResult {
    /// Whether a part of the data may be missing.
    ///
    /// Warnings about the query itself start with `PromQL`. Every other warning comes from the storage
    /// (a store that did not answer, a remote read that failed), and then nothing may be concluded from
    /// what is absent.
    pub fn is_partial(&self) -> bool {
        self.warnings
            .iter()
            .any(|warning| !warning.starts_with("PromQL "))
    }
}

/// Prometheus' envelope. Unknown fields are ignored, since later versions add some.
#[derive(Deserialize)]
struct Envelope {
    status: Option<String>,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    metric: Labels,
    value: Option<Sample>,
    #[serde(default)]
    values: Vec<Sample>,
    histogram: Option<Value>,
    histograms: Option<Value>,
}

#[derive(Deserialize)]
struct Sample(f64, String);

/// The problem Prometheus itself reports: what kind, and in which words.
pub(crate) struct ApiError {
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// Reads the complaint out of an error envelope; `None` if the body is something else.
pub(crate) fn api_error(body: &[u8]) -> Option<ApiError> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    (envelope.status.as_deref() == Some("error")).then(|| ApiError {
        kind: envelope.error_type.unwrap_or_default(),
        message: excerpt(&envelope.error.unwrap_or_default()),
    })
}

impl ApiError {
    pub(crate) fn into_error(self, at: String) -> MetricsError {
        let Self { kind, message } = self;
        match kind.as_str() {
            "bad_data" => MetricsError::BadQuery { at, message },
            "unavailable" | "too_many_requests" => MetricsError::Unavailable { at, message },
            _ => MetricsError::QueryFailed { at, kind, message },
        }
    }
}

/// Decodes the body of a success.
pub(crate) fn decode(body: &[u8], at: &str) -> Result<QueryResult, MetricsError> {
    if let Some(api_error) = api_error(body) {
        return Err(api_error.into_error(at.to_owned()));
    }
    let not_prometheus = |saw: String| MetricsError::NotPrometheus {
        at: at.to_owned(),
        saw,
    };
    let foreign = |_| not_prometheus(excerpt(&String::from_utf8_lossy(body)));
    let envelope: Envelope = serde_json::from_slice(body).map_err(foreign)?;
    let data = match (envelope.status.as_deref(), envelope.data) {
        (Some("success"), Some(data)) => data,
        _ => return Err(not_prometheus("JSON without status and data".to_owned())),
    };
    let unsupported = |what, advice| MetricsError::Unsupported {
        at: at.to_owned(),
        what,
        advice,
    };
    let series = match data.kind.as_str() {
        "vector" | "matrix" => serde_json::from_value::<Vec<Entry>>(data.result)
            .map_err(|problem| not_prometheus(excerpt(&problem.to_string())))?
            .into_iter()
            .map(|entry| {
                if entry.histogram.is_some() || entry.histograms.is_some() {
                    return Err(unsupported(
                        "a native histogram",
                        "a query for the classic series of this metric",
                    ));
                }
                let samples = entry.values.iter().chain(&entry.value);
                Ok(Series {
                    samples: samples
                        .map(|sample| {
                            sample.read().ok_or_else(|| {
                                not_prometheus(format!("sample {:?}", excerpt(&sample.1)))
                            })
                        })
                        .collect::<Result<_, _>>()?,
                    labels: entry.metric,
                })
            })
            .collect::<Result<_, _>>()?,
        "scalar" => {
            let sample: Sample = serde_json::from_value(data.result)
                .map_err(|problem| not_prometheus(excerpt(&problem.to_string())))?;
            let read = sample
                .read()
                .ok_or_else(|| not_prometheus(format!("sample {:?}", excerpt(&sample.1))))?;
            vec![Series {
                labels: Labels::new(),
                samples: vec![read],
            }]
        }
        "string" => return Err(unsupported("a string", "a query for series")),
        other => return Err(not_prometheus(format!("result type {:?}", excerpt(other)))),
    };
    Ok(QueryResult {
        series,
        warnings: envelope.warnings,
    })
}

impl Sample {
    /// Timestamp and value; Prometheus keeps milliseconds and writes values as Go does.
    fn read(&self) -> Option<(Timestamp, f64)> {
        let value = match self.1.as_str() {
            "NaN" => f64::NAN,
            "+Inf" | "Inf" => f64::INFINITY,
            "-Inf" => f64::NEG_INFINITY,
            number => number.parse().ok()?,
        };
        let milliseconds = (self.0 * 1000.0).round();
        Timestamp::from_millisecond(milliseconds as i64)
            .ok()
            .map(|time| (time, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn read(body: &str) -> Result<QueryResult, MetricsError> {
        decode(body.as_bytes(), "prom")
    }

    #[test]
    fn every_kind_of_result_becomes_series() {
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"x","a":"1"},"values":[[1700000000.123,"5"],[1700000015.123,"NaN"]]}]},
            "warnings":["one store is away"],"infos":["PromQL info: x"],"stats":{}}"#;
        let answer = read(matrix).unwrap();
        assert_eq!(answer.series[0].labels["a"], "1");
        assert_eq!(
            answer.series[0].samples[0].0.as_millisecond(),
            1_700_000_000_123
        );
        assert!(answer.series[0].samples[1].1.is_nan());
        assert!(answer.is_partial());

        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{},"value":[1,"+Inf"]},{"metric":{"b":"2"},"value":[1,"-Inf"]}]},
            "warnings":["PromQL warning: odd bucket"]}"#;
        let answer = read(vector).unwrap();
        assert_eq!(answer.series[0].samples[0].1, f64::INFINITY);
        assert_eq!(answer.series[1].samples[0].1, f64::NEG_INFINITY);
        assert!(!answer.is_partial());

        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"1e3"]}}"#;
        let answer = read(scalar).unwrap();
        assert_eq!(
            answer.series[0].samples,
            [(Timestamp::from_millisecond(1500).unwrap(), 1000.0)]
        );

        let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        assert!(read(empty).unwrap().series.is_empty());
    }

    #[test]
    fn what_cannot_be_counted_is_refused_by_name() {
        let native = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{},"histogram":[1,{"count":"3","sum":"2"}]}]}}"#;
        assert!(
            read(native)
                .unwrap_err()
                .to_string()
                .contains("native histogram")
        );
        let string = r#"{"status":"success","data":{"resultType":"string","result":[1,"a"]}}"#;
        assert!(matches!(
            read(string),
            Err(MetricsError::Unsupported { .. })
        ));
        for body in [
            "<html>login</html>",
            "",
            "{}",
            "null",
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":{"resultType":"odd","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"abc"]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1e300,"1"]}}"#,
        ] {
            let is_named = match read(body) {
                Err(MetricsError::NotPrometheus { .. }) => true,
                // A time that no calendar holds saturates and is refused by the range of timestamps.
                other => panic!("{body}: {other:?}"),
            };
            assert!(is_named);
        }
    }

    #[test]
    fn complaints_keep_prometheus_words() {
        let cases = [
            ("bad_data", "parse error: x", true),
            ("execution", "too many samples", false),
            ("timeout", "query timed out", false),
        ];
        for (kind, message, is_bad_query) in cases {
            let body = format!(r#"{{"status":"error","errorType":"{kind}","error":"{message}"}}"#);
            let error = read(&body).unwrap_err();
            assert!(error.to_string().contains(message));
            assert_eq!(matches!(error, MetricsError::BadQuery { .. }), is_bad_query);
        }
    }
}
