//! Prometheus' HTTP API: queries in, its JSON out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::evaluation::Evaluation;
use super::expression::{self, Expression, SeriesSelector};
use super::fault::PrometheusFault;
use super::storage::{Labels, Storage, Veil};
use crate::sandbox::api::route::QueryParams;

/// How far an instant query looks back for a sample.
const LOOKBACK: i64 = 300_000;

/// The most points a range query may have, as in Prometheus.
const MOST_POINTS: i64 = 11_000;

/// An answer: its HTTP status and its body.
pub(crate) type Answer = (u16, String);

/// A question, and the state of the world that bears on the answer.
pub(crate) struct Question<'a> {
    pub storage: &'a Storage,
    pub now: Timestamp,
    /// The interval of the scrapes, which is what a late sample is late by.
    pub interval: i64,
    pub faults: &'a [PrometheusFault],
}

impl Question<'_> {
    /// Answers `/api/v1/PATH`.
    pub(crate) fn answer(&self, path: &str, query: &QueryParams) -> Answer {
        for fault in self.faults {
            match fault {
                PrometheusFault::Answer { code } => {
                    return (*code, format!("{code} upstream error\n"));
                }
                PrometheusFault::ExecutionError => {
                    return error(
                        422,
                        "execution",
                        "query processing would load too many samples into memory in query execution",
                    );
                }
                PrometheusFault::Malformed => {
                    return (
                        200,
                        r#"{"status":"success","data":{"resultType":"matr"#.to_owned(),
                    );
                }
                _ => {}
            }
        }
        match path {
            "api/v1/query" => self.instant(query),
            "api/v1/query_range" => self.range(query),
            "api/v1/series" => self.series(query),
            "api/v1/status/buildinfo" => success(json!({
                "version": "3.5.0", "revision": "sandbox", "branch": "HEAD",
                "buildUser": "", "buildDate": "", "goVersion": "go1.25",
            })),
            "-/ready" => (200, "Prometheus Server is Ready.\n".to_owned()),
            "-/healthy" => (200, "Prometheus Server is Healthy.\n".to_owned()),
            _ => (404, "404 page not found\n".to_owned()),
        }
    }

    fn veils(&self) -> Vec<Veil> {
        self.faults
            .iter()
            .filter_map(|fault| match fault {
                PrometheusFault::Missing { label, value } => Some((label, value, i64::MIN)),
                PrometheusFault::Late { label, value } => {
                    Some((label, value, self.now.as_millisecond() - self.interval))
                }
                _ => None,
            })
            .map(|(label, value, after)| Veil {
                label: label.clone(),
                value: value.clone(),
                after,
            })
            .collect()
    }

    fn has(&self, wanted: &PrometheusFault) -> bool {
        self.faults.contains(wanted)
    }

    fn instant(&self, query: &QueryParams) -> Answer {
        let at = match self.time(query.get("time")) {
            Ok(at) => at.unwrap_or_else(|| self.now.as_millisecond()),
            Err(why) => return bad("time", &why),
        };
        let lookback = duration(query.get("lookback_delta")).unwrap_or(LOOKBACK);
        let expression = match Expression::parse(query.get("query")) {
            Ok(expression) => expression,
            Err(why) => return bad("query", &why),
        };
        let (form, result) = match expression {
            Expression::Number(number) => {
                return success(
                    json!({"resultType": "scalar", "result": [seconds(at), text(number)]}),
                );
            }
            Expression::Time => {
                let number = at as f64 / 1000.0;
                return success(
                    json!({"resultType": "scalar", "result": [seconds(at), text(number)]}),
                );
            }
            Expression::Subquery { of, range, step } => {
                ("matrix", self.at_steps(&of, (at - range, at), step))
            }
            Expression::Selector(SeriesSelector {
                matchers,
                range: Some(range),
                offset,
            }) => {
                let at = at - offset;
                let series = self
                    .storage
                    .select(&matchers, at - range, at, &self.veils())
                    .into_iter()
                    .map(|(labels, samples)| {
                        let values: Vec<Value> = samples
                            .into_iter()
                            .filter_map(|(at, value)| Some(self.point(at, value?)))
                            .collect();
                        json!({"metric": labels, "values": values})
                    })
                    .filter(|series| series["values"] != json!([]))
                    .collect();
                ("matrix", series)
            }
            other => {
                let vector = self
                    .vector(&other, at, lookback)
                    .into_iter()
                    .map(
                        |(labels, value)| json!({"metric": labels, "value": self.point(at, value)}),
                    )
                    .collect();
                ("vector", vector)
            }
        };
        self.result(form, result)
    }

    fn range(&self, query: &QueryParams) -> Answer {
        let (from, to) = match (self.time(query.get("start")), self.time(query.get("end"))) {
            (Ok(Some(from)), Ok(Some(to))) => (from, to),
            (Ok(Some(_)), _) => return bad("end", "cannot parse to a valid timestamp"),
            _ => return bad("start", "cannot parse to a valid timestamp"),
        };
        let Some(step) = duration(query.get("step")).filter(|step| *step > 0) else {
            return bad(
                "step",
                "zero or negative query resolution step widths are not accepted. Try a positive integer",
            );
        };
        if (to - from) / step > MOST_POINTS {
            return error(
                400,
                "bad_data",
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            );
        }
        let expression = match Expression::parse(query.get("query")) {
            Ok(Expression::Selector(SeriesSelector { range: Some(_), .. })) => {
                return bad(
                    "query",
                    "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
                );
            }
            Ok(expression) => expression,
            Err(why) => return bad("query", &why),
        };
        let series = self.evaluated(&expression, from, to, step);
        self.result("matrix", series)
    }

    fn series(&self, query: &QueryParams) -> Answer {
        let bound = |name, otherwise| match self.time(query.get(name)) {
            Ok(at) => Ok(at.unwrap_or(otherwise)),
            Err(why) => Err(bad(name, &why)),
        };
        let (from, to) = match (bound("start", i64::MIN), bound("end", i64::MAX)) {
            (Ok(from), Ok(to)) => (from, to),
            (Err(answer), _) | (_, Err(answer)) => return answer,
        };
        let mut found: Vec<Value> = Vec::new();
        for text in query.all("match[]") {
            let matchers = match expression::selector(text) {
                Ok(matchers) => matchers,
                Err(why) => return bad("match[]", &why),
            };
            let series = self.storage.select(&matchers, from, to, &self.veils());
            found.extend(series.into_iter().map(|(labels, _)| json!(labels)));
        }
        if query.get("match[]").is_empty() {
            return error(400, "bad_data", "no match[] parameter provided");
        }
        self.success_of(json!(self.of_result(found)))
    }

    /// At every multiple of the step in `(from, to]`, as Prometheus 3 does it.
    fn at_steps(&self, of: &Expression, (from, to): (i64, i64), step: i64) -> Vec<Value> {
        let first = (from.div_euclid(step) + 1) * step;
        self.evaluated(of, first, to, step)
    }

    fn evaluated(&self, expression: &Expression, from: i64, to: i64, step: i64) -> Vec<Value> {
        let mut series: BTreeMap<Labels, Vec<Value>> = BTreeMap::new();
        let mut at = from;
        while at <= to {
            for (labels, value) in self.vector(expression, at, LOOKBACK) {
                series
                    .entry(labels)
                    .or_default()
                    .push(self.point(at, value));
            }
            at += step;
        }
        let series = series.into_iter();
        series
            .map(|(labels, values)| json!({"metric": labels, "values": values}))
            .collect()
    }

    fn vector(&self, expression: &Expression, at: i64, lookback: i64) -> Vec<(Labels, f64)> {
        Evaluation {
            storage: self.storage,
            veils: &self.veils(),
            at,
            lookback,
        }
        .vector(expression)
    }

    fn point(&self, at: i64, value: f64) -> Value {
        let value = if self.has(&PrometheusFault::NotANumber) {
            f64::NAN
        } else {
            value
        };
        json!([seconds(at), text(value)])
    }

    fn result(&self, form: &str, result: Vec<Value>) -> Answer {
        self.success_of(json!({"resultType": form, "result": self.of_result(result)}))
    }

    /// What is left of a result under the faults of the moment.
    fn of_result(&self, result: Vec<Value>) -> Vec<Value> {
        if self.has(&PrometheusFault::Empty) {
            Vec::new()
        } else if self.has(&PrometheusFault::Partial) {
            result.into_iter().step_by(2).collect()
        } else {
            self.faults
                .iter()
                .fold(result, |result, fault| match fault {
                    PrometheusFault::Relabelled { label, value } => {
                        relabelled(result, label, value)
                    }
                    PrometheusFault::Grouped => grouped(result),
                    PrometheusFault::Copied { label, values } => copied(&result, label, values),
                    _ => result,
                })
        }
    }

    fn success_of(&self, data: Value) -> Answer {
        let mut body = json!({"status": "success", "data": data});
        if self.has(&PrometheusFault::Partial) {
            body["warnings"] =
                json!(["fetch series for {replica=\"1\"}: rpc error: code = Unavailable"]);
        }
        (200, body.to_string())
    }

    /// A time in seconds or in RFC 3339, in milliseconds.
    fn time(&self, text: &str) -> Result<Option<i64>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(seconds) = text.parse::<f64>() {
            return Ok(Some((seconds * 1000.0).round() as i64));
        }
        text.parse::<Timestamp>()
            .map(|at| Some(at.as_millisecond()))
            .map_err(|_| format!("cannot parse {text:?} to a valid timestamp"))
    }
}

/// Every series with another value of a label, or without it.
fn relabelled(mut result: Vec<Value>, label: &str, value: &Option<String>) -> Vec<Value> {
    for series in &mut result {
        if let Some(labels) = series["metric"].as_object_mut() {
            labels.remove(label);
            if let Some(value) = value {
                labels.insert(label.to_owned(), json!(value));
            }
        }
    }
    summed(result)
}

/// Series with the same labels as one.
fn summed(result: Vec<Value>) -> Vec<Value> {
    let mut sums: BTreeMap<String, (Value, BTreeMap<String, f64>)> = BTreeMap::new();
    for mut series in result {
        let metric = series["metric"].take();
        let (_, sum) = sums
            .entry(metric.to_string())
            .or_insert_with(|| (metric, BTreeMap::new()));
        for point in series["values"].as_array().into_iter().flatten() {
            let number = point[1].as_str().and_then(|text| text.parse::<f64>().ok());
            *sum.entry(point[0].to_string()).or_default() += number.unwrap_or_default();
        }
    }
    let series = sums.into_values().map(|(metric, sum)| {
        let values = sum.into_iter().map(|(at, value)| {
            let at: Value = serde_json::from_str(&at).expect("it was a number");
            json!([at, text(value)])
        });
        json!({"metric": metric, "values": values.collect::<Vec<_>>()})
    });
    series.collect()
}

/// Codes of three digits as their class.
fn grouped(mut result: Vec<Value>) -> Vec<Value> {
    for series in &mut result {
        let code = &mut series["metric"]["response_code"];
        if let Some(class) = code.as_str().filter(|code| code.len() == 3) {
            *code = json!(format!("{}xx", &class[..1]));
        }
    }
    // What has one group is one counter.
    summed(result)
}

/// Every series once for each value of a label.
fn copied(result: &[Value], label: &str, values: &[String]) -> Vec<Value> {
    let pairs = values
        .iter()
        .flat_map(|value| result.iter().map(move |series| (value, series)));
    let copies = pairs.map(|(value, series)| {
        let mut copy = series.clone();
        copy["metric"][label] = json!(value);
        copy
    });
    copies.collect()
}

/// A duration in seconds or with units, in milliseconds.
fn duration(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some((seconds * 1000.0).round() as i64);
    }
    match Expression::parse(&format!("x[{text}]")) {
        Ok(Expression::Selector(selector)) => selector.range,
        _ => None,
    }
}

fn seconds(at: i64) -> Value {
    if at % 1000 == 0 {
        json!(at / 1000)
    } else {
        json!(at as f64 / 1000.0)
    }
}

fn text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

fn success(data: Value) -> Answer {
    (200, json!({"status": "success", "data": data}).to_string())
}

fn bad(parameter: &str, why: &str) -> Answer {
    error(
        400,
        "bad_data",
        &format!("invalid parameter \"{parameter}\": {why}"),
    )
}

fn error(code: u16, form: &str, why: &str) -> Answer {
    let body = json!({"status": "error", "errorType": form, "error": why});
    (code, body.to_string())
}
