//! Several processes at the same objects at the same time.

use std::time::Duration;

use kubectl_canary::rollout::{Outcome, Rollout};
use kubectl_canary::sandbox::{ApiFault, Rule};
use kubectl_canary::{CommandError, Signal, Signals};

use super::harness::{Group, OBJECTS, together};
use crate::harness::{Dice, signals};

/// One of the things that people do to a rollout, on one of its objects.
async fn meddle(group: &Group, dice: (u64, u64)) {
    let name = OBJECTS[dice.0 as usize];
    // Whether it is refused or works depends on the moment; what is left behind must not.
    match dice.1 {
        0 | 1 => drop(group.promote(name, false).await),
        2 => drop(group.promote(name, true).await),
        3 | 4 => drop(group.pause(name).await),
        5 | 6 => drop(group.resume(name).await),
        _ => drop(group.abort(name).await),
    }
}

/// Every object that has a state has the same one, and weights that agree with it; none is left alone.
fn assert_agree(group: &Group, round: u64) {
    let lead = group.rollout("reviews");
    let canary = group.canary();
    match &lead {
        None => {
            for name in OBJECTS {
                let own = group.rollout(name);
                assert!(
                    own.is_none(),
                    "round {round}: {name} is left alone\n{}",
                    group.story()
                );
            }
            assert!(
                canary == [0, 0, 0] || canary == [100, 80, 200],
                "round {round}: {canary:?}"
            );
        }
        Some(lead) => {
            for name in &OBJECTS[1..] {
                let own = group.rollout(name);
                // When it began is known a little later to who did not write it.
                let state = |rollout: &Rollout| (rollout.step, rollout.phase);
                // A promotion that somebody paused on its way has come to its end on the first of them.
                let ahead = lead.plan.is_last(lead.step) && own.is_none();
                assert!(
                    ahead || own.as_ref().map(state) == Some(state(lead)),
                    "round {round}: {name} {own:?}\n{}",
                    group.story()
                );
            }
            let percent = canary[0];
            assert_eq!(
                canary,
                [percent, percent * 8 / 10, percent * 2],
                "round {round}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_promotes_pauses_or_aborts_beside_a_driver_all_objects_agree_in_the_end() {
    let mut outcomes = std::collections::BTreeMap::<String, u32>::new();
    for round in 0..60 {
        let mut dice = Dice::seeded(1000 + round);
        let group = Group::open().await;
        let slow = ApiFault::Slow(Duration::from_millis(dice.below(600)));
        group.shop.world.faults().api(Rule::new(slow).on("patch"));
        if round % 2 == 1 {
            // Answers that do not tell what became of the patch.
            let applied = dice.below(2) == 1;
            let lost = match dice.below(3) {
                0 => ApiFault::Reset { applied },
                1 => ApiFault::Hang { applied },
                _ => ApiFault::Answer {
                    code: 504,
                    retry_after: None,
                    applied,
                },
            };
            let (skip, times) = (dice.below(12) as u32, 1 + dice.below(3) as u32);
            let lost = Rule::new(lost).on("patch").after(skip).times(times);
            group.shop.world.faults().api(lost);
        }
        let driver = group.start_with(together("10:15s,50:15s,100"), Signals::none());
        let people = (0..4).map(|_| {
            let moment = Duration::from_millis(500 + dice.below(35_000));
            let what = (dice.below(3), dice.below(8));
            let group = &group;
            async move {
                tokio::time::sleep(moment).await;
                meddle(group, what).await;
            }
        });
        let people: Vec<_> = people.collect();
        let people = futures::future::join_all(people);
        // A rollout that somebody paused has no end of its own.
        let driver = tokio::time::timeout(Duration::from_secs(180), driver);
        let (finish, _) = tokio::join!(driver, people);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_agree(&group, round);
        let outcome = match finish {
            Err(_) => "left".to_owned(),
            Ok(Ok(finish)) => {
                assert!(
                    !matches!(finish.outcome, Outcome::Drifted | Outcome::RollbackFailed),
                    "round {round}: {finish:?}"
                );
                format!("{:?}", finish.outcome)
            }
            Ok(Err(error)) => {
                assert!(
                    matches!(error, CommandError::NotStarted { .. }),
                    "round {round}: {error}"
                );
                "not started".to_owned()
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
        if group.rollout("reviews").is_some() {
            group.shop.world.faults().clear();
            group.abort(OBJECTS[(round % 3) as usize]).await.unwrap();
            group.assert_restored();
        }
    }
    assert!(outcomes.len() > 2, "too tame: {outcomes:?}");
}

/// A driver that cannot write its rollback for as long as `fault` stands; `after` so long everything is promoted.
async fn promoted_before_a_write(fault: Rule<ApiFault>, after: Duration) {
    let group = Group::open().await;
    let (tell, queue) = signals();
    let driver = group.start_with(together("10:5m,100"), queue);
    let others = async {
        group.shop.until_weight(10).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        group.shop.world.faults().api(fault);
        tell.send(Signal::Terminate).unwrap();
        tokio::time::sleep(after).await;
        group.promote("reviews", true).await.unwrap();
        group.shop.world.faults().clear();
    };
    let (finish, ()) = tokio::join!(driver, others);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(group.canary(), [100, 80, 200], "{}", group.story());
    group.assert_free();
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_comes_before_the_first_write_of_a_rollback_stands_on_every_object() {
    let busy = ApiFault::Answer {
        code: 429,
        retry_after: Some(20),
        applied: false,
    };
    let once = Rule::new(busy).on("patch").of("virtualservices").times(1);
    promoted_before_a_write(once, Duration::from_millis(200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_promotion_stands_also_where_a_rollback_has_come_to_the_lead_without_a_write() {
    let refused = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    let all = Rule::new(refused).on("patch").of("virtualservices");
    // A second for each companion, then the lead.
    promoted_before_a_write(all.by("alice@desk"), Duration::from_secs(5)).await;
}
