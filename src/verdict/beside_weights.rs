//! What else than the weights sends requests to the two versions.

/// What is known to send requests to the versions beside the weights. Nothing, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BesideWeights {
    /// Other rules send to the same versions, so that the canary's weight is a share of an unknown part of
    /// their requests.
    pub other_rules: bool,
    /// Users of the canary stay on it, so that it gets more than its weight, and of other users.
    pub sticky_users: bool,
}

impl BesideWeights {
    /// Whether both versions get the same kinds of requests, each its share of all.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_is_something() {
        for (other_rules, sticky_users) in [(true, false), (false, true), (true, true)] {
            let beside = BesideWeights {
                other_rules,
                sticky_users,
            };
            assert!(!beside.is_nothing(), "{beside:?}");
        }
        assert!(BesideWeights::default().is_nothing());
    }
}
