//! staff-service with one subset for all of its pods: nothing to shift, until it is written down what is.

use std::time::Duration;

use super::RATE;
use super::shares::{assert_share, settled_at};
use super::staff::{SAFE_AND_RISKY, staff_service};
use crate::stack::Stack;

const ONE_SUBSET: &str = include_str!("objects/staff-one-subset.yaml");

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn where_nothing_can_be_shifted_the_plan_prints_what_to_apply_and_it_works() {
    let stack = Stack::open().await;
    let name = "fleetman-staff-service";
    let source = staff_service(&stack, name, ONE_SUBSET, "all-staff-service-pods").await;
    let before = source.spec().await;
    let load = source.load().rate(RATE).start();

    let refused = source.rollout("--steps 50,100").run().await;
    assert_eq!(refused.code, Some(1));
    for said in [
        "no route of virtualservice default/fleetman-staff-service holds two versions to shift between; \
         it sends to all-staff-service-pods only",
        "or kubectl canary plan fleetman-staff-service -n default, which prints what to apply",
    ] {
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    source.is_as_it_was(&before).await;

    for kind in ["DestinationRule", "VirtualService"] {
        let plan = source.canary("plan", "").run().await;
        assert_eq!(plan.code, Some(1));
        assert!(
            plan.stdout.contains(&format!("\nkind: {kind}\n")),
            "{}",
            plan.stdout
        );
        assert_eq!(
            plan.stdout.matches("\nkind: ").count(),
            1,
            "{}",
            plan.stdout
        );
        // Exactly what stands on stdout, comments included.
        let applied = stack.kubectl("apply -f -", &plan.stdout);
        let said = String::from_utf8_lossy(&applied.stderr).into_owned();
        assert!(applied.status.success(), "{said}\n{}", plan.stdout);
        // No agent runs beside these proxies; what the printed command asks them for is asked here.
        if let Some((_, asked)) = plan.stdout.split_once("grep -qF '") {
            let cluster = asked.split_once('\'').unwrap().0;
            for admin in [
                &stack.description.gateway.admin,
                &stack.description.client.admin,
            ] {
                stack.await_cluster(admin, cluster).await;
            }
        }
    }

    let plan = source.canary("plan", "").run().await;
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
    let mut driver = source.rollout("--steps 50:4s,100").launch();
    settled_at(&mut driver, "50").await;
    let answers = source.answered_for(Duration::from_secs(2)).await;
    assert_share("50 %", &answers, SAFE_AND_RISKY, 0.5);
    assert_eq!(driver.end().await.code, Some(0));
    assert_eq!(load.stop().await.failed(), 0);
    assert_eq!(source.weights("http", 0).await, [0, 100]);
    source.finish().await;
}
