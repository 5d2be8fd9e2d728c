//! The options of a rollout, by flag or in a plan file.
//!
//! One struct serves both, so a flag and a field can never come to mean different things.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    FailureRule, HumanDuration, LabelName, MetricGuard, Percent, ScopeLabel, Steps, Sticky, Testers,
};
use crate::verdict::sequential::Preset;

/// The options of a rollout; whatever is absent falls back to the plan file, then to the default.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Options {
    /// Subset or host of the stable version [default: from the route's weights].
    #[arg(long, value_name = "NAME", help_heading = "Traffic")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,

    /// Subset or host of the canary [default: from the route's weights].
    #[arg(long, value_name = "NAME", help_heading = "Traffic")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,

    /// Route to shift, by name or index such as `http[0]`; may be repeated
    /// [default: every route that holds both versions].
    #[arg(
        long = "route",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Traffic"
    )]
    #[serde(rename = "routes", skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<String>,

    /// Another VirtualService to shift together with NAME: `NAME` or `NAMESPACE/NAME`; may be
    /// repeated. All its routes that hold both versions get the same weight, and all are rolled back
    /// together.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "Traffic"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,

    /// Add the canary with weight 0 to the chosen routes that lack it; a rollback removes it again.
    #[arg(long, help_heading = "Traffic")]
    #[serde(skip_serializing_if = "is_false")]
    pub add_destination: bool,

    /// Multiply the weights of a route during the rollout, for steps finer than they can express.
    #[arg(long, help_heading = "Traffic")]
    #[serde(skip_serializing_if = "is_false")]
    pub fine_weights: bool,

    /// Send matching requests to the canary before step 1: `header:x-canary=1`, `header:NAME~REGEX`
    /// or `cookie:REGEX`.
    #[arg(long = "match", value_name = "TESTERS", help_heading = "Traffic")]
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub testers: Option<Testers>,

    /// Keep users of the canary on it while the weights rise, by a cookie: `cookie=NAME[,TTL]`, such as
    /// `cookie=canary,30m` [TTL by default: 1h].
    #[arg(long, value_name = "COOKIE", help_heading = "Traffic")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,

    /// Start although a GitOps controller owns the object, because it ignores the weights.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = "Traffic"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_owner: Option<bool>,

    /// Weights of the canary in percent; a step may hold (`10:5m`) or wait for promote
    /// (`50:pause`) [default: 1,10,50,100].
    #[arg(long, value_name = "LIST", help_heading = "Steps")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,

    /// Minimum time per step [default: from the preset].
    #[arg(long, value_name = "DURATION", help_heading = "Steps")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dwell: Option<HumanDuration>,

    /// How long to analyze the canary at 100 % before the rollout completes [default: 0s].
    #[arg(long, value_name = "DURATION", help_heading = "Steps")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<HumanDuration>,

    /// Start although the plan moves all traffic without any analysis.
    #[arg(long, help_heading = "Steps")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unanalyzed: bool,

    /// How often to query the metrics [default: the scrape interval, 1s to 5s].
    #[arg(long, value_name = "DURATION", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,

    /// How the canary is analyzed [default: sequential].
    #[arg(long, value_name = "KIND", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisKind>,

    /// Trade speed for precision: sets tolerance and dwell together [default: careful].
    #[arg(long, value_name = "NAME", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,

    /// Largest regression to accept, in percentage points [default: from the preset].
    #[arg(long, value_name = "PERCENT", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Percent>,

    /// Analyze failures only; by default a canary slower than stable is a regression, too.
    #[arg(long, help_heading = "Analysis")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_latency: bool,

    /// Statuses of requests that count as failed: `5xx,0,429,grpc:13-14`; 0 is no response [default:
    /// 5xx,0,grpc].
    #[arg(long, value_name = "LIST", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailureRule>,

    /// Leave answers of 400 to 499 aside; by default a canary that gives many more of them than stable is a
    /// regression, too.
    #[arg(long, help_heading = "Analysis")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_client_errors: bool,

    /// How long the canary may have cold-start errors from its first request or the start of its youngest
    /// pod on; slow starts get four times as long [default: 30s, 10s with the quicker presets].
    #[arg(long, value_name = "DURATION", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<HumanDuration>,

    /// Maximum error rate of the canary in a step [default: no limit; 1 % with
    /// --analysis threshold].
    #[arg(long, value_name = "PERCENT", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<Percent>,

    /// How many percentage points the canary's error rate may exceed stable's, with
    /// --analysis threshold [default: 1 %].
    #[arg(long, value_name = "PERCENT", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Percent>,

    /// Minimum canary requests per step for a verdict, with --analysis threshold or
    /// --max-error-rate [default: 100].
    #[arg(long, value_name = "N", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,

    /// Prometheus: a URL, or NAMESPACE/SERVICE:PORT to connect through the API server
    /// [default: istio-system/prometheus:9090, else a Service that has the metrics].
    #[arg(
        long,
        value_name = "URL",
        env = "KUBECTL_CANARY_PROMETHEUS_URL",
        hide_env_values = true,
        help_heading = "Analysis"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,

    /// Label that the series must have, such as `cluster=prod` where one store holds several clusters, or
    /// `cluster=*` to count all of them; may be repeated.
    #[arg(long, value_name = "LABEL=VALUE", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query_scope: Vec<ScopeLabel>,

    /// Label of the series that names the operation or the route of a request; failures are also compared
    /// within each of the most frequent ones [default: request_operation].
    #[arg(long, value_name = "LABEL", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_label: Option<LabelName>,

    /// Longest time that Prometheus may take for one answer [default: 5s].
    #[arg(long, value_name = "DURATION", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_timeout: Option<HumanDuration>,

    /// Read the counters of both versions from their pods' proxies once a second, through the API server;
    /// Prometheus then only tells what stable did before.
    #[arg(long, value_name = "WHAT", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleFrom>,

    /// A query that has to stay within a bound, as `'NAME: PROMQL <= 100'`, or all fields of a guard in
    /// a plan file in braces; may be repeated. It rolls back or holds, and never promotes.
    #[arg(long = "guard", value_name = "GUARD", help_heading = "Analysis")]
    #[serde(rename = "guards", skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<MetricGuard>,

    /// Maximum time in a step without a verdict [default: 60m].
    #[arg(long, value_name = "DURATION", help_heading = "Failure policies")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_timeout: Option<HumanDuration>,

    /// Maximum time without usable metrics [default: 2m].
    #[arg(long, value_name = "DURATION", help_heading = "Failure policies")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_grace: Option<HumanDuration>,

    /// How long to retry a rollback [default: 10m].
    #[arg(long, value_name = "DURATION", help_heading = "Failure policies")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_timeout: Option<HumanDuration>,

    /// What to do when a step times out without a verdict [default: hold].
    #[arg(long, value_name = "POLICY", help_heading = "Failure policies")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnStuck>,

    /// What to do when metrics are unavailable for longer than --metrics-grace
    /// [default: rollback].
    #[arg(long, value_name = "POLICY", help_heading = "Failure policies")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_no_metrics: Option<OnStuck>,

    /// What to do when another client changes the weights or routes [default: stop].
    #[arg(long, value_name = "POLICY", help_heading = "Failure policies")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_drift: Option<OnDrift>,

    /// What the canary gets after a regression: what it had before the rollout, or nothing. Every other
    /// rollback restores the original weights [default: original].
    #[arg(long, value_name = "WEIGHT", help_heading = "Failure policies")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_regression: Option<AfterRegression>,

    /// What to do on Ctrl-C or SIGTERM [default: rollback].
    #[arg(long, value_name = "POLICY", help_heading = "Failure policies")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_signal: Option<OnSignal>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// How a canary is analyzed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AnalysisKind {
    /// Sequential tests of the canary against stable, with a bounded rate of false rollbacks.
    #[default]
    Sequential,
    /// Fixed limits on the failures of each step.
    Threshold,
}

/// Where counters are read beside Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SampleFrom {
    /// The pods of both versions.
    Pods,
}

/// What to do without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnStuck {
    /// Roll back to the original weights.
    Rollback,
    /// Hold at the current weight until promote or abort; a regression still rolls back.
    Hold,
    /// Continue as if the step had passed.
    Promote,
}

/// What to do when the command before a step failed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OnHookFailure {
    /// Roll back to the original weights.
    #[default]
    Rollback,
    /// Pause at the current weight; a regression still rolls back.
    Hold,
}

/// What to do when another client changed the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrift {
    /// Stop and overwrite nothing.
    Stop,
    /// Restore the original weights of the chosen routes.
    Rollback,
    /// Set the step's weights again, at most 5 times in 10 minutes.
    Reassert,
}

/// What the canary gets after a proven regression.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AfterRegression {
    /// The original weight.
    #[default]
    Original,
    /// Nothing; stable gets its original weight as well.
    Zero,
}

/// What to do on Ctrl-C or SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnSignal {
    /// Roll back to the original weights.
    Rollback,
    /// Hold at the current weight; `resume` continues from there.
    Hold,
}

impl Options {
    /// These options, completed by `fallback` where they are silent.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        // Destructured, so that a new option cannot be forgotten here.
        let Self {
            stable,
            canary,
            route,
            also,
            add_destination,
            fine_weights,
            testers,
            sticky,
            ignore_owner,
            steps,
            dwell,
            bake,
            unanalyzed,
            interval,
            analysis,
            preset,
            tolerance,
            ignore_latency,
            failures,
            ignore_client_errors,
            warmup,
            max_error_rate,
            margin,
            min_requests,
            prometheus,
            query_scope,
            operation_label,
            query_timeout,
            sample,
            guard,
            step_timeout,
            metrics_grace,
            rollback_timeout,
            on_inconclusive,
            on_no_metrics,
            on_drift,
            after_regression,
            on_signal,
        } = self;
        Self {
            stable: stable.or(fallback.stable),
            canary: canary.or(fallback.canary),
            route: if route.is_empty() {
                fallback.route
            } else {
                route
            },
            also: if also.is_empty() { fallback.also } else { also },
            add_destination: add_destination || fallback.add_destination,
            fine_weights: fine_weights || fallback.fine_weights,
            testers: testers.or(fallback.testers),
            sticky: sticky.or(fallback.sticky),
            ignore_owner: ignore_owner.or(fallback.ignore_owner),
            steps: steps.or(fallback.steps),
            dwell: dwell.or(fallback.dwell),
            bake: bake.or(fallback.bake),
            unanalyzed: unanalyzed || fallback.unanalyzed,
            interval: interval.or(fallback.interval),
            analysis: analysis.or(fallback.analysis),
            preset: preset.or(fallback.preset),
            tolerance: tolerance.or(fallback.tolerance),
            ignore_latency: ignore_latency || fallback.ignore_latency,
            failures: failures.or(fallback.failures),
            ignore_client_errors: ignore_client_errors || fallback.ignore_client_errors,
            warmup: warmup.or(fallback.warmup),
            max_error_rate: max_error_rate.or(fallback.max_error_rate),
            margin: margin.or(fallback.margin),
            min_requests: min_requests.or(fallback.min_requests),
            prometheus: prometheus.or(fallback.prometheus),
            query_scope: if query_scope.is_empty() {
                fallback.query_scope
            } else {
                query_scope
            },
            operation_label: operation_label.or(fallback.operation_label),
            query_timeout: query_timeout.or(fallback.query_timeout),
            sample: sample.or(fallback.sample),
            guard: if guard.is_empty() {
                fallback.guard
            } else {
                guard
            },
            step_timeout: step_timeout.or(fallback.step_timeout),
            metrics_grace: metrics_grace.or(fallback.metrics_grace),
            rollback_timeout: rollback_timeout.or(fallback.rollback_timeout),
            on_inconclusive: on_inconclusive.or(fallback.on_inconclusive),
            on_no_metrics: on_no_metrics.or(fallback.on_no_metrics),
            on_drift: on_drift.or(fallback.on_drift),
            after_regression: after_regression.or(fallback.after_regression),
            on_signal: on_signal.or(fallback.on_signal),
        }
    }
}
