//! The objects of a rollout as a driver sees them, each with a watch of its own.

use std::collections::VecDeque;

use futures::future::select_all;

use crate::cluster::{Cluster, ObjectEvent, Watch};
use crate::istio::VirtualService;
use crate::rollout::{Group, LAST, ROLLOUT};

/// One object of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Lead,
    /// The companion at this place in the rollout's list.
    Companion(usize),
}

/// An object as last seen, and what follows it.
struct Watched {
    vs: VirtualService,
    watch: Watch,
}

/// The lead and its companions under watch.
pub(super) struct WatchedGroup {
    /// The lead first.
    members: Vec<Watched>,
    /// What was heard while something else was waited for.
    heard: VecDeque<(Member, ObjectEvent)>,
}

impl WatchedGroup {
    pub fn new(cluster: &Cluster, group: Group) -> Self {
        let all = std::iter::once(group.lead).chain(group.companions);
        let watched = all.map(|vs| Watched {
            watch: Watch::from(cluster, &vs),
            vs,
        });
        Self {
            members: watched.collect(),
            heard: VecDeque::new(),
        }
    }

    pub fn object(&self, member: Member) -> &VirtualService {
        &self.members[place(member)].vs
    }

    pub fn lead(&self) -> &VirtualService {
        self.object(Member::Lead)
    }

    /// Takes what was seen of an object for what it is now.
    pub fn set(&mut self, member: Member, vs: VirtualService) {
        self.members[place(member)].vs = vs;
    }

    pub fn companions(&self) -> usize {
        self.members.len() - 1
    }

    /// All objects as last seen.
    pub fn seen(&self) -> Group {
        let mut all = self.members.iter().map(|watched| watched.vs.clone());
        let lead = all.next().expect("a group has a lead");
        Group {
            lead,
            companions: all.collect(),
        }
    }

    /// Waits for the next change of any of them.
    ///
    /// Cancel safe, as the watches are.
    pub async fn next(&mut self) -> (Member, ObjectEvent) {
        match self.heard.pop_front() {
            Some(heard) => heard,
            None => self.receive().await,
        }
    }

    /// Waits until one of them is another object than the one last seen, so that the watches get on while
    /// something else is waited for. What was heard comes with [`Self::next`].
    ///
    /// Cancel safe.
    pub async fn hear_news(&mut self) {
        loop {
            let (member, event) = self.receive().await;
            let is_news = match &event {
                ObjectEvent::Deleted => true,
                ObjectEvent::Changed(now) => is_news(self.object(member), now),
            };
            self.heard.push_back((member, event));
            if is_news {
                return;
            }
        }
    }

    async fn receive(&mut self) -> (Member, ObjectEvent) {
        let watching = self
            .members
            .iter_mut()
            .map(|watched| Box::pin(watched.watch.next()));
        let (event, place, _) = select_all(watching).await;
        let member = match place {
            0 => Member::Lead,
            place => Member::Companion(place - 1),
        };
        (member, event)
    }
}

/// Whether what a rollout depends on has changed; istiod, for one, writes a status that says nothing to it.
fn is_news(seen: &VirtualService, now: &VirtualService) -> bool {
    let records =
        |vs: &VirtualService| [ROLLOUT, LAST].map(|key| vs.annotation(key).map(str::to_owned));
    !now.is_older_than(seen) && (seen.spec() != now.spec() || records(seen) != records(now))
}

fn place(member: Member) -> usize {
    match member {
        Member::Lead => 0,
        Member::Companion(index) => index + 1,
    }
}
