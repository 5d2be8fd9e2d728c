//! The objects of a rollout as a driver sees them, each with a watch of its own.

use futures::future::select_all;

use crate::cluster::{Cluster, ObjectEvent, Watch};
use crate::istio::VirtualService;
use crate::rollout::Group;

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

fn place(member: Member) -> usize {
    match member {
        Member::Lead => 0,
        Member::Companion(index) => index + 1,
    }
}
