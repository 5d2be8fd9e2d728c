//! What a user may say about a rollout, by flag or in a plan file.
//!
//! One struct serves both, so a flag and a field can never come to mean different things.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HumanDuration, Percent, Steps, Testers};
use crate::verdict::sequential::Preset;

/// The options of a rollout; whatever is absent falls back to the plan file, then to the default.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Options {
    /// Subset or host that carries the traffic today [default: found from the route].
    #[arg(long, value_name = "NAME", help_heading = "What moves")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,

    /// Subset or host that the traffic moves to [default: found from the route].
    #[arg(long, value_name = "NAME", help_heading = "What moves")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,

    /// Route to shift, by name or index such as `http[0]`; may be repeated
    /// [default: every route that holds both versions].
    #[arg(
        long = "route",
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "What moves"
    )]
    #[serde(rename = "routes", skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<String>,

    /// Another VirtualService that moves together with NAME, `NAME` or `NAMESPACE/NAME`; may be
    /// repeated. All its routes that hold both versions get the same share, and all are taken back
    /// together.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        help_heading = "What moves"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,

    /// Add the canary to the chosen routes that lack it, beside stable and with weight 0; a rollback
    /// takes it out again.
    #[arg(long, help_heading = "What moves")]
    #[serde(skip_serializing_if = "is_false")]
    pub add_destination: bool,

    /// Let a larger total express steps that the weights of a route are too coarse for; it is scaled
    /// back at the end.
    #[arg(long, help_heading = "What moves")]
    #[serde(skip_serializing_if = "is_false")]
    pub fine_weights: bool,

    /// Requests of testers, which get the canary before the first percent: `header:x-canary=1`,
    /// `header:NAME~REGEX` or `cookie:REGEX`.
    #[arg(long = "match", value_name = "TESTERS", help_heading = "What moves")]
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub testers: Option<Testers>,

    /// Start although a GitOps controller owns the object, because it leaves weights alone.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        help_heading = "What moves"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_owner: Option<bool>,

    /// Percentages in rising order; a step may hold (`10:5m`) or wait for promote (`50:pause`)
    /// [default: 1,10,50,100].
    #[arg(long, value_name = "LIST", help_heading = "Steps")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,

    /// Least time at each step [default: what the preset says].
    #[arg(long, value_name = "DURATION", help_heading = "Steps")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dwell: Option<HumanDuration>,

    /// How long to watch the canary at 100 % before the rollout is done [default: 0s].
    #[arg(long, value_name = "DURATION", help_heading = "Steps")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<HumanDuration>,

    /// How often to look at the metrics [default: as often as they are scraped, 1s to 5s].
    #[arg(long, value_name = "DURATION", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,

    /// How the canary is judged [default: sequential].
    #[arg(long, value_name = "KIND", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisKind>,

    /// How fast, at what price: sets tolerance, dwell and blast radius together
    /// [default: careful].
    #[arg(long, value_name = "NAME", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,

    /// The largest regression you are willing to overlook, in points [default: what the preset
    /// says].
    #[arg(long, value_name = "PERCENT", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Percent>,

    /// Judge by failures alone; by default a canary that answers slower than stable is worse, too.
    #[arg(long, help_heading = "Analysis")]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignore_latency: bool,

    /// How long young canary pods are given room for errors of a cold start [default: 30s].
    #[arg(long, value_name = "DURATION", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<HumanDuration>,

    /// The canary may fail at most this share of a step's requests [default: no limit; 1% with
    /// --analysis threshold].
    #[arg(long, value_name = "PERCENT", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<Percent>,

    /// The canary may fail at most this many points more than stable does, with --analysis
    /// threshold [default: 1%].
    #[arg(long, value_name = "PERCENT", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Percent>,

    /// No verdict before the canary has had this many requests in a step, with
    /// --analysis threshold or --max-error-rate [default: 100].
    #[arg(long, value_name = "N", help_heading = "Analysis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,

    /// Prometheus: a URL, or NAMESPACE/SERVICE:PORT to go through the API server
    /// [default: istio-system/prometheus:9090].
    #[arg(
        long,
        value_name = "URL",
        env = "KUBECTL_CANARY_PROMETHEUS_URL",
        hide_env_values = true,
        help_heading = "Analysis"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,

    /// Longest time in a step without enough data for a verdict [default: 60m].
    #[arg(long, value_name = "DURATION", help_heading = "When things go wrong")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_timeout: Option<HumanDuration>,

    /// Longest time without usable metrics [default: 2m].
    #[arg(long, value_name = "DURATION", help_heading = "When things go wrong")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_grace: Option<HumanDuration>,

    /// Keep trying to take traffic back for this long [default: 10m].
    #[arg(long, value_name = "DURATION", help_heading = "When things go wrong")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_timeout: Option<HumanDuration>,

    /// When a step's time is up without a verdict [default: rollback].
    #[arg(long, value_name = "POLICY", help_heading = "When things go wrong")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnStuck>,

    /// When metrics stay away longer than the grace [default: rollback].
    #[arg(long, value_name = "POLICY", help_heading = "When things go wrong")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_no_metrics: Option<OnStuck>,

    /// When somebody else changes the weights or routes meanwhile [default: stop].
    #[arg(long, value_name = "POLICY", help_heading = "When things go wrong")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_drift: Option<OnDrift>,

    /// On Ctrl-C or SIGTERM [default: rollback].
    #[arg(long, value_name = "POLICY", help_heading = "When things go wrong")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_signal: Option<OnSignal>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// How a canary is judged.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AnalysisKind {
    /// By sequential evidence against the stable version beside it, with a bounded rate of false
    /// rollbacks.
    #[default]
    Sequential,
    /// By plain limits on the failures of each step.
    Threshold,
}

/// What to do where no verdict can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnStuck {
    /// Take the traffic back.
    Rollback,
    /// Stay at the weight and wait for a person; a regression still rolls back.
    Hold,
    /// Go on as if the step had passed.
    Promote,
}

/// What to do where somebody else moved the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrift {
    /// Leave everything as they made it.
    Stop,
    /// Restore the original weights of the chosen routes.
    Rollback,
    /// Set the weights of the step again, five times in ten minutes at most.
    Reassert,
}

/// What to do on Ctrl-C or SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnSignal {
    /// Take the traffic back.
    Rollback,
    /// Leave the weight; `resume` goes on from there.
    Hold,
}

impl Options {
    /// These options, completed by `fallback` where they are silent.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        // Destructured, so that an option somebody adds cannot be forgotten here.
        let Self {
            stable,
            canary,
            route,
            also,
            add_destination,
            fine_weights,
            testers,
            ignore_owner,
            steps,
            dwell,
            bake,
            interval,
            analysis,
            preset,
            tolerance,
            ignore_latency,
            warmup,
            max_error_rate,
            margin,
            min_requests,
            prometheus,
            step_timeout,
            metrics_grace,
            rollback_timeout,
            on_inconclusive,
            on_no_metrics,
            on_drift,
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
            ignore_owner: ignore_owner.or(fallback.ignore_owner),
            steps: steps.or(fallback.steps),
            dwell: dwell.or(fallback.dwell),
            bake: bake.or(fallback.bake),
            interval: interval.or(fallback.interval),
            analysis: analysis.or(fallback.analysis),
            preset: preset.or(fallback.preset),
            tolerance: tolerance.or(fallback.tolerance),
            ignore_latency: ignore_latency || fallback.ignore_latency,
            warmup: warmup.or(fallback.warmup),
            max_error_rate: max_error_rate.or(fallback.max_error_rate),
            margin: margin.or(fallback.margin),
            min_requests: min_requests.or(fallback.min_requests),
            prometheus: prometheus.or(fallback.prometheus),
            step_timeout: step_timeout.or(fallback.step_timeout),
            metrics_grace: metrics_grace.or(fallback.metrics_grace),
            rollback_timeout: rollback_timeout.or(fallback.rollback_timeout),
            on_inconclusive: on_inconclusive.or(fallback.on_inconclusive),
            on_no_metrics: on_no_metrics.or(fallback.on_no_metrics),
            on_drift: on_drift.or(fallback.on_drift),
            on_signal: on_signal.or(fallback.on_signal),
        }
    }
}
