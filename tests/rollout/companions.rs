//! Several VirtualServices that move together.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::commands::{
    self, Abort, CommandError, Pause, PlanArgs, Promote, Resume, Start, Status, StatusAnswer,
};
use kubectl_canary::engine::{Finish, Signal, Signals};
use kubectl_canary::plan::{HumanDuration, OnDrift, Options};
use kubectl_canary::record::{Cause, EventKind, Outcome, Phase, Rollout};
use kubectl_canary::report::PlanView;
use kubectl_canary::sandbox::{ApiFault, Rule};
use kubectl_canary::traffic::VirtualService;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::stage::{Dice, Result, Shop, brisk, signals, start};

/// In the order in which they move.
const OBJECTS: [&str; 3] = ["reviews", "storefront", "partners"];

/// The shop with three doors: `reviews` in the mesh, `storefront` at the gateway with a third
/// destination and no weight on the canary, and `partners`, which writes hosts out.
struct Doors {
    shop: Shop,
    before: Vec<Value>,
}

fn door(name: &str, host: &str, route: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"hosts": [host], "gateways": ["shop"], "http": [
            {"name": "cart", "match": [{"uri": {"prefix": "/cart"}}], "route": [
                {"destination": {"host": "cart"}},
            ]},
            {"name": "main", "route": route, "timeout": "3s"},
        ]},
    })
}

impl Doors {
    async fn open() -> Self {
        let shop = Shop::open_with(|stage| {
            stage.edit("virtualservices", "shop", "reviews", "setup", |vs| {
                vs["spec"]["hosts"] = json!(["reviews"]);
                vs["spec"]["gateways"] = json!(["mesh"]);
            });
            stage.apply(door(
                "storefront",
                "shop.example.com",
                json!([
                    {"destination": {"host": "reviews", "subset": "v1"}, "weight": 80},
                    {"destination": {"host": "reviews", "subset": "v2"}},
                    {"destination": {"host": "cart"}, "weight": 20},
                ]),
            ));
            stage.apply(door(
                "partners",
                "partners.example.com",
                json!([
                    {"destination": {"host": "reviews.shop.svc.cluster.local", "subset": "v2"}, "weight": 0},
                    {"destination": {"host": "reviews.shop.svc.cluster.local", "subset": "v1"}, "weight": 200},
                ]),
            ));
            stage.traffic().demand("shop.example.com").per_second(50.0);
            stage.traffic().demand("partners.example.com").per_second(50.0);
        })
        .await;
        let mut doors = Self {
            shop,
            before: Vec::new(),
        };
        doors.before = OBJECTS.map(|name| doors.spec(name)).to_vec();
        doors
    }

    fn object(&self, name: &str) -> VirtualService {
        let object = self.shop.world.object("virtualservices", "shop", name);
        VirtualService::new(object.unwrap()).unwrap()
    }

    fn spec(&self, name: &str) -> Value {
        self.object(name).spec().clone()
    }

    /// The canary's weight on each object.
    fn canary(&self) -> [i64; 3] {
        [("reviews", 0, 1), ("storefront", 1, 1), ("partners", 1, 0)].map(|(name, rule, place)| {
            let weight = &self.spec(name)["http"][rule]["route"][place]["weight"];
            weight.as_i64().unwrap_or(0)
        })
    }

    fn rollout(&self, name: &str) -> Option<Rollout> {
        Rollout::read(&self.object(name)).unwrap()
    }

    /// Fails unless every object is as it was, to the last byte of its spec, and free.
    fn assert_restored(&self) {
        for (name, before) in OBJECTS.iter().zip(&self.before) {
            assert_eq!(&self.spec(name), before, "{name}");
            assert_eq!(self.rollout(name), None, "{name}");
        }
    }

    fn assert_free(&self) {
        for name in OBJECTS {
            assert_eq!(self.rollout(name), None, "{name}");
        }
    }

    /// The objects whose PATCHes the API server took, in order.
    fn patched(&self) -> Vec<String> {
        let calls = self.shop.patches().into_iter();
        calls
            .map(|call| call.path.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    /// A foreign edit.
    fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        self.shop
            .world
            .edit("virtualservices", "shop", name, "argocd", change);
    }

    fn set_storefront(&self, stable: i64, canary: i64) {
        self.edit("storefront", |vs| {
            vs["spec"]["http"][1]["route"][0]["weight"] = stable.into();
            vs["spec"]["http"][1]["route"][1]["weight"] = canary.into();
        });
    }

    fn delete(&self, name: &str) {
        self.shop
            .world
            .set(|stage| stage.delete("virtualservices", "shop", name));
    }

    /// From now on, calls that patch this object meet a fault.
    fn fault(&self, name: &str, fault: ApiFault, limit: impl Fn(Rule<ApiFault>) -> Rule<ApiFault>) {
        let rule = Rule::new(fault).on("patch").of("virtualservices");
        let path = format!("/virtualservices/{name}");
        self.shop.world.faults().api(limit(rule.containing(&path)));
    }

    fn fails(&self) {
        let now = self.shop.world.clock().now();
        self.shop
            .world
            .traffic()
            .version("shop", "reviews-v2")
            .fails_from(now, 0.5);
    }

    async fn start(&self, steps: &str) -> Result {
        self.start_with(together(steps), Signals::none()).await
    }

    async fn start_with(&self, options: Options, signals: Signals) -> Result {
        self.shop
            .start_as("alice@desk", start(options), signals)
            .await
    }

    /// Alice drives until something holds, and is gone without a word.
    async fn killed_when(&self, steps: &str, holds: impl Fn(&Self) -> bool) {
        let driver = self.start(steps);
        tokio::select! {
            biased;
            () = self.until(holds) => {}
            ended = driver => panic!("it ended first: {ended:?}"),
        }
    }

    async fn killed_after(&self, steps: &str, millis: u64) {
        let _ = timeout(Duration::from_millis(millis), self.start(steps)).await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..200_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came to that: {:?}", self.canary());
    }

    async fn abort(&self, name: &str) -> Result<Option<Finish>> {
        let args = Abort {
            name: name.into(),
            timeout: HumanDuration::seconds(20),
        };
        let (_, finish) = self
            .shop
            .act("bob@desk", Signals::none(), async |environment| {
                commands::abort(environment, &args).await
            })
            .await?;
        Ok(finish)
    }

    async fn promote(&self, name: &str, full: bool) -> Result {
        let args = Promote {
            name: name.into(),
            full,
            wait: false,
        };
        let (_, finish) = self
            .shop
            .act("bob@desk", Signals::none(), async |environment| {
                commands::promote(environment, &args).await
            })
            .await?;
        Ok(finish)
    }

    async fn pause(&self, name: &str) -> Result {
        let args = Pause { name: name.into() };
        let (_, finish) = self
            .shop
            .act("bob@desk", Signals::none(), async |environment| {
                commands::pause(environment, &args.name).await
            })
            .await?;
        Ok(finish)
    }

    async fn resume(&self, name: &str) -> Result {
        let args = Resume {
            name: name.into(),
            ..Resume::default()
        };
        let (_, finish) = self
            .shop
            .act("bob@desk", Signals::none(), async |environment| {
                commands::resume(environment, &args).await
            })
            .await?;
        Ok(finish)
    }

    async fn plan(&self, options: Options) -> std::result::Result<PlanView, CommandError> {
        let args = PlanArgs {
            rollout: start(options).rollout,
            dry_run: kubectl_canary::cluster::DryRun::Server,
            schema: false,
        };
        self.shop
            .act("alice@desk", Signals::none(), async |environment| {
                commands::plan(environment, &args).await
            })
            .await
    }

    async fn status(&self, name: &str) -> kubectl_canary::report::StatusRow {
        let args = Status {
            name: Some(name.into()),
            ..Status::default()
        };
        let answer = self
            .shop
            .act("bob@desk", Signals::none(), async |environment| {
                commands::status(environment, &args).await
            })
            .await;
        match answer.unwrap() {
            StatusAnswer::One(row) => *row,
            StatusAnswer::Many(_) => panic!("one was asked for"),
        }
    }
}

/// A short rollout of all three.
fn together(steps: &str) -> Options {
    Options {
        steps: Some(steps.parse().unwrap()),
        also: vec!["storefront".into(), "vs/partners".into()],
        ..brisk()
    }
}

fn drifts(shop: &Shop) -> Vec<(String, String)> {
    let told = shop.told().into_iter();
    told.filter_map(|event| match event {
        EventKind::Drifted { manager, what, .. } => Some((manager, what)),
        _ => None,
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn all_reach_100_percent_together_and_others_keep_their_share() {
    let doors = Doors::open().await;
    let driver = doors.start("10,50,100");
    let watcher = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        for name in OBJECTS {
            let rollout = doors.rollout(name).unwrap();
            assert_eq!((rollout.step, rollout.phase), (0, Phase::Progressing));
        }
        doors.until(|doors| doors.canary() == [50, 40, 100]).await;
    };
    let (finish, ()) = tokio::join!(driver, watcher);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    assert_eq!(doors.canary(), [100, 80, 200]);
    assert_eq!(
        doors.spec("storefront")["http"][1]["route"][2]["weight"],
        20
    );
    assert_eq!(doors.spec("storefront")["http"][0], doors.before[1]["http"][0]);
    doors.assert_free();
    let steps = [OBJECTS, OBJECTS, OBJECTS].concat();
    // The lead rests last: its state goes when all the others have arrived.
    assert_eq!(doors.patched(), [steps, vec!["reviews"]].concat());
}

#[tokio::test(start_paused = true)]
async fn a_regression_restores_every_object_to_its_bytes_and_the_lead_last() {
    let doors = Doors::open().await;
    let driver = doors.start("10:1m,100");
    let breaking = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        doors.fails();
    };
    let (finish, ()) = tokio::join!(driver, breaking);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::RolledBack(Cause::Regression)
    );
    doors.assert_restored();
    let patched = doors.patched();
    assert_eq!(
        patched[patched.len() - 3..],
        ["partners", "storefront", "reviews"]
    );
    let told = doors.shop.told().into_iter();
    let routes: Vec<_> = told
        .filter_map(|event| match event {
            EventKind::RolledBack { routes, .. } => Some(routes),
            _ => None,
        })
        .flatten()
        .map(|change| change.route)
        .collect();
    assert_eq!(
        routes,
        [
            "http[primary]",
            "http[main] of shop/partners",
            "http[main] of shop/storefront"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_trip_takes_the_canary_to_0_on_every_object_before_it_is_confirmed() {
    let doors = Doors::open().await;
    let options = Options {
        analysis: None,
        min_requests: None,
        ..together("10:1m,100")
    };
    let driver = doors.start_with(options, Signals::none());
    let breaking = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        doors.fails();
        doors.until(|doors| doors.canary() == [0, 0, 0]).await;
        OBJECTS.map(|name| doors.rollout(name).map(|rollout| rollout.phase))
    };
    let (finish, phases) = tokio::join!(driver, breaking);
    assert_eq!(phases, [Some(Phase::Tripped); 3]);
    assert_eq!(
        finish.unwrap().outcome,
        Outcome::RolledBack(Cause::Regression)
    );
    doors.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_refused_at_the_start_leaves_all_as_before() {
    for object in ["storefront", "partners"] {
        let doors = Doors::open().await;
        let fault = ApiFault::WebhookDenies("not today".into());
        doors.fault(object, fault, |rule| rule.times(1));
        let error = doors.start("10,100").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "virtualservice shop/{object} cannot move along: cannot patch virtualservice shop/{object}: admission webhook \"rev.validation.istio.io\" denied the request: not today; shop/reviews and all that moves with it have their original weights"
            )
        );
        assert_eq!(kubectl_canary::cli::Exit::from(&error).code(), 1);
        doors.assert_restored();
        let back = OBJECTS.iter().rev().map(ToString::to_string);
        let back: Vec<_> = back.collect();
        assert!(doors.patched().ends_with(&back), "{:?}", doors.patched());
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_cannot_be_reached_at_the_start_leaves_all_as_before() {
    let doors = Doors::open().await;
    let fault = ApiFault::Answer {
        code: 503,
        retry_after: None,
        applied: false,
    };
    doors.fault("partners", fault, |rule| rule.times(5));
    let error = doors.start("10,100").await.unwrap_err();
    assert!(matches!(error, CommandError::NotStarted { .. }), "{error}");
    doors.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_short_fault_on_a_companion_is_borne() {
    for fault in [
        ApiFault::Answer {
            code: 503,
            retry_after: None,
            applied: false,
        },
        ApiFault::Answer {
            code: 504,
            retry_after: None,
            applied: true,
        },
        ApiFault::Answer {
            code: 429,
            retry_after: Some(1),
            applied: false,
        },
        ApiFault::Reset { applied: true },
        ApiFault::Hang { applied: false },
    ] {
        for skip in 0..3 {
            let doors = Doors::open().await;
            doors.fault("storefront", fault.clone(), |rule| {
                rule.after(skip).times(2)
            });
            let finish = doors.start("10,50,100").await.unwrap();
            assert_eq!(finish.outcome, Outcome::Promoted, "{fault:?} after {skip}");
            assert_eq!(doors.canary(), [100, 80, 200]);
            doors.assert_free();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_refused_in_mid_run_takes_all_back_in_reverse_order() {
    let doors = Doors::open().await;
    let fault = ApiFault::WebhookDenies("not at 50".into());
    doors.fault("partners", fault, |rule| rule.after(1).times(1));
    let finish = doors.start("10,50,100").await.unwrap();
    assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Refused));
    assert!(
        finish.reasons[0].contains("patch virtualservice shop/partners")
            && finish.reasons[0].contains("not at 50"),
        "{:?}",
        finish.reasons
    );
    doors.assert_restored();
    assert_eq!(
        doors.patched(),
        [
            "reviews", "storefront", "partners", // 10 %
            "reviews", "storefront", // 50 %
            "partners", "storefront", "reviews",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_cannot_be_restored_keeps_no_other_from_it_and_is_named() {
    let doors = Doors::open().await;
    let (tell, queue) = signals();
    let options = Options {
        rollback_timeout: Some("30s".parse().unwrap()),
        ..together("10:10m,100")
    };
    let driver = doors.start_with(options, queue);
    let other = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        let fault = ApiFault::Hang { applied: false };
        doors.fault("partners", fault, |rule| rule);
        tell.send(Signal::Interrupt).unwrap();
        let asked = doors.shop.world.clock().now();
        doors.until(|doors| doors.canary() == [0, 0, 20]).await;
        doors.shop.world.clock().now().duration_since(asked)
    };
    let (finish, took) = tokio::join!(driver, other);
    assert!(took < SignedDuration::from_secs(3), "{took:?}");
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RollbackFailed);
    assert!(
        finish.reasons[0].starts_with("virtualservice shop/partners: cannot patch"),
        "{:?}",
        finish.reasons
    );
    assert!(doors.rollout("reviews").is_some(), "the lead still knows");
    // The same again finds what is left to do; and says by hand what is not done.
    let error = doors.abort("reviews").await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("kubectl patch virtualservice partners -n shop --type=json"),
        "{text}"
    );
    assert!(
        !text.contains("kubectl patch virtualservice reviews"),
        "{text}"
    );
    assert_eq!(kubectl_canary::cli::Exit::from(&error).code(), 20);
    doors.shop.world.faults().clear();
    doors.abort("reviews").await.unwrap().unwrap();
    doors.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn whenever_the_driver_dies_abort_on_any_object_restores_all() {
    let mut dice = Dice::seeded(11);
    for round in 0..30 {
        let doors = Doors::open().await;
        let slow = ApiFault::Slow(Duration::from_millis(400));
        doors.shop.world.faults().api(Rule::new(slow).on("patch"));
        doors.killed_after("10,50,100", dice.below(22_000)).await;
        doors.shop.world.faults().clear();
        if doors.rollout("reviews").is_some() {
            let name = OBJECTS[dice.below(3) as usize];
            let aborted = doors.abort(name).await;
            // A companion that was not reached yet knows nothing of a rollout.
            let unaware = matches!(aborted, Err(CommandError::NoRollout { .. }));
            assert!(aborted.is_ok() || unaware, "round {round}: {aborted:?}");
            if unaware || doors.rollout("reviews").is_some() {
                doors.abort("reviews").await.unwrap().unwrap();
            }
            doors.assert_restored();
        } else {
            let canary = doors.canary();
            assert!(
                canary == [0, 0, 0] || canary == [100, 80, 200],
                "round {round}: {canary:?}"
            );
            doors.assert_free();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whenever_the_driver_dies_resume_brings_all_to_the_end() {
    let mut dice = Dice::seeded(12);
    for round in 0..20 {
        let doors = Doors::open().await;
        let slow = ApiFault::Slow(Duration::from_millis(400));
        doors.shop.world.faults().api(Rule::new(slow).on("patch"));
        doors.killed_after("10,50,100", dice.below(22_000)).await;
        doors.shop.world.faults().clear();
        if doors.rollout("reviews").is_none() {
            continue;
        }
        let finish = doors.resume("reviews").await.unwrap();
        assert_eq!(finish.outcome, Outcome::Promoted, "round {round}");
        assert_eq!(doors.canary(), [100, 80, 200], "round {round}");
        doors.assert_free();
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_dies_between_two_patches_leaves_what_abort_undoes_and_resume_aligns() {
    type Moment = (&'static str, fn(&Doors) -> bool, [i64; 3]);
    let moments: [Moment; 3] = [
        ("at the start", |doors| doors.canary()[0] == 10, [10, 0, 0]),
        ("at a step", |doors| doors.canary()[1] == 40, [50, 40, 20]),
        ("at the end", |doors| doors.canary()[1] == 80, [100, 80, 100]),
    ];
    for (moment, holds, expected) in moments {
        for resumed in [false, true] {
            let doors = Doors::open().await;
            let slow = ApiFault::Slow(Duration::from_millis(300));
            doors.shop.world.faults().api(Rule::new(slow).on("patch"));
            doors.killed_when("10,50,100", holds).await;
            assert_eq!(doors.canary(), expected, "{moment}");
            doors.shop.world.faults().clear();
            if resumed {
                let finish = doors.resume("reviews").await.unwrap();
                assert_eq!(finish.outcome, Outcome::Promoted, "{moment}");
                assert_eq!(doors.canary(), [100, 80, 200], "{moment}");
                doors.assert_free();
            } else {
                doors.abort("reviews").await.unwrap().unwrap();
                doors.assert_restored();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_left_half_done_is_finished_and_never_turned_round() {
    let doors = Doors::open().await;
    doors
        .killed_when("10:10m,100", |doors| doors.canary() == [10, 8, 20])
        .await;
    let slow = ApiFault::Slow(Duration::from_millis(300));
    doors.shop.world.faults().api(Rule::new(slow).on("patch"));
    tokio::select! {
        biased;
        () = doors.until(|doors| doors.canary() == [10, 8, 0]) => {}
        aborted = doors.abort("reviews") => panic!("{aborted:?}"),
    }
    doors.shop.world.faults().clear();
    assert_eq!(doors.canary(), [10, 8, 0]);
    let refused = doors.resume("reviews").await.unwrap_err().to_string();
    assert!(
        refused.contains("bob@desk has begun to take the rollout back"),
        "{refused}"
    );
    assert_eq!(doors.canary(), [10, 8, 0]);
    doors.abort("reviews").await.unwrap().unwrap();
    doors.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn abort_beside_a_live_driver_ends_both_and_restores_all() {
    for name in OBJECTS {
        let doors = Doors::open().await;
        let driver = doors.start("10:5m,100");
        let other = async {
            doors.until(|doors| doors.canary() == [10, 8, 20]).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            doors.abort(name).await.unwrap().unwrap()
        };
        let (finish, aborted) = tokio::join!(driver, other);
        assert_eq!(aborted.outcome, Outcome::RolledBack(Cause::Request));
        let finish = finish.unwrap();
        assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Request));
        assert_eq!(finish.reasons, ["rolled back: on request by bob@desk"]);
        doors.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn promote_pause_and_resume_on_a_companion_act_on_all() {
    let doors = Doors::open().await;
    let driver = doors.start("10:10m,50:10m,100");
    let other = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        doors.promote("partners", false).await.unwrap();
        assert_eq!(doors.canary(), [50, 40, 100]);
        doors.pause("storefront").await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        for name in OBJECTS {
            assert_eq!(doors.rollout(name).unwrap().phase, Phase::Paused, "{name}");
        }
        assert_eq!(doors.canary(), [50, 40, 100]);
        doors.resume("partners").await.unwrap();
        let status = doors.status("partners").await;
        assert_eq!(status.moves_with.unwrap().to_string(), "shop/reviews");
        let status = doors.status("reviews").await;
        let also: Vec<_> = status.also.iter().map(ToString::to_string).collect();
        assert_eq!(also, ["shop/storefront", "shop/partners"]);
        let routes: Vec<_> = status.routes.iter().map(|r| r.route.as_str()).collect();
        assert_eq!(
            routes,
            [
                "http[primary]",
                "http[main] of shop/storefront",
                "http[main] of shop/partners"
            ]
        );
        doors.promote("storefront", true).await.unwrap();
        assert_eq!(doors.canary(), [100, 80, 200]);
    };
    let (finish, ()) = tokio::join!(driver, other);
    assert_eq!(finish.unwrap().outcome, Outcome::Promoted);
    doors.assert_free();
}

#[tokio::test(start_paused = true)]
async fn promote_without_a_driver_moves_all_and_a_refusal_takes_all_back() {
    let doors = Doors::open().await;
    let args = Start {
        no_wait: true,
        ..start(together("10,50,100"))
    };
    let started = doors
        .shop
        .start_as("alice@desk", args, Signals::none())
        .await;
    assert_eq!(started.unwrap().outcome, Outcome::StepPassed);
    assert_eq!(doors.canary(), [10, 8, 20]);
    doors.promote("reviews", false).await.unwrap();
    assert_eq!(doors.canary(), [50, 40, 100]);
    let fault = ApiFault::WebhookDenies("no".into());
    doors.fault("storefront", fault, |rule| rule.times(1));
    let error = doors.promote("reviews", false).await.unwrap_err();
    assert!(
        error.to_string().ends_with(
            "the rollout of shop/reviews and all that moves with it is rolled back"
        ),
        "{error}"
    );
    assert_eq!(kubectl_canary::cli::Exit::from(&error).code(), 12);
    doors.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_foreign_edit_of_a_companion_is_noticed_named_and_answered_by_the_policy() {
    for (policy, outcome) in [
        (OnDrift::Stop, Outcome::Drifted),
        (OnDrift::Rollback, Outcome::RolledBack(Cause::Drift)),
        (OnDrift::Reassert, Outcome::Promoted),
    ] {
        let doors = Doors::open().await;
        let options = Options {
            on_drift: Some(policy),
            ..together("10:1m,100")
        };
        let driver = doors.start_with(options, Signals::none());
        let editor = async {
            doors.until(|doors| doors.canary() == [10, 8, 20]).await;
            tokio::time::sleep(Duration::from_millis(3300)).await;
            doors.set_storefront(40, 40);
        };
        let (finish, ()) = tokio::join!(driver, editor);
        assert_eq!(finish.unwrap().outcome, outcome, "{policy:?}");
        assert_eq!(
            drifts(&doors.shop)[0],
            (
                "argocd".to_owned(),
                "virtualservice shop/storefront: http[main] has weights 40/40/20, this rollout knows 72/8/20".to_owned()
            )
        );
        match policy {
            OnDrift::Stop => {
                assert_eq!(doors.canary(), [10, 40, 20]);
                doors.abort("storefront").await.unwrap().unwrap();
                doors.assert_restored();
            }
            OnDrift::Rollback => doors.assert_restored(),
            OnDrift::Reassert => assert_eq!(doors.canary(), [100, 80, 200]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_manifest_that_is_applied_over_a_companion_is_a_foreign_edit() {
    let doors = Doors::open().await;
    let driver = doors.start("10:30s,50:10m,100");
    let editor = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        let old = doors.object("storefront").raw().clone();
        doors.until(|doors| doors.canary() == [50, 40, 100]).await;
        doors.edit("storefront", |vs| {
            vs["spec"] = old["spec"].clone();
            vs["metadata"]["annotations"] = old["metadata"]["annotations"].clone();
        });
    };
    let (finish, ()) = tokio::join!(driver, editor);
    assert_eq!(finish.unwrap().outcome, Outcome::Drifted);
    assert_eq!(
        drifts(&doors.shop)[0].1,
        "virtualservice shop/storefront has another state than shop/reviews, which it moves with"
    );
    assert_eq!(doors.canary(), [50, 8, 100], "nothing is overwritten");
}

#[tokio::test(start_paused = true)]
async fn a_regression_does_not_overwrite_a_companion_that_somebody_else_changed() {
    let doors = Doors::open().await;
    // No watch tells of the edit: only the patch of the rollback meets it.
    let deaf = Rule::new(ApiFault::Hang { applied: false }).on("watch");
    doors.shop.world.faults().api(deaf);
    let driver = doors.start("10:1m,100");
    let editor = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        doors.set_storefront(40, 40);
        doors.fails();
    };
    let (finish, ()) = tokio::join!(driver, editor);
    assert_eq!(finish.unwrap().outcome, Outcome::Drifted);
    assert_eq!(doors.canary(), [0, 40, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_is_deleted_leaves_companions_that_abort_restores_one_by_one() {
    let doors = Doors::open().await;
    doors
        .killed_when("10:10m,100", |doors| doors.canary() == [10, 8, 20])
        .await;
    doors.delete("reviews");
    let lost = doors.promote("storefront", false).await.unwrap_err();
    assert_eq!(
        lost.to_string(),
        "virtualservice shop/storefront moves with shop/reviews, and there is no rollout under way on that any more (try: kubectl canary abort storefront -n shop)"
    );
    for (name, before) in ["storefront", "partners"].into_iter().zip(&doors.before[1..]) {
        let aborted = doors.abort(name).await.unwrap().unwrap();
        assert_eq!(aborted.outcome, Outcome::RolledBack(Cause::Request));
        assert_eq!(&doors.spec(name), before);
        assert_eq!(doors.rollout(name), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_is_deleted_under_a_driver_stops_it_or_takes_the_others_back() {
    for (policy, outcome, left) in [
        (OnDrift::Stop, Outcome::Drifted, true),
        (OnDrift::Rollback, Outcome::RollbackFailed, false),
    ] {
        let doors = Doors::open().await;
        let options = Options {
            on_drift: Some(policy),
            rollback_timeout: Some("20s".parse().unwrap()),
            ..together("10:10m,100")
        };
        let driver = doors.start_with(options, Signals::none());
        let editor = async {
            doors.until(|doors| doors.canary() == [10, 8, 20]).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            doors.delete("reviews");
        };
        let (finish, ()) = tokio::join!(driver, editor);
        assert_eq!(finish.unwrap().outcome, outcome, "{policy:?}");
        for (name, before) in ["storefront", "partners"].into_iter().zip(&doors.before[1..]) {
            assert_eq!(doors.rollout(name).is_some(), left, "{name}");
            assert_eq!(&doors.spec(name) != before, left, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_companion_that_is_deleted_is_noticed_and_the_others_go_back() {
    let doors = Doors::open().await;
    let options = Options {
        on_drift: Some(OnDrift::Rollback),
        ..together("10:10m,100")
    };
    let driver = doors.start_with(options, Signals::none());
    let editor = async {
        doors.until(|doors| doors.canary() == [10, 8, 20]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        doors.delete("storefront");
    };
    let (finish, ()) = tokio::join!(driver, editor);
    let finish = finish.unwrap();
    assert_eq!(finish.outcome, Outcome::RollbackFailed);
    assert!(
        finish.reasons[0].contains("shop/storefront"),
        "{:?}",
        finish.reasons
    );
    for (name, before) in ["reviews", "partners"].into_iter().zip([0, 2]) {
        assert_eq!(doors.spec(name), doors.before[before], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_moves_with_another_starts_no_rollout_of_its_own() {
    let doors = Doors::open().await;
    doors
        .killed_when("10:10m,100", |doors| doors.canary() == [10, 8, 20])
        .await;
    let mut args = start(brisk());
    args.rollout.name = Some("storefront".into());
    let refused = doors.shop.start_as("bob@desk", args, Signals::none());
    let refused = refused.await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.starts_with(
            "virtualservice shop/storefront moves with shop/reviews, whose rollout is at 10 % and held by alice@desk/"
        ) && text.ends_with("(try: kubectl canary status, resume or abort reviews -n shop)"),
        "{text}"
    );
    assert_eq!(kubectl_canary::cli::Exit::from(&refused).code(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_move_along_is_refused_before_anything_moves() {
    let nobody_holds = "no chosen route of virtualservice shop/lonely holds both v1 and v2";
    for (also, expected, code) in [
        ("reviews", "--also reviews: virtualservice shop/reviews moves already (try: each object once)", 2),
        ("storefront,shop/storefront", "--also shop/storefront: virtualservice shop/storefront moves already", 2),
        ("nobody", "there is no such object (try: one of", 1),
        ("lonely", nobody_holds, 1),
        ("Storefront!", "is no name of a VirtualService", 2),
    ] {
        let doors = Doors::open().await;
        doors.shop.world.apply(door(
            "lonely",
            "lonely.example.com",
            json!([{"destination": {"host": "reviews", "subset": "v1"}}]),
        ));
        let options = Options {
            also: also.split(',').map(str::to_owned).collect(),
            ..brisk()
        };
        let error = doors.start_with(options, Signals::none()).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains(expected), "{also}: {error}");
        assert_eq!(kubectl_canary::cli::Exit::from(&error).code(), code, "{also}");
        assert_eq!(doors.patched(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_finding_on_a_companion_refuses_the_whole() {
    let doors = Doors::open().await;
    doors.edit("storefront", |vs| {
        vs["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"});
    });
    let view = doors.plan(together("10,100")).await.unwrap();
    assert!(view.refused);
    let error = doors.start("10,100").await.unwrap_err();
    assert!(matches!(error, CommandError::Preflight(_)), "{error}");
    assert!(error.to_string().contains("shop/storefront"), "{error}");
    doors.assert_restored();
    // The plan's patches were rehearsals.
    let calls = doors.shop.patches();
    assert!(calls.iter().all(|call| call.query.contains("dryRun=All")));
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_every_step_of_every_object_and_asks_the_server_about_each() {
    let doors = Doors::open().await;
    let view = doors.plan(together("10,100")).await.unwrap();
    let also: Vec<_> = view.also.iter().map(ToString::to_string).collect();
    assert_eq!(also, ["shop/storefront", "shop/partners"]);
    let routes: Vec<_> = view
        .routes
        .iter()
        .map(|route| (route.route.as_str(), route.steps[0].clone()))
        .collect();
    assert_eq!(
        routes,
        [
            ("http[primary]", vec![Some(90), Some(10)]),
            (
                "http[main] of shop/storefront",
                vec![Some(72), Some(8), Some(20)]
            ),
            ("http[main] of shop/partners", vec![Some(20), Some(180)]),
        ]
    );
    let told: Vec<_> = view.findings.iter().map(|one| one.what.as_str()).collect();
    for expected in [
        "the API server accepts the step at 10 %",
        "the API server accepts the step at 10 % of shop/storefront",
        "the API server accepts the step at 100 % of shop/partners",
        "virtualservice shop/partners moves with shop/reviews",
    ] {
        assert!(told.contains(&expected), "{expected}: {told:#?}");
    }
    doors.assert_restored();
}

#[tokio::test(start_paused = true)]
async fn a_signal_at_any_moment_restores_all_within_seven_seconds() {
    let mut dice = Dice::seeded(13);
    for round in 0..20 {
        let doors = Doors::open().await;
        let slow = ApiFault::Slow(Duration::from_millis(200));
        doors.shop.world.faults().api(Rule::new(slow).on("patch"));
        let (tell, queue) = signals();
        let millis = 1000 + dice.below(14_000);
        let driver = doors.start_with(together("10,50,100:1m"), queue);
        let other = async {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            tell.send(Signal::Terminate).unwrap();
            doors.shop.world.clock().now()
        };
        let (finish, asked) = tokio::join!(driver, other);
        match finish {
            Ok(finish) => {
                assert_eq!(finish.outcome, Outcome::RolledBack(Cause::Signal));
                let took = finish.at.duration_since(asked);
                assert!(took < SignedDuration::from_secs(7), "round {round}: {took:?}");
            }
            Err(error) => assert!(matches!(error, CommandError::Interrupted(_)), "{error}"),
        }
        doors.assert_restored();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_driver_that_wakes_up_after_an_abort_moves_no_companion() {
    let doors = Doors::open().await;
    // Alice's first patch of the companion is on its way for a long time.
    let slow = ApiFault::Slow(Duration::from_secs(9));
    doors.fault("storefront", slow, |rule| rule.times(1));
    let driver = doors.start("10:10m,100");
    let other = async {
        doors.until(|doors| doors.canary()[0] == 10).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        doors.abort("reviews").await.unwrap().unwrap();
        doors.assert_restored();
    };
    let (finish, ()) = tokio::join!(driver, other);
    tokio::time::sleep(Duration::from_secs(20)).await;
    doors.assert_restored();
    let told = format!("{finish:?}");
    assert!(told.contains("RolledBack(Request)"), "{told}");
}
