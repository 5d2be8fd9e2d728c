//! Which share of the answers a version gave, and whether chance explains it.

use std::collections::BTreeMap;
use std::time::Duration;

use kubectl_canary::rollout::EventKind;

use super::source::Source;
use crate::load::{self, Report};
use crate::program::Running;

/// How long after a step's PATCH the proxies may still route as before; a tenth of it is usual.
pub(super) const SETTLED: Duration = Duration::from_millis(700);

/// From how many answers on a share is judged.
const ENOUGH: u64 = 200;

/// Answers by version.
pub(super) type Answers = BTreeMap<String, u64>;

/// What both versions answered together, and the canary alone.
fn both(answers: &Answers, [stable, canary]: [&str; 2]) -> (u64, u64) {
    let of = |version: &str| answers.get(version).copied().unwrap_or(0);
    (of(stable) + of(canary), of(canary))
}

/// Fails unless the canary's answers are the share of all that is expected, give or take five standard
/// deviations of a fair draw: one run in a million and a half is unlucky.
pub(super) fn assert_share(what: &str, answers: &Answers, versions: [&str; 2], share: f64) {
    let (all, canary) = both(answers, versions);
    let (expected, slack) = (
        all as f64 * share,
        5.0 * (all as f64 * share * (1.0 - share)).sqrt(),
    );
    println!(
        "{what}: {canary} of {all} on {}, {expected:.1} expected, give or take {slack:.1}",
        versions[1]
    );
    assert!(all >= ENOUGH, "{what}: too few to tell: {answers:?}");
    assert!(
        (canary as f64 - expected).abs() <= slack,
        "{what}: {answers:?}"
    );
    assert_eq!(
        answers.values().sum::<u64>(),
        all,
        "{what}: somebody else answered: {answers:?}"
    );
}

/// Waits until a step has begun and the proxies follow it.
pub(super) async fn settled_at(driver: &mut Running, percentage: &str) {
    driver
        .until(|event| {
            matches!(event, EventKind::StepStarted { exposure, .. } if exposure.share().to_string() == percentage)
        })
        .await;
    tokio::time::sleep(SETTLED).await;
}

impl Source {
    /// What the backends answered from now on, for so long.
    pub(super) async fn answered_for(&self, lasting: Duration) -> Answers {
        self.forget_counts().await;
        tokio::time::sleep(lasting).await;
        let versions = self.counts().await.versions.into_iter();
        versions
            .map(|(version, count)| (version, count.ok + count.failed + count.connections))
            .collect()
    }
}

/// What each of these callers is answered from now on: for two seconds, and then until there is enough to
/// judge it by. A machine that is busy sends a request or two less than its rate in that time.
pub(super) async fn answered_next<const N: usize>(callers: [&load::Running; N]) -> [Answers; N] {
    let before = callers.map(load::Running::so_far);
    let since = || std::array::from_fn(|who| between(&before[who], &callers[who].so_far()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..100 {
        let answers: [Answers; N] = since();
        if answers
            .iter()
            .all(|each| each.values().sum::<u64>() >= ENOUGH)
        {
            return answers;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    since()
}

/// What these callers were answered between two reports.
pub(super) fn between(before: &Report, after: &Report) -> Answers {
    let mut answers = Answers::new();
    for ((version, _), count) in &after.counts {
        let version = version.clone().unwrap_or_else(|| "nobody".into());
        *answers.entry(version).or_default() += count;
    }
    for ((version, _), count) in &before.counts {
        let version = version.clone().unwrap_or_else(|| "nobody".into());
        *answers.entry(version).or_default() -= count;
    }
    answers.retain(|_, count| *count > 0);
    answers
}
