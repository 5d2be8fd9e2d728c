//! What a driver's objects show, and what it makes of that.

use tokio::time::Instant;

use super::drive::Driver;
use super::watched_group::Member;
use crate::cluster::ObjectEvent;
use crate::istio::VirtualService;
use crate::plan::OnDrift;
use crate::preflight::owner;
use crate::rollout::{
    Action, Cause, Drift, ForeignChange, ObjectName, Observed, Outcome, Reason, compare,
    compare_companion, is_on_its_way_back, is_untouched,
};

/// How a companion stands to its lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CompanionState {
    /// Where the lead says.
    InSync,
    /// At another point of the same rollout, and the lead is where it was.
    Elsewhere,
    /// At another point of the same rollout, and the lead cannot be asked.
    Unknown,
}

impl Driver<'_> {
    pub(super) fn see(&mut self, observed: Observed) -> Action {
        self.see_on(Member::Lead, observed)
    }

    /// Sees something on one of the objects.
    pub(super) fn see_on(&mut self, member: Member, observed: Observed) -> Action {
        let now = self.clock.now();
        let action = self.with_machine(|machine, emit| machine.see(observed, now, emit));
        if action == Action::Leave(Outcome::Drifted) && self.machine.gave_up() {
            let rollout = self.machine.rollout();
            let routes = match member {
                Member::Lead => &rollout.routes,
                Member::Companion(index) => &rollout.companions[index].routes,
            };
            let kinds: Vec<_> = routes.iter().map(|split| split.kind).collect();
            let advice = owner::peace(self.object(member), &kinds);
            let advice = advice.unwrap_or_else(|| {
                "try: configure the other writer to ignore the weights".to_owned()
            });
            self.machine.add_reason(Reason::Advice { text: advice });
        }
        action
    }

    /// Where there is no object, no policy can do anything about it; but about its companions.
    pub(super) fn lead_gone(&mut self) -> Action {
        let action = self.see(Observed::Deleted);
        let stops = self.machine.rollout().plan.on_drift == OnDrift::Stop;
        if self.group.companions() == 0 || stops {
            return action;
        }
        Action::RollBack {
            cause: Cause::Drift,
            overwrite: true,
        }
    }

    pub(super) fn lead_seen(&mut self, vs: VirtualService) -> Action {
        // The watch tells of our own writes after their answers have; those are no news.
        if vs.is_older_than(self.group.lead()) {
            return Action::Wait;
        }
        match self.lead_is(vs) {
            Ok(()) => Action::Wait,
            Err(action) => {
                self.next_look = Instant::now();
                action
            }
        }
    }

    /// Takes the lead for what it is now: in sync, or what is to be done.
    pub(super) fn lead_is(&mut self, vs: VirtualService) -> Result<(), Action> {
        let observed = compare(self.machine.rollout(), &vs);
        self.group.set(Member::Lead, vs);
        match observed {
            Observed::InSync => Ok(()),
            Observed::Drifted { .. }
                if is_on_its_way_back(self.machine.rollout(), self.group.lead()) =>
            {
                self.machine.override_reason(Reason::RollbackElsewhere);
                Err(Action::RollBack {
                    cause: Cause::Request,
                    overwrite: false,
                })
            }
            observed => Err(self.see(observed)),
        }
    }

    pub(super) async fn companion_seen(&mut self, index: usize, event: ObjectEvent) -> Action {
        let member = Member::Companion(index);
        let vs = match event {
            ObjectEvent::Deleted => {
                let observed = Observed::Drifted {
                    manager: "another client".into(),
                    drift: Drift::from(ForeignChange::Deleted).of_companion(self.object(member)),
                };
                return self.see_on(member, observed);
            }
            ObjectEvent::Changed(vs) => *vs,
        };
        if vs.is_older_than(self.object(member)) {
            return Action::Wait;
        }
        match self.companion_is(index, vs).await {
            Err(action) => action,
            // What cannot be told now is met by the next patch.
            Ok(CompanionState::InSync | CompanionState::Unknown) => Action::Wait,
            // Nothing of ours is on its way, so another client has put an earlier state back.
            Ok(CompanionState::Elsewhere) => {
                let vs = self.object(member);
                let observed = Observed::Drifted {
                    manager: vs.last_manager().unwrap_or("another client").to_owned(),
                    drift: Drift::from(ForeignChange::OtherState {
                        lead: ObjectName::of(self.group.lead()),
                    })
                    .of_companion(vs),
                };
                self.see_on(member, observed)
            }
        }
    }

    /// Takes a companion for what it is now: how it stands to the lead, or what is to be done.
    ///
    /// The next patch rests on it only if the lead was looked at after it.
    async fn companion_is(
        &mut self,
        index: usize,
        now: VirtualService,
    ) -> Result<CompanionState, Action> {
        let rollout = self.machine.rollout().clone();
        let Some(companion) = rollout.companions.get(index) else {
            return Ok(CompanionState::InSync);
        };
        let member = Member::Companion(index);
        let observed = compare_companion(&rollout, self.group.lead(), companion, &now);
        if let Observed::Ended(last) = &observed
            && let Outcome::RolledBack(cause) = last.outcome
        {
            self.group.set(member, now);
            self.machine.override_reason(Reason::Ended {
                outcome: last.outcome,
                by: last.changed_by.clone(),
            });
            return Err(Action::RollBack {
                cause,
                overwrite: false,
            });
        }
        match observed {
            Observed::InSync => {
                self.group.set(member, now);
                Ok(CompanionState::InSync)
            }
            // This rollout has not come to it yet: what others ended there before is no end of this.
            _ if is_untouched(
                &rollout.of_companion(self.group.lead(), companion),
                [self.object(member), &now],
            ) =>
            {
                self.group.set(member, now);
                Ok(CompanionState::Unknown)
            }
            // Only the lead can tell which of the two counts.
            Observed::Advanced(_) | Observed::Ended(_) => {
                let lead = self.group.lead();
                let asked = self.cluster.virtual_service(lead.namespace(), lead.name());
                let Ok(lead) = asked.await else {
                    return Ok(CompanionState::Unknown);
                };
                self.group.set(member, now);
                self.lead_is(lead).map(|()| CompanionState::Elsewhere)
            }
            observed => {
                self.group.set(member, now);
                Err(self.see_on(member, observed))
            }
        }
    }

    /// A patch has met another object than the one last seen.
    pub(super) async fn object_is(
        &mut self,
        member: Member,
        now: VirtualService,
    ) -> Result<(), Action> {
        match member {
            Member::Lead => self.lead_is(now),
            Member::Companion(index) => self.companion_is(index, now).await.map(|_| ()),
        }
    }
}
