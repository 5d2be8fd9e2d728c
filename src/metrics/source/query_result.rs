//! What Prometheus said: the envelope of its API, decoded with its warnings.
//!
//! The client library drops `warnings`, and with them the only sign that Thanos or a remote
//! read answered with a part of the data. So the envelope is decoded here, from the raw body.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::error::{MetricsError, excerpt, or_web_page};

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
    /// Adds the answer to another query.
    pub(crate) fn add(&mut self, more: Self) {
        self.series.extend(more.series);
        let known = more.warnings.into_iter();
        let new: Vec<_> = known.filter(|text| !self.warnings.contains(text)).collect();
        self.warnings.extend(new);
    }

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
    data: Option<ApiData>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Vec<String>>,
    /// VictoriaMetrics' word for stores that did not answer.
    #[serde(rename = "isPartial", default)]
    is_partial: bool,
}

#[derive(Deserialize)]
struct ApiData {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

#[derive(Deserialize)]
struct ApiSeries {
    #[serde(default)]
    metric: Labels,
    value: Option<ApiSample>,
    #[serde(default)]
    values: Vec<ApiSample>,
    histogram: Option<Value>,
    histograms: Option<Value>,
}

#[derive(Deserialize)]
struct ApiSample(f64, String);

/// The problem Prometheus itself reports: what kind, and in which words.
pub(super) struct ApiError {
    pub(super) kind: String,
    pub(super) message: String,
}

/// Reads the error out of an envelope; `None` if the body is something else.
pub(super) fn api_error(body: &[u8]) -> Option<ApiError> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    (envelope.status.as_deref() == Some("error")).then(|| ApiError {
        kind: excerpt(&envelope.error_type.unwrap_or_default()),
        message: excerpt(&envelope.error.unwrap_or_default()),
    })
}

impl ApiError {
    pub(super) fn into_error(self, at: String) -> MetricsError {
        let Self { kind, message } = self;
        match kind.as_str() {
            "bad_data" => MetricsError::BadQuery { at, message },
            "unavailable" | "too_many_requests" => MetricsError::Unavailable {
                at,
                message,
                retry_after: None,
            },
            _ => MetricsError::QueryFailed { at, kind, message },
        }
    }
}

/// Decodes the body of a success.
pub(super) fn decode(body: &[u8], at: &str) -> Result<QueryResult, MetricsError> {
    if let Some(api_error) = api_error(body) {
        return Err(api_error.into_error(at.to_owned()));
    }
    let not_prometheus = |saw: String| MetricsError::NotPrometheus {
        at: at.to_owned(),
        saw,
    };
    let other = |_| not_prometheus(or_web_page(excerpt(&String::from_utf8_lossy(body))));
    let envelope: Envelope = serde_json::from_slice(body).map_err(other)?;
    let data = match (envelope.status.as_deref(), envelope.data) {
        (Some("success"), Some(data)) => data,
        _ => return Err(not_prometheus("JSON without status and data".to_owned())),
    };
    let unreadable = |_| not_prometheus(format!("a {} of another form", excerpt(&data.kind)));
    let read = |sample: &ApiSample| {
        let read = sample.read();
        read.ok_or_else(|| not_prometheus(format!("sample {:?}", excerpt(&sample.1))))
    };
    let series = match data.kind.as_str() {
        // Go writes a list that was never made as `null`.
        "vector" | "matrix" => serde_json::from_value::<Option<Vec<ApiSeries>>>(data.result)
            .map_err(unreadable)?
            .unwrap_or_default()
            .into_iter()
            .map(|series| {
                if series.histogram.is_some() || series.histograms.is_some() {
                    return Err(MetricsError::NativeHistogram { at: at.to_owned() });
                }
                let samples = series.values.iter().chain(&series.value);
                Ok(Series {
                    samples: samples.map(read).collect::<Result<_, _>>()?,
                    labels: series.metric,
                })
            })
            .collect::<Result<_, _>>()?,
        "scalar" => {
            let sample = serde_json::from_value(data.result).map_err(unreadable)?;
            vec![Series {
                labels: Labels::new(),
                samples: vec![read(&sample)?],
            }]
        }
        other => return Err(not_prometheus(format!("result type {:?}", excerpt(other)))),
    };
    let warnings = envelope.warnings.unwrap_or_default();
    let mut warnings: Vec<_> = warnings.iter().map(|text| excerpt(text)).collect();
    if envelope.is_partial {
        warnings.push("a part of the stores did not answer".to_owned());
    }
    Ok(QueryResult { series, warnings })
}

impl ApiSample {
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
    fn what_servers_other_than_prometheus_write_is_read() {
        // VictoriaMetrics, of whose stores some are away.
        let part = r#"{"status":"success","isPartial":true,"data":{"resultType":"vector","result":[
            {"metric":{"a":"1"},"value":[1,"2"]}]},"stats":{"seriesFetched":"1"}}"#;
        assert!(read(part).unwrap().is_partial());
        assert!(!read(&part.replace("true", "false")).unwrap().is_partial());
        // An empty list as Go writes one that was never made.
        let nothing = r#"{"status":"success","data":{"resultType":"matrix","result":null},
            "warnings":null,"errorType":"","error":""}"#;
        let answer = read(nothing).unwrap();
        assert!(answer.series.is_empty() && !answer.is_partial());
    }

    #[test]
    fn what_cannot_be_counted_is_refused_by_name() {
        let native = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{},"histogram":[1,{"count":"3","sum":"2"}]}]}}"#;
        assert!(matches!(
            read(native),
            Err(MetricsError::NativeHistogram { .. })
        ));
        for body in [
            "<html>login</html>",
            "",
            "{}",
            "null",
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":{"resultType":"odd","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"a"]}}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":{"a":1}}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"abc"]}}"#,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1e300,"1"]}}"#,
        ] {
            let error = read(body).unwrap_err();
            assert!(
                matches!(error, MetricsError::NotPrometheus { .. }),
                "{body}: {error:?}"
            );
            // Neither the page nor the words of a parser are shown.
            let text = error.to_string();
            assert!(
                !text.contains("<html>") && !text.contains("expected"),
                "{text}"
            );
        }
    }

    #[test]
    fn errors_keep_prometheus_words() {
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
