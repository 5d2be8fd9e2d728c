//! How a driver keeps the companions where their lead is.
//!
//! Each has a watch of its own. Whatever is not as it was left is either a state of this rollout, of
//! which only the lead can tell whether it counts, or somebody else's edit.

use futures::future::select_all;

use super::action::Action;
use super::companions::{changes_of, compare_companion, is_level};
use super::driver::Driver;
use super::intent::Intent;
use super::sight::{Sight, compare};
use crate::cluster::{Cluster, Seen, Watch};
use crate::record::{Ending, Outcome, RouteChange};
use crate::traffic::VirtualService;

/// A companion as last seen, and what follows it.
pub(super) struct Escort {
    pub(super) vs: VirtualService,
    watch: Watch,
}

impl Escort {
    pub(super) fn new(cluster: &Cluster, vs: VirtualService) -> Self {
        Self {
            watch: Watch::from(cluster, &vs),
            vs,
        }
    }

    /// Waits for the next change of any of them, and says of which. Without companions there is none.
    ///
    /// Cancel safe, as the watches are.
    pub(super) async fn next(escorts: &mut [Self]) -> (usize, Seen) {
        if escorts.is_empty() {
            return std::future::pending().await;
        }
        let watching = escorts
            .iter_mut()
            .map(|escort| Box::pin(escort.watch.next()));
        let (seen, index, _) = select_all(watching).await;
        (index, seen)
    }
}

/// Which of the objects of a rollout is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    Lead,
    Companion(usize),
}

/// How a companion stands to its lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Where the lead says.
    AsBelieved,
    /// At another point of the same rollout, and the lead is where it was believed to be.
    Elsewhere,
    /// At another point of the same rollout, and the lead cannot be asked.
    Unknown,
}

fn is_promotion(sight: &Sight) -> bool {
    matches!(sight, Sight::Ended(ending) if !matches!(ending.outcome, Outcome::RolledBack(_)))
}

impl Driver<'_> {
    pub(super) fn object(&self, seat: Seat) -> &VirtualService {
        match seat {
            Seat::Lead => &self.vs,
            Seat::Companion(index) => &self.escorts[index].vs,
        }
    }

    pub(super) fn found(&mut self, seat: Seat, vs: VirtualService) {
        match seat {
            Seat::Lead => self.vs = vs,
            Seat::Companion(index) => self.escorts[index].vs = vs,
        }
    }

    /// Brings every companion, in order, to where the lead stands, and says what that changed.
    pub(super) async fn align(&mut self) -> Result<Vec<RouteChange>, Action> {
        let state = Intent::State(Box::new(self.machine.rollout().clone()));
        self.bring(&state).await
    }

    /// Brings every companion, in order, to what `goal` means for it.
    pub(super) async fn bring(&mut self, goal: &Intent) -> Result<Vec<RouteChange>, Action> {
        let mut changes = Vec::new();
        let also = goal.rollout().also.clone();
        for (index, companion) in also.iter().enumerate().take(self.escorts.len()) {
            let intent = goal.of_companion(&self.vs, companion);
            let before = self.escorts[index].vs.clone();
            if is_level(&intent, &before) {
                continue;
            }
            self.attempt(Seat::Companion(index), &intent).await?;
            changes.extend(changes_of(&intent, &before));
        }
        Ok(changes)
    }

    /// The watch of a companion has something to tell.
    pub(super) async fn companion_seen(&mut self, index: usize, seen: Seen) -> Action {
        let vs = match seen {
            Seen::Deleted => {
                let object = self.escorts[index].vs.full_name();
                let sight = Sight::Drifted {
                    manager: "somebody".into(),
                    what: format!("virtualservice {object} was deleted"),
                };
                return self.see_on(Seat::Companion(index), sight);
            }
            Seen::Changed(vs) => *vs,
        };
        if vs.is_older_than(&self.escorts[index].vs) {
            return Action::Wait;
        }
        match self.companion_shows(index, vs).await {
            Err(action) => action,
            // What cannot be told now is met by the next patch.
            Ok(Standing::AsBelieved | Standing::Unknown) => Action::Wait,
            // Nothing of ours is on its way, so somebody has put an earlier state back.
            Ok(Standing::Elsewhere) => {
                let vs = &self.escorts[index].vs;
                let sight = Sight::Drifted {
                    manager: vs.last_manager().unwrap_or("somebody").to_owned(),
                    what: format!(
                        "virtualservice {} has another state than {}, which it moves with",
                        vs.full_name(),
                        self.vs.full_name()
                    ),
                };
                self.see_on(Seat::Companion(index), sight)
            }
        }
    }

    /// Judges what a companion shows: how it stands to the lead, or what is to be done.
    ///
    /// It is remembered as the ground for the next patch only if the lead was looked at after it.
    pub(super) async fn companion_shows(
        &mut self,
        index: usize,
        now: VirtualService,
    ) -> Result<Standing, Action> {
        let rollout = self.machine.rollout().clone();
        let Some(companion) = rollout.also.get(index) else {
            return Ok(Standing::AsBelieved);
        };
        let sight = compare_companion(&rollout, &self.vs, companion, &now);
        if matches!(sight, Sight::Moved(_)) || is_promotion(&sight) {
            let lead = self.ask_lead().await;
            if lead != Ok(Standing::Unknown) {
                self.escorts[index].vs = now;
            }
            return lead;
        }
        self.escorts[index].vs = now;
        match sight {
            Sight::AsBelieved => Ok(Standing::AsBelieved),
            Sight::Ended(
                ending @ Ending {
                    outcome: Outcome::RolledBack(cause),
                    ..
                },
            ) => {
                self.machine
                    .because(format!("{} by {}", ending.outcome, ending.by));
                Err(Action::RollBack {
                    cause,
                    overwrite: false,
                })
            }
            sight => Err(self.see_on(Seat::Companion(index), sight)),
        }
    }

    /// Whether the lead is still as believed, while a companion shows another state of the rollout.
    async fn ask_lead(&mut self) -> Result<Standing, Action> {
        let asked = self.kit.cluster;
        let asked = asked.virtual_service(self.vs.namespace(), self.vs.name());
        let Ok(lead) = asked.await else {
            return Ok(Standing::Unknown);
        };
        let sight = compare(self.machine.rollout(), &lead);
        self.vs = lead;
        match sight {
            Sight::AsBelieved => Ok(Standing::Elsewhere),
            sight => Err(self.lead_shows(sight)),
        }
    }
}
