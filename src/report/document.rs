//! The documents that programs read, and their JSON schemas.

use clap::ValueEnum;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use super::{
    AnalysisView, ConfigView, PlanView, RunList, RunReport, Simulation, StatusList, StatusRow,
};
use crate::plan::{ConfigFile, PlanFile};
use crate::rollout::{DriverReport, Event, LastRollout, Rollout, Summary};

/// A document that kubectl canary reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// A plan file, as -f reads it.
    PlanFile,
    /// A user's own file of defaults.
    ConfigFile,
    /// What config prints.
    Config,
    /// What plan prints.
    Plan,
    /// What start, resume, promote, pause, abort and undo print.
    Result,
    /// What status NAME prints.
    Status,
    /// What status and list print.
    StatusList,
    /// What analyze prints.
    Analysis,
    /// What simulate prints.
    Simulation,
    /// What history prints.
    History,
    /// What report prints.
    Report,
    /// A line of --events.
    Event,
    /// The annotation kubectl-canary.dev/rollout.
    Rollout,
    /// The annotation kubectl-canary.dev/last.
    LastRollout,
    /// The annotation kubectl-canary.dev/driver-report on a Lease.
    DriverReport,
}

impl Document {
    /// Every document.
    pub const ALL: &[Self] = &[
        Self::PlanFile,
        Self::ConfigFile,
        Self::Config,
        Self::Plan,
        Self::Result,
        Self::Status,
        Self::StatusList,
        Self::Analysis,
        Self::Simulation,
        Self::History,
        Self::Report,
        Self::Event,
        Self::Rollout,
        Self::LastRollout,
        Self::DriverReport,
    ];

    /// Its name on the command line and in file names.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it is, in a few words.
    pub fn description(self) -> String {
        let value = self.to_possible_value();
        let help = value.and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }

    /// Its JSON schema, draft 2020-12.
    pub fn schema(self) -> Schema {
        let mut schema = match self {
            Self::PlanFile => read::<PlanFile>(),
            Self::ConfigFile => read::<ConfigFile>(),
            Self::Config => written::<ConfigView>(),
            Self::Plan => written::<PlanView>(),
            Self::Result => written::<Summary>(),
            Self::Status => written::<StatusRow>(),
            Self::StatusList => written::<StatusList>(),
            Self::Analysis => written::<AnalysisView>(),
            Self::Simulation => written::<Simulation>(),
            Self::History => written::<RunList>(),
            Self::Report => written::<RunReport>(),
            Self::Event => written::<Event>(),
            Self::Rollout => written::<Rollout>(),
            Self::LastRollout => written::<LastRollout>(),
            Self::DriverReport => written::<DriverReport>(),
        };
        let name = self.name();
        let id = format!("https://kubectl-canary.dev/schemas/v1/{name}.json");
        schema.insert("$id".into(), id.into());
        schema.insert("title".into(), format!("kubectl canary {name}").into());
        schema
    }
}

fn read<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    settings.into_generator().into_root_schema_for::<T>()
}

fn written<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>()
}
