//! Where a rollout stands, read from nothing but the object.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::traffic::{LastRun, RouteTraffic, VersionStatus};
use super::{DriverStatus, phrase};
use crate::discovery::VersionPods;
use crate::history::RunRecord;
use crate::istio::{Split, VirtualService, Weights};
use crate::plan::{Exposure, MetricPower, PlannedStep, Sticky};
use crate::rollout::{
    HookFailure, KeptShare, LastRollout, ObjectName, Phase, PromotionState, Rollout, promotion_on,
    route_of,
};

/// The version of the format that programs read.
const VERSION: u32 = 1;

/// What is under way on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing.
    Idle,
    /// A step is being judged.
    Progressing,
    /// A step is over; `promote` takes the next.
    Waiting,
    /// Held at this weight by `pause`.
    Paused,
    /// The canary gets nothing until a regression is confirmed or cleared.
    Tripped,
    /// The state cannot be read.
    Damaged,
}

impl Standing {
    /// The word for a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Progressing => "progressing",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Tripped => "tripped",
            Self::Damaged => "damaged",
        }
    }
}

impl From<Phase> for Standing {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Progressing => Self::Progressing,
            Phase::Waiting => Self::Waiting,
            Phase::Paused => Self::Paused,
            Phase::Tripped => Self::Tripped,
        }
    }
}

/// Whether a chosen route is as the rollout left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteState {
    /// It has the weights that were set.
    AsSet,
    /// It has other weights.
    Changed,
    /// It is gone, or sends elsewhere.
    Missing,
}

/// One chosen route.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// `http[primary]`; a route that is gone has only its digest.
    pub route: String,
    /// Whether it is as it was left.
    pub state: RouteState,
    /// The position of stable in the lists.
    pub stable: usize,
    /// The position of the canary in the lists.
    pub canary: usize,
    /// The weights now.
    pub now: Option<Weights>,
    /// The weights that the state stands for.
    pub set: Weights,
    /// The weights before the rollout.
    pub original: Weights,
}

/// Where one rollout stands.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusRow {
    /// The format's version.
    pub version: u32,
    /// The VirtualService's namespace.
    pub namespace: String,
    /// The VirtualService's name.
    pub name: String,
    /// What is under way.
    pub phase: Standing,
    /// The step it is at, from 1.
    pub step: Option<usize>,
    /// The number of steps.
    pub step_count: Option<usize>,
    /// What the canary gets now; without a rollout in progress only where the last one was rolled back for
    /// a regression and its canary has the weight that it had before.
    pub exposure: Option<Exposure>,
    /// The stable version.
    pub stable: Option<String>,
    /// The canary.
    pub canary: Option<String>,
    /// Since when it is at this step.
    pub since: Option<Timestamp>,
    /// For how long, in seconds.
    pub age_seconds: Option<i64>,
    /// When the rollout began.
    pub began: Option<Timestamp>,
    /// The run.
    pub run: Option<String>,
    /// Who drives it.
    pub holder: Option<String>,
    /// Whether the driver is running; `null` where the Lease was not read.
    pub driver: Option<DriverStatus>,
    /// Who changed it last, if that was not the driver.
    pub changed_by: Option<String>,
    /// Why it is paused, if the user's command before the next step did it.
    pub hook_failure: Option<HookFailure>,
    /// What the analysis would notice of failures, as it was forecast at the start.
    pub power: Option<MetricPower>,
    /// When the earlier rollout began whose record tells how failures are dispersed, where the metrics told less.
    pub dispersion_from: Option<Timestamp>,
    /// A digest of the plan.
    pub plan_hash: Option<String>,
    /// What keeps users of the canary on it.
    pub sticky: Option<Sticky>,
    /// The steps of the plan; empty without a rollout.
    pub steps: Vec<PlannedStep>,
    /// The chosen routes; those of other objects with their object's name, where these were looked at.
    pub routes: Vec<RouteStatus>,
    /// The hosts that the object answers for; as all of the following up to `unread`, empty in a list.
    pub hosts: Vec<String>,
    /// The gateways that it is bound to, and `mesh`.
    pub gateways: Vec<String>,
    /// Where all its routes send requests now.
    pub traffic: Vec<RouteTraffic>,
    /// What runs there.
    pub versions: Vec<VersionStatus>,
    /// What could not be read of `versions` and `lastRun`, and why.
    pub unread: Vec<String>,
    /// The companions that are shifted together with this object.
    pub companions: Vec<ObjectName>,
    /// The lead of the group, if this object is a companion.
    pub lead: Option<ObjectName>,
    /// How the last rollout ended.
    pub last: Option<LastRollout>,
    /// Why it ended so, and what was counted; only of one object, without a rollout in progress.
    pub last_run: Option<LastRun>,
    /// Why the last rollout's record cannot be read.
    pub last_error: Option<String>,
    /// Why the state cannot be read.
    pub error: Option<String>,
    /// The commands that come next.
    pub next: Vec<String>,
    /// When this was looked at.
    pub at: Timestamp,
}

impl StatusRow {
    /// Reads where the rollout on `vs` stands at `now`.
    ///
    /// A state that cannot be read is a phase of its own, never an error: a list must not fail for
    /// one of its rows.
    pub fn of(vs: &VirtualService, now: Timestamp) -> Self {
        let row = Self::idle(vs, now);
        match Rollout::read(vs) {
            Ok(None) => row,
            Ok(Some(rollout)) => row.driven(vs, &rollout),
            Err(error) => Self {
                phase: Standing::Damaged,
                error: Some(error.to_string()),
                next: Vec::new(),
                ..row
            },
        }
    }

    fn idle(vs: &VirtualService, now: Timestamp) -> Self {
        let (last, last_error): (Option<LastRollout>, _) = match LastRollout::read(vs) {
            Ok(last) => (last, None),
            Err(error) => (
                None,
                Some(format!("the last rollout's record cannot be read: {error}")),
            ),
        };
        let kept = last.as_ref().and_then(|last| KeptShare::after(last, vs));
        let exposure = kept.as_ref().map(|kept| Exposure::Share(kept.share));
        let kept = kept.map(|kept| kept.command);
        // Without names the next rollout would go back to the old version, step by step.
        let next: &[&str] = match last.as_ref().and_then(LastRollout::promoted_rollout) {
            Some(promoted) if promotion_on(&promoted, vs) == PromotionState::Stands => &["undo"],
            Some(_) | None => &["plan", "start"],
        };
        Self {
            version: VERSION,
            namespace: vs.namespace().to_owned(),
            name: vs.name().to_owned(),
            phase: Standing::Idle,
            step: None,
            step_count: None,
            exposure,
            stable: None,
            canary: None,
            since: None,
            age_seconds: None,
            began: None,
            run: None,
            holder: None,
            driver: None,
            changed_by: None,
            hook_failure: None,
            power: None,
            dispersion_from: None,
            plan_hash: None,
            sticky: None,
            steps: Vec::new(),
            routes: Vec::new(),
            hosts: Vec::new(),
            gateways: Vec::new(),
            traffic: Vec::new(),
            versions: Vec::new(),
            unread: Vec::new(),
            companions: Vec::new(),
            lead: None,
            last,
            last_run: None,
            last_error,
            error: None,
            next: kept
                .into_iter()
                .chain(next.iter().map(|verb| command(verb, vs)))
                .collect(),
            at: now,
        }
    }

    fn driven(self, vs: &VirtualService, rollout: &Rollout) -> Self {
        let routes = rollout.routes.iter();
        let now = self.at;
        let next: &[&str] = match rollout.phase {
            Phase::Progressing => &["resume", "abort"],
            Phase::Waiting => &["promote", "abort"],
            Phase::Paused => &["resume", "abort"],
            Phase::Tripped => &["abort"],
        };
        Self {
            phase: rollout.phase.into(),
            step: Some(rollout.step + 1),
            step_count: Some(rollout.plan.step_count()),
            exposure: Some(rollout.exposure()),
            stable: Some(rollout.stable.to_string()),
            canary: Some(rollout.canary.to_string()),
            since: Some(rollout.since),
            age_seconds: Some(now.duration_since(rollout.since).as_secs()),
            began: Some(rollout.began),
            run: Some(rollout.run.clone()),
            holder: Some(rollout.holder.clone()),
            changed_by: rollout.changed_by.clone(),
            hook_failure: rollout.hook_failure.clone(),
            power: rollout.power.clone(),
            dispersion_from: rollout.recalled().map(|record| record.at),
            plan_hash: Some(rollout.plan.hash()),
            sticky: rollout.plan.sticky.clone(),
            steps: rollout.plan.planned_steps(rollout.original_share()),
            routes: routes
                .map(|split| RouteStatus::of(vs, rollout, split))
                .collect(),
            companions: rollout
                .companions
                .iter()
                .map(|companion| companion.object.clone())
                .collect(),
            lead: rollout.lead.clone(),
            next: next.iter().map(|verb| command(verb, vs)).collect(),
            ..self
        }
    }

    /// The same with what the lease tells of the driver; what comes next depends on it.
    #[must_use]
    pub fn with_driver(mut self, vs: &VirtualService, driver: DriverStatus) -> Self {
        let next: Option<&[&str]> = match (self.phase, driver.alive) {
            (Standing::Progressing, true) => Some(&["promote", "pause", "abort"]),
            (Standing::Progressing | Standing::Tripped, false) => Some(&["resume", "abort"]),
            _ => None,
        };
        if let Some(next) = next {
            self.next = next.iter().map(|verb| command(verb, vs)).collect();
        }
        self.driver = Some(driver);
        self
    }

    /// The same with the routes of the objects that move along, as far as they are among `found`.
    #[must_use]
    pub fn with_companions(mut self, vs: &VirtualService, found: &[VirtualService]) -> Self {
        let Ok(Some(rollout)) = Rollout::read(vs) else {
            return self;
        };
        for companion in &rollout.companions {
            let Some(other) = found.iter().find(|vs| companion.object.names(vs)) else {
                continue;
            };
            let routes = companion.routes.iter();
            self.routes.extend(routes.map(|split| {
                let status = RouteStatus::of(other, &rollout, split);
                RouteStatus {
                    route: route_of(&status.route, other),
                    ..status
                }
            }));
        }
        self
    }

    /// The same with where the traffic is.
    #[must_use]
    pub fn with_traffic(mut self, vs: &VirtualService) -> Self {
        self.hosts = vs.hosts().iter().map(ToString::to_string).collect();
        self.gateways = vs.gateways().into_iter().collect();
        self.traffic = RouteTraffic::of(vs);
        self
    }

    /// The same with what runs there, or why that is not known.
    #[must_use]
    pub(crate) fn with_versions(mut self, found: &[VersionPods]) -> Self {
        self.versions = found.iter().map(VersionStatus::of).collect();
        for found in found {
            self.note_unread(found.pods.as_ref().err());
        }
        self
    }

    /// The same with how the last rollout ended, as far as `record` tells, or why there is none.
    #[must_use]
    pub(crate) fn with_last_run(mut self, record: &Result<Option<RunRecord>, String>) -> Self {
        let known = record.as_ref().ok().and_then(Option::as_ref);
        self.last_run = self.last.as_ref().map(|last| LastRun::of(last, known));
        self.note_unread(record.as_ref().err());
        self
    }

    fn note_unread(&mut self, why: Option<&String>) {
        let news = why.filter(|why| !self.unread.contains(why));
        self.unread.extend(news.cloned());
    }

    /// Whether its canary has to be judged, and no driver is there to do it, as far as the Lease was read.
    pub fn is_orphaned(&self) -> bool {
        self.needs_driver() && self.driver.as_ref().is_some_and(|driver| !driver.alive)
    }

    /// Whether its canary is to be judged all the time.
    pub fn needs_driver(&self) -> bool {
        matches!(self.phase, Standing::Progressing | Standing::Tripped)
    }

    /// How long it has been at this step.
    pub fn age(&self) -> Option<SignedDuration> {
        self.age_seconds.map(SignedDuration::from_secs)
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl RouteStatus {
    fn of(vs: &VirtualService, rollout: &Rollout, split: &Split) -> Self {
        let set = rollout.weights_of(split);
        let found = split.find(vs);
        let now = found.map(|route| route.weights());
        let plain = |weights: &Weights| -> Vec<i64> {
            weights.iter().map(|weight| weight.unwrap_or(0)).collect()
        };
        let state = match &now {
            None => RouteState::Missing,
            Some(now) if plain(now) == plain(&set) => RouteState::AsSet,
            Some(_) => RouteState::Changed,
        };
        Self {
            route: found.map_or_else(|| split.id.to_string(), ToString::to_string),
            state,
            stable: split.stable,
            canary: split.canary,
            now,
            set,
            original: split.original.clone(),
        }
    }

    /// Weights of this route as people write them.
    pub(super) fn words(&self, weights: &Weights) -> String {
        phrase::weights(weights, self.stable, self.canary)
    }

    /// The weights now as people write them, or the word for their absence.
    pub(super) fn now_in_words(&self) -> String {
        match &self.now {
            Some(now) => self.words(now),
            None => "missing".into(),
        }
    }
}

fn command(verb: &str, vs: &VirtualService) -> String {
    format!("kubectl canary {verb} {} -n {}", vs.name(), vs.namespace())
}
