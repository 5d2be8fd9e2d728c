//! Asks the queries of a plan's guards once, before a start.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use crate::metrics::{GuardReader, MetricSource, Targets};
use crate::plan::{Finding, Plan};
use crate::preflight::GuardProbe;

/// What is to be known of the plan's guards.
pub(super) async fn probe_guards(
    metrics: &dyn MetricSource,
    (plan, targets): (&Plan, &Targets),
    now: Timestamp,
    within: Duration,
) -> Vec<Finding> {
    let reader = &GuardReader::new(plan, targets, now);
    let probes = plan.guards.iter().enumerate().map(async |(index, guard)| {
        let answers = match reader.questions(index, now, within) {
            Err(why) => Err(why),
            Ok(questions) => {
                let asked = questions.into_iter().map(async |query| {
                    let answer = metrics.ask(&query).await;
                    (query.text, answer)
                });
                Ok(join_all(asked).await)
            }
        };
        GuardProbe { guard, answers }.finding()
    });
    join_all(probes).await
}
