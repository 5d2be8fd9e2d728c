//! The plan: every option decided.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AfterRegression, AnalysisKind, Exposure, FailureRule, GuardError, HumanDuration, LabelName,
    MetricGuard, OnDrift, OnSignal, OnStuck, Options, Percent, SampleFrom, ScopeLabel, Step, Steps,
    Sticky, Testers,
};
use crate::verdict::sequential::Preset;

/// Where Prometheus is by default: Istio's own addon, through the API server.
const DEFAULT_PROMETHEUS: &str = "istio-system/prometheus:9090";

/// How often Istio's own Prometheus scrapes, until it is known how often this one does.
const USUAL_SCRAPE: HumanDuration = HumanDuration::seconds(15);

/// How often the pods are read.
const POD_SAMPLES: HumanDuration = HumanDuration::seconds(1);

/// A complete rollout plan. It travels in the object's annotation, so that any machine can go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The ladder.
    pub steps: Steps,
    /// Whose requests go to the canary whatever its weight.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub testers: Option<Testers>,
    /// The cookie that keeps users of the canary on it while the weights rise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// The least time at a step that does not say otherwise.
    pub dwell: HumanDuration,
    /// How long the canary is watched at 100 %.
    pub bake: HumanDuration,
    /// How often the metrics are looked at.
    pub interval: HumanDuration,
    /// How the canary is judged.
    pub judgement: Judgement,
    /// Prometheus' address, never with credentials in it.
    pub prometheus: String,
    /// What the series must have that are this cluster's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_scope: Vec<ScopeLabel>,
    /// The label that names the operation of a request, where the plan says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_label: Option<LabelName>,
    /// How long Prometheus may take for one answer.
    pub query_timeout: HumanDuration,
    /// Where the counters are read beside Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleFrom>,
    /// What counts as failed, where the plan says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailureRule>,
    /// What is watched beside Istio's metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<MetricGuard>,
    /// Longest time in a step without a verdict.
    pub step_timeout: HumanDuration,
    /// Longest time without usable metrics.
    pub metrics_grace: HumanDuration,
    /// How long a rollback keeps trying.
    pub rollback_timeout: HumanDuration,
    /// What happens at the step's deadline.
    pub on_inconclusive: OnStuck,
    /// What happens after the metrics' grace.
    pub on_no_metrics: OnStuck,
    /// What happens on a foreign edit.
    pub on_drift: OnDrift,
    /// What the canary gets after a proven regression.
    pub after_regression: AfterRegression,
    /// What happens on Ctrl-C and SIGTERM.
    pub on_signal: OnSignal,
}

/// How the canary is judged, and the limits that go with it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// By evidence, or by plain limits.
    pub analysis: AnalysisKind,
    /// How fast, at what price.
    pub preset: Preset,
    /// The largest regression to overlook, where it differs from the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Percent>,
    /// Whether durations are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_latency: bool,
    /// Whether answers of 400 to 499 are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_client_errors: bool,
    /// How long young canary pods are given room.
    pub warmup: HumanDuration,
    /// How often Prometheus scrapes, as far as is known.
    pub scrape: HumanDuration,
    /// Most failures of the canary, as a percentage of its requests in a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<Percent>,
    /// Most points that the canary may be worse than stable, for the plain gate.
    pub margin: Percent,
    /// Least requests of the canary in a step, for the plain gate and the absolute limit.
    pub min_requests: u64,
}

/// Options that cannot stand together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Looking without a pause in between.
    #[error("--interval {0} is too short (try: 1s or more)")]
    IntervalTooShort(HumanDuration),
    /// No answer, or none before the metrics count as away.
    #[error(
        "--query-timeout {0} is not between 100ms and the --metrics-grace of {1} (try: --query-timeout 20s)"
    )]
    QueryTimeout(HumanDuration, HumanDuration),
    /// A verdict from no request.
    #[error("--min-requests 0 would pass a canary without requests (try: 1 or more)")]
    NoRequests,
    /// Somebody expects something that would not come.
    #[error("{option} has no effect {why} (try: {fix})")]
    NoEffect {
        /// The flag.
        option: &'static str,
        /// Beside what.
        why: &'static str,
        /// What would have one.
        fix: &'static str,
    },
    /// A step that can only time out.
    #[error(
        "--step-timeout {timeout} is not longer than the {dwell} of a step at {exposure} (try: a longer --step-timeout)"
    )]
    NoTimeToJudge {
        /// The deadline of a step.
        timeout: HumanDuration,
        /// The least time of the step.
        dwell: HumanDuration,
        /// The step.
        exposure: Exposure,
    },
    /// A step for testers without any.
    #[error("the plan has a step for testers, but no --match (try: --match header:x-canary=1)")]
    NoTesters,
    /// Copies look like requests to the pod that gets them.
    #[error(
        "--sample pods cannot tell mirrored requests from others (try: without it, or --steps without mirror)"
    )]
    MirrorsUnseen,
    /// A guard that cannot be watched.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// Credentials would end up in the object's annotation.
    #[error(
        "the Prometheus URL holds credentials, and the plan is stored on the VirtualService (try: --prometheus-config FILE with basic_auth)"
    )]
    SecretInUrl,
    /// What follows may be a token, and no part of an address.
    #[error(
        "the Prometheus URL has a query or a fragment, and the plan is stored on the VirtualService (try: it without what follows ? or #; --prometheus-param NAME=VALUE for a parameter of each query)"
    )]
    QueryInUrl,
}

impl Plan {
    /// Whether the analysis weighs durations.
    pub fn weighs_durations(&self) -> bool {
        self.judgement.analysis == AnalysisKind::Sequential && !self.judgement.ignore_latency
    }

    /// Whether the counters are read from the versions' pods.
    pub fn samples_pods(&self) -> bool {
        self.sample == Some(SampleFrom::Pods)
    }

    /// Decides every option.
    ///
    /// # Errors
    /// Names the flag that cannot be followed, and what to write instead.
    pub fn resolve(options: Options) -> Result<Self, PlanError> {
        Self::measured(options, USUAL_SCRAPE)
    }

    /// Decides every option, knowing how often Prometheus scrapes: a preset's dwell depends on it.
    ///
    /// # Errors
    /// As [`Plan::resolve`].
    pub fn measured(options: Options, scrape: HumanDuration) -> Result<Self, PlanError> {
        options.check_effect()?;
        let scrape = match options.sample {
            Some(SampleFrom::Pods) => POD_SAMPLES,
            None => scrape,
        };
        let analysis = options.analysis.unwrap_or_default();
        let preset = options.preset.unwrap_or_default();
        let usual = preset.policy(scrape.signed());
        let usual_dwell = match analysis {
            AnalysisKind::Sequential => usual.dwell.into(),
            AnalysisKind::Threshold => HumanDuration::seconds(60),
        };
        let metrics_grace = options.metrics_grace.unwrap_or(HumanDuration::minutes(2));
        let plan = Self {
            steps: match &options.testers {
                None => options.steps.unwrap_or_default(),
                // Testers come before the first percent.
                Some(_) => options.steps.unwrap_or_default().after_testers(),
            },
            testers: options.testers,
            sticky: options.sticky,
            dwell: options.dwell.unwrap_or(usual_dwell),
            bake: options.bake.unwrap_or(HumanDuration::ZERO),
            // Looking more often than samples arrive shows nothing new; looking less often costs
            // failed requests.
            interval: options
                .interval
                .unwrap_or(scrape.clamp(HumanDuration::seconds(1), HumanDuration::seconds(5))),
            judgement: Judgement {
                analysis,
                preset,
                tolerance: options.tolerance,
                ignore_latency: options.ignore_latency,
                ignore_client_errors: options.ignore_client_errors,
                warmup: options.warmup.unwrap_or(usual.warmup.into()),
                scrape,
                max_error_rate: options.max_error_rate.or(match analysis {
                    AnalysisKind::Sequential => None,
                    AnalysisKind::Threshold => Some(Percent::whole(1)),
                }),
                margin: options.margin.unwrap_or(Percent::whole(1)),
                min_requests: options.min_requests.unwrap_or(100),
            },
            prometheus: options
                .prometheus
                .unwrap_or_else(|| DEFAULT_PROMETHEUS.into()),
            query_scope: options.query_scope,
            operation_label: options.operation_label,
            query_timeout: options
                .query_timeout
                .unwrap_or(HumanDuration::seconds(5).min(metrics_grace)),
            sample: options.sample,
            failures: options.failures,
            guards: options.guard,
            step_timeout: options.step_timeout.unwrap_or(HumanDuration::minutes(60)),
            metrics_grace,
            rollback_timeout: options
                .rollback_timeout
                .unwrap_or(HumanDuration::minutes(10)),
            on_inconclusive: options.on_inconclusive.unwrap_or(OnStuck::Hold),
            on_no_metrics: options.on_no_metrics.unwrap_or(OnStuck::Rollback),
            on_drift: options.on_drift.unwrap_or(OnDrift::Stop),
            after_regression: options.after_regression.unwrap_or_default(),
            on_signal: options.on_signal.unwrap_or(OnSignal::Rollback),
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), PlanError> {
        if self.interval.unsigned().as_millis() < 100 {
            return Err(PlanError::IntervalTooShort(self.interval));
        }
        let timeout = self.query_timeout;
        if timeout.unsigned().as_millis() < 100 || timeout > self.metrics_grace {
            return Err(PlanError::QueryTimeout(timeout, self.metrics_grace));
        }
        if self.judgement.min_requests == 0 {
            return Err(PlanError::NoRequests);
        }
        MetricGuard::check_all(&self.guards)?;
        let has_testers = |step: &Step| step.exposure == Exposure::Testers;
        if self.testers.is_none() && self.steps.as_slice().iter().any(has_testers) {
            return Err(PlanError::NoTesters);
        }
        let shares = |step: &Step| {
            let share = step.exposure.share();
            share > Percent::ZERO && share < Percent::HUNDRED
        };
        if self.sticky.is_some() && !self.steps.as_slice().iter().any(shares) {
            return Err(PlanError::NoEffect {
                option: "--sticky",
                why: "without a step between 0 and 100 %",
                fix: "--steps 10,50,100",
            });
        }
        for (index, step) in self.steps.as_slice().iter().enumerate() {
            let dwell = self.dwell_of(index);
            if dwell >= self.step_timeout {
                return Err(PlanError::NoTimeToJudge {
                    timeout: self.step_timeout,
                    dwell,
                    exposure: step.exposure,
                });
            }
        }
        if self.samples_pods() && self.mirrors() {
            return Err(PlanError::MirrorsUnseen);
        }
        // No address holds any of these but for a user or a token, whether or not it is one otherwise.
        match self.prometheus.find(['@', '?', '#']) {
            Some(at) if self.prometheus[at..].starts_with('@') => Err(PlanError::SecretInUrl),
            Some(_) => Err(PlanError::QueryInUrl),
            None => Ok(()),
        }?;
        Ok(())
    }

    /// What a step gives the canary.
    ///
    /// # Panics
    /// If there is no such step; steps are counted from 0 and never counted past the last.
    pub fn exposure(&self, step: usize) -> Exposure {
        self.steps.as_slice()[step].exposure
    }

    /// What each step gives the canary, in order.
    pub fn exposures(&self) -> Vec<Exposure> {
        let steps = self.steps.as_slice().iter();
        steps.map(|step| step.exposure).collect()
    }

    /// Whether the rollout mirrors requests at some step.
    pub fn mirrors(&self) -> bool {
        let steps = self.steps.as_slice();
        steps.iter().any(|step| step.exposure.mirrored().is_some())
    }

    /// Whether the rollout adds rules to the canary alone at some step.
    pub fn adds_rules(&self) -> bool {
        self.testers.is_some() || self.sticky.is_some()
    }

    /// The number of steps.
    pub fn step_count(&self) -> usize {
        self.steps.as_slice().len()
    }

    /// Whether this is the step at 100 %.
    pub fn is_last(&self, step: usize) -> bool {
        step + 1 == self.step_count()
    }

    /// The least time at a step: what the step says, at 100 % the bake, else the plan's dwell.
    pub fn dwell_of(&self, step: usize) -> HumanDuration {
        let held = self.steps.as_slice()[step].hold;
        held.unwrap_or(if self.is_last(step) {
            self.bake
        } else {
            self.dwell
        })
    }

    /// A short name for the plan's content, to tell in the record which plan ran.
    pub fn hash(&self) -> String {
        use std::hash::Hasher;
        let mut hasher = fnv::FnvHasher::default();
        hasher.write(serde_json::to_string(self).unwrap_or_default().as_bytes());
        format!("{:016x}", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_means_the_defaults() {
        let plan = Plan::resolve(Options::default()).unwrap();
        assert_eq!(plan.steps.to_string(), "1,10,50,100");
        assert_eq!(plan.dwell_of(0).to_string(), "1m");
        assert_eq!(plan.dwell_of(3).to_string(), "0s");
        assert_eq!(plan.prometheus, "istio-system/prometheus:9090");
    }

    #[test]
    fn a_plan_survives_its_journey_on_the_object() {
        let options = Options {
            steps: Some("mirror:10%,1:30s,50:pause,100:10m".parse().unwrap()),
            testers: Some("header:x-canary=1".parse().unwrap()),
            sticky: Some("cookie=canary,30m".parse().unwrap()),
            max_error_rate: Some("0.5".parse().unwrap()),
            ..Options::default()
        };
        let plan = Plan::resolve(options).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    }

    #[test]
    fn options_that_cannot_work_name_the_flag() {
        let cases = [
            (
                Options {
                    query_timeout: Some("3m".parse().unwrap()),
                    ..Options::default()
                },
                "--query-timeout 3m is not between 100ms and the --metrics-grace of 2m",
            ),
            (
                Options {
                    interval: Some("10ms".parse().unwrap()),
                    ..Options::default()
                },
                "--interval 10ms is too short",
            ),
            (
                Options {
                    steps: Some("testers,100".parse().unwrap()),
                    ..Options::default()
                },
                "no --match (try: --match header:x-canary=1)",
            ),
            (
                Options {
                    steps: Some("mirror:10%,100".parse().unwrap()),
                    sticky: Some("cookie=canary".parse().unwrap()),
                    ..Options::default()
                },
                "--sticky has no effect without a step between 0 and 100 % (try: --steps 10,50,100)",
            ),
            (
                Options {
                    min_requests: Some(0),
                    analysis: Some(AnalysisKind::Threshold),
                    ..Options::default()
                },
                "--min-requests 0 would pass",
            ),
            (
                Options {
                    step_timeout: Some("30s".parse().unwrap()),
                    ..Options::default()
                },
                "--step-timeout 30s is not longer than the 1m of a step at 1 %",
            ),
            (
                Options {
                    sample: Some(SampleFrom::Pods),
                    steps: Some("mirror:10%,100".parse().unwrap()),
                    ..Options::default()
                },
                "--sample pods cannot tell mirrored requests from others",
            ),
            (
                Options {
                    prometheus: Some("http://me:secret@prom:9090".into()),
                    ..Options::default()
                },
                "holds credentials",
            ),
            (
                Options {
                    prometheus: Some("me:secret@prom:9090".into()),
                    ..Options::default()
                },
                "holds credentials",
            ),
            (
                Options {
                    prometheus: Some("http://prom:9090/?token=secret".into()),
                    ..Options::default()
                },
                "has a query or a fragment",
            ),
        ];
        for (options, expected) in cases {
            let error = Plan::resolve(options).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
