//! Routes as people have them, in the embedded world; `tests/cluster/sources` has them on the real stack.

use kubectl_canary::Signals;
use kubectl_canary::cluster::DryRun;
use kubectl_canary::commands::{self, PlanArgs, RolloutArgs};
use kubectl_canary::plan::Options;
use kubectl_canary::report::{Layout, print};
use serde_json::{Value, json};

use crate::harness::{Shop, brisk_with};

/// A rule for those whom a cookie tells, at 50/50, above a default that knows stable only.
fn cookie() -> Value {
    let to = |version: &str| json!({"host": "reviews", "subset": version});
    json!([
        {
            "match": [{"headers": {"cookie": {"regex": "^(.*?;)?(email=[^;]*@some-company-name.com)(;.*)?$"}}}],
            "route": [{"destination": to("v1"), "weight": 50}, {"destination": to("v2"), "weight": 50}],
        },
        {"route": [{"destination": to("v1")}]},
    ])
}

/// What `plan` prints for these options.
async fn planned(shop: &Shop, options: Options) -> String {
    let args = PlanArgs {
        rollout: RolloutArgs {
            name: Some("reviews".into()),
            options,
            ..RolloutArgs::default()
        },
        dry_run: DryRun::None,
    };
    let view = shop
        .act("alice@desk", Signals::none(), async |context| {
            commands::plan(context, &args).await
        })
        .await
        .unwrap();
    let mut out = Vec::new();
    print(&mut out, None, Layout::default(), &view).unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_both_rules_shows_what_each_has_and_how_to_start_it() {
    let shop = Shop::with_routes(cookie()).await;
    let options = Options {
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        add_destination: true,
        ..brisk_with("20,100")
    };
    let text = planned(&shop, options).await;
    for line in [
        "ROUTE     NOW     20 %    100 %",
        // On its way up a rollout takes nothing away from the canary.
        "http[0]   50/50   50/50   0/100",
        "http[1]   100/0   80/20   0/100",
        "next     kubectl canary start reviews -n shop --add-destination --analysis threshold --canary v2 --dwell 5s --interval 1s --min-requests 10 --on-inconclusive rollback --stable v1 --steps 20,100",
    ] {
        assert!(
            text.lines().any(|found| found.trim_end() == line),
            "no {line:?} in\n{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_command_that_starts_a_planned_route_is_quoted_for_a_shell() {
    let shop = Shop::with_routes(cookie()).await;
    let options = Options {
        stable: Some("v1".into()),
        canary: Some("v2".into()),
        route: vec!["http[0]".into()],
        ..Options::default()
    };
    let text = planned(&shop, options).await;
    let next = "kubectl canary start reviews -n shop --canary v2 --route 'http[0]' --stable v1";
    assert!(
        text.lines().any(|line| line == format!("next     {next}")),
        "{text}"
    );
}
