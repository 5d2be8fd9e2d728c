//! A process that dies between two of the objects, and who comes after it.

use std::time::Duration;

use kubectl_canary::rollout::Outcome;
use kubectl_canary::sandbox::{ApiFault, Rule};

use super::harness::{Group, OBJECTS};
use crate::harness::Dice;

#[tokio::test(start_paused = true)]
async fn whenever_the_driver_dies_abort_on_any_object_restores_all() {
    let mut dice = Dice::seeded(11);
    for round in 0..30 {
        let group = Group::open().await;
        let slow = ApiFault::Slow(Duration::from_millis(400));
        group.shop.world.faults().api(Rule::new(slow).on("patch"));
        group.killed_after("10,50,100", dice.below(22_000)).await;
        group.shop.world.faults().clear();
        if group.rollout("reviews").is_some() {
            let name = OBJECTS[dice.below(3) as usize];
            let aborted = group.abort(name).await;
            assert!(matches!(aborted, Ok(Some(_))), "round {round}: {aborted:?}");
            group.assert_restored();
        } else {
            let canary = group.canary();
            assert!(
                canary == [0, 0, 0] || canary == [100, 80, 200],
                "round {round}: {canary:?}"
            );
            group.assert_free();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_the_driver_dies_resume_brings_all_to_the_end() {
    let mut dice = Dice::seeded(12);
    for round in 0..20 {
        let group = Group::open().await;
        let slow = ApiFault::Slow(Duration::from_millis(400));
        group.shop.world.faults().api(Rule::new(slow).on("patch"));
        group.killed_after("10,50,100", dice.below(22_000)).await;
        group.shop.world.faults().clear();
        if group.rollout("reviews").is_none() {
            continue;
        }
        let finish = group.resume("reviews").await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted, "round {round}");
        assert_eq!(group.canary(), [100, 80, 200], "round {round}");
        group.assert_free();
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_dies_between_two_patches_leaves_what_abort_undoes_and_resume_aligns() {
    type Moment = (&'static str, fn(&Group) -> bool, [i64; 3]);
    let moments: [Moment; 3] = [
        ("at the start", |group| group.canary()[0] == 10, [10, 0, 0]),
        ("at a step", |group| group.canary()[1] == 40, [50, 40, 20]),
        (
            "at the end",
            |group| group.canary()[1] == 80,
            [100, 80, 100],
        ),
    ];
    for (moment, holds, expected) in moments {
        for resumed in [false, true] {
            let group = Group::open().await;
            let slow = ApiFault::Slow(Duration::from_millis(300));
            group.shop.world.faults().api(Rule::new(slow).on("patch"));
            group.killed_when("10,50,100", holds).await;
            assert_eq!(group.canary(), expected, "{moment}");
            group.shop.world.faults().clear();
            if resumed {
                let finish = group.resume("reviews").await.unwrap();
                assert_eq!(finish.outcome, Outcome::Promoted, "{moment}");
                assert_eq!(group.canary(), [100, 80, 200], "{moment}");
                group.assert_free();
            } else {
                group.abort("reviews").await.unwrap().unwrap();
                group.assert_restored();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_left_half_done_is_finished_and_never_turned_round() {
    let group = Group::open().await;
    group
        .killed_when("10:10m,100", |group| group.canary() == [10, 8, 20])
        .await;
    let slow = ApiFault::Slow(Duration::from_millis(300));
    group.shop.world.faults().api(Rule::new(slow).on("patch"));
    tokio::select! {
        biased;
        () = group.until(|group| group.canary() == [10, 8, 0]) => {}
        aborted = group.abort("reviews") => panic!("{aborted:?}"),
    }
    group.shop.world.faults().clear();
    assert_eq!(group.canary(), [10, 8, 0]);
    let refused = group.resume("reviews").await.unwrap_err().to_string();
    assert!(
        refused.contains("bob@desk has begun to roll back"),
        "{refused}"
    );
    assert_eq!(group.canary(), [10, 8, 0]);
    // Even on the object that is at its end.
    group.abort("partners").await.unwrap().unwrap();
    group.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_stalled_driver_that_wakes_up_after_an_abort_moves_no_companion() {
    let group = Group::open().await;
    // Alice's first patch of the companion is on its way for a long time.
    let slow = ApiFault::Slow(Duration::from_secs(9));
    group.fault("storefront", slow, |rule| rule.times(1));
    let driver = group.start("10:10m,100");
    let other = async {
        group.until(|group| group.canary()[0] == 10).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        group.abort("reviews").await.unwrap().unwrap();
        group.assert_restored();
    };
    let (finish, ()) = tokio::join!(driver, other);
    tokio::time::sleep(Duration::from_secs(20)).await;
    group.assert_restored();
    let told = format!("{finish:?}");
    assert!(told.contains("RolledBack(Request)"), "{told}");
}
