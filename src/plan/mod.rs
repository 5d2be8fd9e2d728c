//! What a rollout is going to do: flags or a plan file resolved once into a complete, immutable [`Plan`].
//!
//! Pure code: nothing here asks a cluster or the environment.

mod address_source;
mod config_file;
mod duration;
mod exposure;
mod failure_rule;
mod file;
mod file_kind;
mod finding;
mod flags;
mod forecast;
#[cfg(test)]
mod forecast_tests;
mod label_name;
mod metric_guard;
mod no_effect;
mod options;
mod outlook;
mod percent;
mod planned_step;
mod policy;
mod power;
mod query_scope;
mod query_template;
mod remedy;
mod resolved;
mod step;
mod sticky;
mod testers;

pub use address_source::AddressSource;
pub use config_file::{ConfigFile, ContextDefaults, LoginSettings};
pub use duration::HumanDuration;
pub use exposure::Exposure;
pub(crate) use failure_rule::FailureRule;
pub use file::PlanFile;
pub(crate) use file_kind::FileError;
pub use finding::{Finding, Level};
pub(crate) use flags::shell_word;
pub use forecast::Forecast;
pub(crate) use forecast::SmallerStep;
pub(crate) use label_name::LabelName;
pub(crate) use metric_guard::{CounterPair, GuardError};
pub use metric_guard::{MetricGuard, OnGuardFailure, OnNoData};
pub use options::{
    AfterRegression, AnalysisKind, OnDrift, OnHookFailure, OnSignal, OnStuck, Options, SampleFrom,
};
pub use percent::Percent;
pub(crate) use planned_step::PlannedStep;
pub use power::{DetectedRegression, MetricPower};
pub(crate) use query_scope::ScopeLabel;
pub(crate) use query_template::{
    ComparedVersion, QueryTemplate, TemplateError, TemplateValues, VersionNames,
};
pub use remedy::{Remedy, RemedyChange};
pub use resolved::Plan;
pub(crate) use resolved::PlanError;
pub(crate) use step::{Step, Steps};
pub(crate) use sticky::Sticky;
pub(crate) use testers::{HeaderValue, Testers};
