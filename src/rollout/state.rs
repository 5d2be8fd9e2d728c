//! The state of a rollout as it stands on the VirtualService.
//!
//! It moves in the same patch as the weights, so the two never disagree, and it holds all that
//! another machine needs to go on or to go back.

use std::num::NonZeroUsize;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::companion::{Companion, ObjectName};
use super::hook_failure::HookFailure;
use super::record::{Unreadable, read_record};
use super::segment::{Phase, Segment};
use crate::istio::{Destination, RouteGroup, RouteKind, Split, VirtualService, route_groups};
use crate::metrics::Unit;
use crate::plan::{Exposure, HumanDuration, MetricPower, Percent, Plan};
use crate::verdict::BesideWeights;
use crate::verdict::sequential::BaselineRecord;

/// The annotation that holds the state while a rollout is under way.
pub const ROLLOUT: &str = "kubectl-canary.dev/rollout";

/// The version of the format that this binary writes, and the newest that it reads.
const VERSION: u32 = 1;

/// Share of the requests by which the canary may exceed its weight without a word.
const PAST_WEIGHTS: f64 = 0.02;

/// The most that the state may take, a third of it for guards; annotations share 256 KiB with everybody
/// else's.
const MAX_BYTES: usize = 12 * 1024;

/// A rollout under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The format's version.
    pub version: u32,
    /// Names this run in every record and audit log.
    pub run: String,
    /// Where it stands.
    pub phase: Phase,
    /// The step it is at, from 0; the annotation counts from 1, as everything that is read does.
    #[serde(with = "from_one")]
    #[schemars(with = "NonZeroUsize")]
    pub step: usize,
    /// Since when it is at this step.
    pub since: Timestamp,
    /// When it began.
    pub began: Timestamp,
    /// How long before the start stable's metrics were read; a driver that resumes the rollout, and
    /// `analyze`, read the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback: Option<HumanDuration>,
    /// Since when the object was not written before the start, so that its weights were what they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_rest_since: Option<Timestamp>,
    /// What is known of how stable failed and how long its requests took, for the next rollout; of an earlier
    /// one where that knew more than the metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineRecord>,
    /// What the analysis would notice of failures, as it was forecast at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<MetricPower>,
    /// Whether other rules send to the same versions, so that the canary cannot be expected to get its
    /// weight's share of all their requests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_rules: bool,
    /// Whether the ports of both versions say that they speak gRPC.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub speaks_grpc: bool,
    /// Whether the step has passed, and whoever drove it was to go no further.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub step_passed: bool,
    /// Who drives it.
    pub holder: String,
    /// Who changed it last, if that was not the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<String>,
    /// What is being done.
    pub plan: Plan,
    /// The version that carried the traffic.
    pub stable: Destination,
    /// The version that it moves to.
    pub canary: Destination,
    /// The chosen routes with their original weights; those that are divided alike stand together.
    #[serde(with = "route_groups")]
    #[schemars(with = "Vec<RouteGroup>")]
    pub routes: Vec<Split>,
    /// The weights so far; none as long as nothing was written.
    pub history: Vec<Segment>,
    /// The phase after a false alarm, if that is not [`Phase::Progressing`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_to: Option<Phase>,
    /// Why it is paused, if the user's command before the next step did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_failure: Option<HookFailure>,
    /// The objects that are shifted together with this one, in the order in which they are patched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<Companion>,
    /// The lead of the group; only a companion's state names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead: Option<ObjectName>,
}

/// A state annotation that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// It does not parse, or contradicts itself.
    #[error(
        "the rollout state on virtualservice {object} is damaged: {why} (try: kubectl canary abort {name} -n {namespace}, which prints how to restore the weights by hand)"
    )]
    Damaged {
        /// `namespace/name`.
        object: String,
        /// The object's namespace.
        namespace: String,
        /// The object's name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A newer kubectl canary wrote it.
    #[error(
        "the rollout state on virtualservice {object} has version {found}, this kubectl canary reads up to {VERSION} (try: the kubectl canary version that started the rollout)"
    )]
    Newer {
        /// `namespace/name`.
        object: String,
        /// The version found.
        found: u64,
    },
    /// It would not fit.
    #[error(
        "the rollout state takes {bytes} bytes, the limit is {MAX_BYTES} (try: --route to shift fewer routes)"
    )]
    TooLarge {
        /// What it would take.
        bytes: usize,
    },
}

impl Rollout {
    /// A new rollout that has not moved anything yet.
    pub fn new(
        run: String,
        holder: String,
        plan: Plan,
        selection: (Destination, Destination, Vec<Split>),
        now: Timestamp,
    ) -> Self {
        let (stable, canary, routes) = selection;
        Self {
            version: VERSION,
            run,
            phase: Phase::Progressing,
            step: 0,
            since: now,
            began: now,
            lookback: None,
            at_rest_since: None,
            baseline: None,
            power: None,
            other_rules: false,
            speaks_grpc: false,
            step_passed: false,
            holder,
            changed_by: None,
            plan,
            stable,
            canary,
            routes: route_groups::in_order(&routes),
            history: Vec::new(),
            resume_to: None,
            hook_failure: None,
            companions: Vec::new(),
            lead: None,
        }
    }

    /// The state on `vs`, if a rollout is under way there.
    ///
    /// # Errors
    /// If the annotation is damaged or of a newer version. Traffic is not touched then.
    pub fn read(vs: &VirtualService) -> Result<Option<Self>, RolloutError> {
        let Some(text) = vs.annotation(ROLLOUT) else {
            return Ok(None);
        };
        let damaged = |why: String| RolloutError::Damaged {
            object: vs.full_name(),
            namespace: vs.namespace().to_owned(),
            name: vs.name().to_owned(),
            why,
        };
        let rollout: Self = read_record(text, VERSION).map_err(|error| match error {
            Unreadable::Newer { found, .. } => RolloutError::Newer {
                object: vs.full_name(),
                found,
            },
            Unreadable::Damaged(why) => damaged(why),
        })?;
        rollout.check().map_err(damaged)?;
        Ok(Some(rollout))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.step >= self.plan.step_count() {
            return Err(format!(
                "it is at step {} of {}",
                self.step + 1,
                self.plan.step_count()
            ));
        }
        if self.routes.is_empty() {
            return Err("it names no route".into());
        }
        for split in self.all_routes() {
            if !split.is_sane() {
                return Err(format!(
                    "the original weights of route {} make no sense",
                    split.id
                ));
            }
        }
        Ok(())
    }

    /// The annotation's text.
    ///
    /// # Errors
    /// If it would be larger than an annotation should be.
    pub fn to_annotation(&self) -> Result<String, RolloutError> {
        let text = serde_json::to_string(self).expect("a rollout is plain data with string keys");
        if text.len() > MAX_BYTES {
            return Err(RolloutError::TooLarge { bytes: text.len() });
        }
        Ok(text)
    }

    /// What the canary gets while the state stands as it does: nothing after a trip.
    pub fn exposure(&self) -> Exposure {
        match self.phase {
            Phase::Tripped => Exposure::NONE,
            Phase::Progressing | Phase::Waiting | Phase::Paused => self.plan.exposure(self.step),
        }
    }

    /// The percentage that the canary had before; where routes differ, the least.
    pub fn original_share(&self) -> Percent {
        self.all_routes()
            .map(Split::original_share)
            .min()
            .unwrap_or_default()
    }

    /// The most that any chosen route gave the canary before the rollout.
    pub fn highest_original_share(&self) -> Percent {
        let shares = self.all_routes().map(Split::original_share);
        shares.max().unwrap_or_default()
    }

    /// Whether a canary that has this share of the requests, 0 to 1, while its original weights are in force
    /// is reached by callers who do not go by them.
    pub fn is_reached_past_weights(&self, share: f64) -> bool {
        let weight = self.highest_original_share().share();
        share > weight + PAST_WEIGHTS.max(weight / 2.0)
    }

    /// What sends to the versions beside the weights, as far as is known.
    pub fn beside_weights(&self) -> BesideWeights {
        BesideWeights {
            other_rules: self.other_rules,
            sticky_users: self.plan.sticky.is_some(),
        }
    }

    /// What it knows from an earlier rollout, since the metrics told less.
    pub fn recalled(&self) -> Option<&BaselineRecord> {
        self.baseline
            .as_ref()
            .filter(|record| record.at < self.began)
    }

    /// What tells the versions apart in the metrics: requests, unless every chosen route is of a kind
    /// whose requests no proxy understands.
    pub fn counted(&self) -> Unit {
        match self.all_routes().any(|split| split.kind == RouteKind::Http) {
            true => Unit::Requests,
            false => Unit::Connections,
        }
    }

    /// Whether anything of it stands on the object, as far as is known.
    pub fn has_begun(&self) -> bool {
        !self.history.is_empty()
    }

    /// The phase that follows when a trip is cleared: a held rollout stays held.
    #[must_use]
    pub fn cleared(&self, now: Timestamp) -> Self {
        self.in_phase(self.resume_to.unwrap_or(Phase::Progressing), now)
    }

    /// Goes to a step at `now`; the caller writes it.
    #[must_use]
    pub fn at_step(&self, step: usize, phase: Phase, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.step = step;
        next.phase = phase;
        next.since = now;
        next.step_passed = false;
        next.changed_by = None;
        next.resume_to = None;
        next.hook_failure = None;
        next.note_exposure(now);
        next
    }

    /// Changes the phase at `now`; the caller writes it.
    #[must_use]
    pub fn in_phase(&self, phase: Phase, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.resume_to = match (phase, self.phase) {
            (Phase::Tripped, Phase::Waiting | Phase::Paused) => Some(self.phase),
            (Phase::Tripped, Phase::Tripped) => self.resume_to,
            (Phase::Tripped, Phase::Progressing)
            | (Phase::Progressing | Phase::Waiting | Phase::Paused, _) => None,
        };
        next.phase = phase;
        next.step_passed &= phase != Phase::Tripped;
        next.changed_by = None;
        if matches!(phase, Phase::Progressing | Phase::Waiting) {
            next.hook_failure = None;
        }
        next.note_exposure(now);
        next
    }

    /// The same once its step has passed; the caller writes it.
    #[must_use]
    pub fn passed(&self) -> Self {
        Self {
            step_passed: true,
            changed_by: None,
            ..self.clone()
        }
    }

    /// Paused at `now`, since the user's command before the next step failed; the caller writes it.
    #[must_use]
    pub fn held_by(&self, failure: HookFailure, now: Timestamp) -> Self {
        Self {
            hook_failure: Some(failure),
            ..self.in_phase(Phase::Paused, now)
        }
    }

    /// Begins the step anew at `now`: its weights were not in force for a while.
    pub fn begin_again(&mut self, now: Timestamp) {
        self.history.push(Segment {
            exposure: self.exposure(),
            since: now,
        });
    }

    fn note_exposure(&mut self, now: Timestamp) {
        let exposure = self.exposure();
        let last = self.history.last();
        if last.is_none_or(|segment| segment.exposure != exposure) {
            self.history.push(Segment {
                exposure,
                since: now,
            });
        }
    }

    /// The same, with every time that `before` did not have yet moved to `at`: what is written counts from
    /// when it is in force, however long ago it was decided.
    #[must_use]
    pub fn in_force_at(&self, before: &Self, at: Timestamp) -> Self {
        let mut next = self.clone();
        if next.since != before.since || !before.has_begun() {
            next.since = at;
        }
        for segment in next.history.iter_mut().skip(before.history.len()) {
            segment.since = at;
        }
        next
    }

    /// Whether `other` is this state, whenever either of them says that it began: what is known of a write
    /// is known a little later than the object says.
    pub fn is_same_state(&self, other: &Self) -> bool {
        let mut same = other.clone();
        same.since = self.since;
        for (segment, own) in same.history.iter_mut().zip(&self.history) {
            segment.since = own.since;
        }
        same == *self
    }

    /// The command that rolls back by hand, whatever became of this process.
    pub fn abort_command(vs: &VirtualService) -> String {
        format!("kubectl canary abort {} -n {}", vs.name(), vs.namespace())
    }
}

/// A position from 0 here and from 1 in the annotation.
mod from_one {
    use std::num::NonZeroUsize;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(step: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        (step + 1).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        Ok(NonZeroUsize::deserialize(deserializer)?.get() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::select_versions;
    use crate::plan::Options;
    use serde_json::{Value, json};

    fn vs(weights: [Value; 2], state: Option<&str>) -> VirtualService {
        let mut object = json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1"},
            "spec": {"http": [{"name": "primary", "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": weights[0]},
                {"destination": {"host": "reviews", "subset": "v2"}, "weight": weights[1]},
            ]}]},
        });
        if let Some(state) = state {
            object["metadata"]["annotations"] = json!({ROLLOUT: state});
        }
        VirtualService::new(object).unwrap()
    }

    fn rollout(vs: &VirtualService) -> Rollout {
        let selection = select_versions(vs, None, None, &[], &[]).unwrap();
        let plan = Plan::resolve(Options::default()).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Rollout::new(
            "r".into(),
            "me@here".into(),
            plan,
            (selection.stable, selection.canary, selection.splits),
            now,
        )
    }

    #[test]
    fn the_state_survives_its_journey_on_the_object() {
        let before = vs([json!(100), json!(0)], None);
        let rollout = rollout(&before);
        let text = rollout.to_annotation().unwrap();
        assert!(text.len() < 1500, "{} bytes", text.len());
        let after = vs([json!(100), json!(0)], Some(&text));
        assert_eq!(Rollout::read(&after).unwrap().unwrap(), rollout);
        assert_eq!(Rollout::read(&before).unwrap(), None);
    }

    #[test]
    fn a_damaged_state_names_the_object_and_the_way_out() {
        let good = rollout(&vs([json!(100), json!(0)], None))
            .to_annotation()
            .unwrap();
        for (text, expected) in [
            ("nonsense".to_owned(), "is damaged: it is not JSON"),
            ("{}".to_owned(), "is damaged: it has no version"),
            (
                good.replace("\"version\":1", "\"version\":2"),
                "has version 2, this kubectl canary reads up to 1",
            ),
            (
                good.replace("\"step\":1", "\"step\":10"),
                "is damaged: it is at step 10 of 4",
            ),
            (good.replace("[100,0]", "[-5,0]"), "make no sense"),
            (
                good.replace("[100,0]", "[100]"),
                "is damaged: a value that does not belong there",
            ),
        ] {
            let error = Rollout::read(&vs([json!(100), json!(0)], Some(&text)))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("virtualservice shop/reviews") && error.contains(expected),
                "{error}"
            );
            assert!(error.contains("(try: "), "{error}");
        }
    }

    #[test]
    fn a_route_never_loses_what_the_canary_had() {
        let vs = vs([json!(80), json!(20)], None);
        let rollout = rollout(&vs);
        assert_eq!(rollout.original_share(), Percent::whole(20));
        assert_eq!(
            rollout.weights_of(&rollout.routes[0]),
            [Some(80), Some(20)],
            "the first step is 1 %"
        );
        let now = rollout.began;
        assert_eq!(
            rollout
                .at_step(2, Phase::Progressing, now)
                .weights_of(&rollout.routes[0]),
            [Some(50), Some(50)]
        );
        assert_eq!(
            rollout
                .in_phase(Phase::Tripped, now)
                .weights_of(&rollout.routes[0]),
            [Some(100), Some(0)]
        );
    }

    #[test]
    fn the_history_tells_each_weight_once() {
        let vs = vs([json!(100), json!(0)], None);
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let rollout = rollout(&vs)
            .at_step(0, Phase::Progressing, now)
            .in_phase(Phase::Paused, now)
            .at_step(1, Phase::Progressing, now);
        let weights: Vec<_> = rollout
            .history
            .iter()
            .map(|segment| segment.exposure.to_string())
            .collect();
        assert_eq!(weights, ["1 %", "10 %"]);
    }
}
