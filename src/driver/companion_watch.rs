//! How a driver keeps the companions where their lead is.
//!
//! Each has a watch of its own. Whatever is not as it was left is either a state of this rollout, of
//! which only the lead can tell whether it counts, or somebody else's edit.

use futures::future::select_all;

use super::drive_loop::Driver;
use crate::cluster::{Cluster, ObjectEvent, Watch};
use crate::istio::VirtualService;
use crate::rollout::Action;
use crate::rollout::Intent;
use crate::rollout::{LastRollout, Outcome, RouteChange};
use crate::rollout::{Observed, compare};
use crate::rollout::{changes_of, compare_companion, is_in_place};

/// A companion as last seen, and what follows it.
pub struct CompanionWatch {
    pub vs: VirtualService,
    watch: Watch,
}

impl CompanionWatch {
    pub fn new(cluster: &Cluster, vs: VirtualService) -> Self {
        Self {
            watch: Watch::from(cluster, &vs),
            vs,
        }
    }

    /// Waits for the next change of any of them, and says of which. Without companions there is none.
    ///
    /// Cancel safe, as the watches are.
    pub async fn next(companions: &mut [Self]) -> (usize, ObjectEvent) {
        if companions.is_empty() {
            return std::future::pending().await;
        }
        let watching = companions
            .iter_mut()
            .map(|watched| Box::pin(watched.watch.next()));
        let (seen, index, _) = select_all(watching).await;
        (index, seen)
    }
}

/// Which of the objects of a rollout is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    Lead,
    Companion(usize),
}

/// How a companion stands to its lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompanionState {
    /// Where the lead says.
    InSync,
    /// At another point of the same rollout, and the lead is where it was believed to be.
    Elsewhere,
    /// At another point of the same rollout, and the lead cannot be asked.
    Unknown,
}

fn is_promotion(sight: &Observed) -> bool {
    matches!(sight, Observed::Ended(last) if !matches!(last.outcome, Outcome::RolledBack(_)))
}

impl Driver<'_> {
    pub fn object(&self, member: Member) -> &VirtualService {
        match member {
            Member::Lead => &self.vs,
            Member::Companion(index) => &self.companions[index].vs,
        }
    }

    pub fn found(&mut self, member: Member, vs: VirtualService) {
        match member {
            Member::Lead => self.vs = vs,
            Member::Companion(index) => self.companions[index].vs = vs,
        }
    }

    /// Brings every companion, in order, to where the lead stands, and says what that changed.
    pub async fn sync(&mut self) -> Result<Vec<RouteChange>, Action> {
        let state = Intent::State(Box::new(self.machine.rollout().clone()));
        self.bring(&state).await
    }

    /// Brings every companion, in order, to what `goal` means for it.
    pub async fn bring(&mut self, goal: &Intent) -> Result<Vec<RouteChange>, Action> {
        let mut changes = Vec::new();
        let also = goal.rollout().also.clone();
        for (index, companion) in also.iter().enumerate().take(self.companions.len()) {
            let intent = goal.of_companion(&self.vs, companion);
            let before = self.companions[index].vs.clone();
            if is_in_place(&intent, &before) {
                continue;
            }
            self.attempt(Member::Companion(index), &intent).await?;
            changes.extend(changes_of(&intent, &before));
        }
        Ok(changes)
    }

    /// The watch of a companion has something to tell.
    pub async fn companion_seen(&mut self, index: usize, seen: ObjectEvent) -> Action {
        let vs = match seen {
            ObjectEvent::Deleted => {
                let object = self.companions[index].vs.full_name();
                let sight = Observed::Drifted {
                    manager: "somebody".into(),
                    what: format!("virtualservice {object} was deleted"),
                };
                return self.see_on(Member::Companion(index), sight);
            }
            ObjectEvent::Changed(vs) => *vs,
        };
        if vs.is_older_than(&self.companions[index].vs) {
            return Action::Wait;
        }
        match self.companion_shows(index, vs).await {
            Err(action) => action,
            // What cannot be told now is met by the next patch.
            Ok(CompanionState::InSync | CompanionState::Unknown) => Action::Wait,
            // Nothing of ours is on its way, so somebody has put an earlier state back.
            Ok(CompanionState::Elsewhere) => {
                let vs = &self.companions[index].vs;
                let sight = Observed::Drifted {
                    manager: vs.last_manager().unwrap_or("somebody").to_owned(),
                    what: format!(
                        "virtualservice {} has another state than {}, which it moves with",
                        vs.full_name(),
                        self.vs.full_name()
                    ),
                };
                self.see_on(Member::Companion(index), sight)
            }
        }
    }

    /// Judges what a companion shows: how it stands to the lead, or what is to be done.
    ///
    /// It is remembered as the ground for the next patch only if the lead was looked at after it.
    pub async fn companion_shows(
        &mut self,
        index: usize,
        now: VirtualService,
    ) -> Result<CompanionState, Action> {
        let rollout = self.machine.rollout().clone();
        let Some(companion) = rollout.also.get(index) else {
            return Ok(CompanionState::InSync);
        };
        let sight = compare_companion(&rollout, &self.vs, companion, &now);
        if matches!(sight, Observed::Advanced(_)) || is_promotion(&sight) {
            let lead = self.ask_lead().await;
            if lead != Ok(CompanionState::Unknown) {
                self.companions[index].vs = now;
            }
            return lead;
        }
        self.companions[index].vs = now;
        match sight {
            Observed::InSync => Ok(CompanionState::InSync),
            Observed::Ended(
                last @ LastRollout {
                    outcome: Outcome::RolledBack(cause),
                    ..
                },
            ) => {
                self.machine
                    .override_reason(format!("{} by {}", last.outcome, last.by));
                Err(Action::RollBack {
                    cause,
                    overwrite: false,
                })
            }
            sight => Err(self.see_on(Member::Companion(index), sight)),
        }
    }

    /// Whether the lead is still as believed, while a companion shows another state of the rollout.
    async fn ask_lead(&mut self) -> Result<CompanionState, Action> {
        let asked = self.deps.cluster;
        let asked = asked.virtual_service(self.vs.namespace(), self.vs.name());
        let Ok(lead) = asked.await else {
            return Ok(CompanionState::Unknown);
        };
        let sight = compare(self.machine.rollout(), &lead);
        self.vs = lead;
        match sight {
            Observed::InSync => Ok(CompanionState::Elsewhere),
            sight => Err(self.lead_shows(sight)),
        }
    }
}
