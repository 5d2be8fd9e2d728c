//! A start that goes the other way than the last rollout did, without anybody having said so.
//!
//! Without names the direction is that of the weights: away from the version that has them. So the same
//! command once more, from a job that ran twice, would move all traffic back to the old version.

use crate::istio::{Destination, VirtualService};
use crate::plan::Finding;
use crate::rollout::{LastRollout, Outcome};

/// That shifting from `stable` to `canary`, which nobody named, would reverse the last rollout of `vs`.
pub fn reversal(
    vs: &VirtualService,
    (stable, canary): (&Destination, &Destination),
) -> Option<Finding> {
    let object = vs.full_name();
    let last = match LastRollout::read(vs) {
        Ok(last) => last?,
        Err(error) => {
            return Some(Finding::refuse(
                format!(
                    "the last rollout's record on virtualservice {object} cannot be read: {error}"
                ),
                format!("a rollout to {canary} may reverse a promotion of {stable}"),
                format!("--canary {canary} if that is the version to roll out"),
            ));
        }
    };
    let is_reversed = last.stable == canary.to_string() && last.canary == stable.to_string();
    is_reversed.then(|| {
        let how = match last.outcome {
            Outcome::Promoted => format!("promoted {stable} over {canary}"),
            _ => format!("went from {canary} to {stable}"),
        };
        Finding::refuse(
            format!(
                "the last rollout of virtualservice {object} {how}, and this one would shift the traffic back to {canary}"
            ),
            "the same command once more is no wish for the old version",
            format!("--canary {canary} to roll out {canary}, --canary {stable} if {stable} is to stay"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Level;
    use crate::rollout::LAST;
    use serde_json::json;

    #[test]
    fn only_the_way_back_wants_to_be_spelled_out() {
        let record = |outcome: &str| {
            format!(
                r#"{{"version":1,"run":"r","stable":"v1","canary":"v2","outcome":{outcome},"at":"2026-01-01T00:00:00Z","changedBy":"ci","planHash":"","lead":null,"before":null}}"#
            )
        };
        let promoted = || record(r#"{"kind":"promoted"}"#);
        let undone = || record(r#"{"kind":"rolled-back","cause":"undo"}"#);
        for (last, from, to, refused) in [
            (None, "v2", "v1", false),
            (Some(promoted()), "v2", "v1", true),
            (Some(promoted()), "v1", "v2", false),
            (Some(promoted()), "v2", "v3", false),
            // Rolled back or undone, and then promoted by hand.
            (Some(undone()), "v2", "v1", true),
            (Some(undone()), "v1", "v2", false),
            (
                Some(promoted().replace("\"version\":1", "\"version\":9")),
                "v2",
                "v3",
                true,
            ),
        ] {
            let mut object = json!({
                "metadata": {"name": "reviews", "namespace": "shop", "uid": "1", "annotations": {}},
                "spec": {"http": []},
            });
            if let Some(last) = &last {
                object["metadata"]["annotations"][LAST] = json!(last);
            }
            let vs = VirtualService::new(object).unwrap();
            let version = |subset: &str| Destination {
                host: crate::istio::Host::resolve("reviews", "shop"),
                subset: Some(subset.into()),
                port: None,
            };
            let found = reversal(&vs, (&version(from), &version(to)));
            let is_refused = found
                .as_ref()
                .is_some_and(|found| found.level == Level::Refuse);
            assert_eq!(is_refused, refused, "{last:?} {from} {to}: {found:?}");
        }
    }
}
