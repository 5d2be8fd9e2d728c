//! The shop with three group that move together.

use std::time::Duration;

use kubectl_canary::commands::{
    self, Abort, Pause, PlanArgs, Promote, Resume, Status, StatusAnswer,
};
use kubectl_canary::driver::Finish;
use kubectl_canary::istio::VirtualService;
use kubectl_canary::plan::{HumanDuration, Options};
use kubectl_canary::report::PlanView;
use kubectl_canary::rollout::Rollout;
use kubectl_canary::sandbox::{ApiFault, Rule};
use kubectl_canary::{CommandError, Signals};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::harness::{Result, Shop, brisk, start};

/// In the order in which they move.
pub(super) const OBJECTS: [&str; 3] = ["reviews", "storefront", "partners"];

/// The shop with three group: `reviews` in the mesh, `storefront` at the gateway with a third
/// destination and no weight on the canary, and `partners`, which writes hosts out.
pub(super) struct Group {
    pub(super) shop: Shop,
    pub(super) before: Vec<Value>,
}

pub(super) fn door(name: &str, host: &str, route: Value) -> Value {
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

impl Group {
    pub(super) async fn open() -> Self {
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
        let mut group = Self {
            shop,
            before: Vec::new(),
        };
        group.before = OBJECTS.map(|name| group.spec(name)).to_vec();
        group
    }

    pub(super) fn object(&self, name: &str) -> VirtualService {
        let object = self.shop.world.object("virtualservices", "shop", name);
        VirtualService::new(object.unwrap()).unwrap()
    }

    pub(super) fn spec(&self, name: &str) -> Value {
        self.object(name).spec().clone()
    }

    /// The canary's weight on each object.
    pub(super) fn canary(&self) -> [i64; 3] {
        [("reviews", 0, 1), ("storefront", 1, 1), ("partners", 1, 0)].map(|(name, rule, place)| {
            let weight = &self.spec(name)["http"][rule]["route"][place]["weight"];
            weight.as_i64().unwrap_or(0)
        })
    }

    pub(super) fn rollout(&self, name: &str) -> Option<Rollout> {
        Rollout::read(&self.object(name)).unwrap()
    }

    /// Fails unless every object is as it was, to the last byte of its spec, and free.
    pub(super) fn assert_restored(&self) {
        for (name, before) in OBJECTS.iter().zip(&self.before) {
            assert_eq!(&self.spec(name), before, "{name}");
            assert_eq!(self.rollout(name), None, "{name}");
        }
    }

    pub(super) fn assert_free(&self) {
        for name in OBJECTS {
            assert_eq!(self.rollout(name), None, "{name}");
        }
    }

    /// The objects whose PATCHes the API server took, in order.
    pub(super) fn patched(&self) -> Vec<String> {
        let calls = self.shop.patches().into_iter();
        calls
            .map(|call| call.path.rsplit('/').next().unwrap().to_owned())
            .collect()
    }

    /// Every PATCH, who sent it and what became of it, for a failure's message.
    pub(super) fn story(&self) -> String {
        let calls = self.shop.world.calls().into_iter();
        let patches = calls.filter(|call| call.verb == "patch");
        let lines = patches.map(|call| {
            let body = call.body.unwrap_or_default().to_string();
            let changes = body.split("\"op\":\"add\"").skip(1).collect::<String>();
            let changes: String = changes.chars().filter(|c| *c != '\\').take(900).collect();
            let name = call.path.rsplit('/').next().unwrap_or_default();
            let (at, user, status) = (call.at, call.user, call.status);
            format!("{at} {user} {name} {status:?} {changes}\n")
        });
        lines.collect()
    }

    /// A foreign edit.
    pub(super) fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        self.shop
            .world
            .edit("virtualservices", "shop", name, "argocd", change);
    }

    pub(super) fn set_storefront(&self, stable: i64, canary: i64) {
        self.edit("storefront", |vs| {
            vs["spec"]["http"][1]["route"][0]["weight"] = stable.into();
            vs["spec"]["http"][1]["route"][1]["weight"] = canary.into();
        });
    }

    pub(super) fn delete(&self, name: &str) {
        self.shop
            .world
            .set(|stage| stage.delete("virtualservices", "shop", name));
    }

    /// From now on, calls that patch this object meet a fault.
    pub(super) fn fault(
        &self,
        name: &str,
        fault: ApiFault,
        limit: impl Fn(Rule<ApiFault>) -> Rule<ApiFault>,
    ) {
        let rule = Rule::new(fault).on("patch").of("virtualservices");
        let path = format!("/virtualservices/{name}");
        self.shop.world.faults().api(limit(rule.containing(&path)));
    }

    pub(super) fn fails(&self) {
        let now = self.shop.world.clock().now();
        self.shop
            .world
            .traffic()
            .version("shop", "reviews-v2")
            .fails_from(now, 0.5);
    }

    pub(super) async fn start(&self, steps: &str) -> Result {
        self.start_with(together(steps), Signals::none()).await
    }

    pub(super) async fn start_with(&self, options: Options, signals: Signals) -> Result {
        self.shop
            .start_as("alice@desk", start(options), signals)
            .await
    }

    /// Alice drives until something holds, and is gone without a word.
    pub(super) async fn killed_when(&self, steps: &str, holds: impl Fn(&Self) -> bool) {
        let driver = self.start(steps);
        tokio::select! {
            biased;
            () = self.until(holds) => {}
            ended = driver => panic!("it ended first: {ended:?}"),
        }
    }

    pub(super) async fn killed_after(&self, steps: &str, millis: u64) {
        let _ = timeout(Duration::from_millis(millis), self.start(steps)).await;
    }

    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        for _ in 0..200_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never came to that: {:?}", self.canary());
    }

    pub(super) async fn abort(&self, name: &str) -> Result<Option<Finish>> {
        self.abort_with(Abort::of(name)).await
    }

    /// `abort` with these flags.
    pub(super) async fn abort_with(&self, args: Abort) -> Result<Option<Finish>> {
        let args = Abort {
            timeout: HumanDuration::seconds(20),
            ..args
        };
        let aborted = self.shop.abort_with("bob@desk", args, Signals::none());
        Ok(aborted.await?.finish())
    }

    pub(super) async fn promote(&self, name: &str, full: bool) -> Result {
        let args = Promote {
            name: name.into(),
            full,
            wait: false,
            ..Promote::default()
        };
        let (_, finish) = self
            .shop
            .act("bob@desk", Signals::none(), async |context| {
                commands::promote(context, &args).await
            })
            .await?;
        Ok(finish)
    }

    pub(super) async fn pause(&self, name: &str) -> Result {
        let args = Pause { name: name.into() };
        let (_, finish) = self
            .shop
            .act("bob@desk", Signals::none(), async |context| {
                commands::pause(context, &args.name).await
            })
            .await?;
        Ok(finish)
    }

    pub(super) async fn resume(&self, name: &str) -> Result {
        let args = Resume {
            name: name.into(),
            ..Resume::default()
        };
        let (_, finish) = self
            .shop
            .act("bob@desk", Signals::none(), async |context| {
                commands::resume(context, &args).await
            })
            .await?;
        Ok(finish)
    }

    pub(super) async fn plan(
        &self,
        options: Options,
    ) -> std::result::Result<PlanView, CommandError> {
        let args = PlanArgs {
            rollout: start(options).rollout,
            dry_run: kubectl_canary::cluster::DryRun::Server,
        };
        self.shop
            .act("alice@desk", Signals::none(), async |context| {
                commands::plan(context, &args).await
            })
            .await
    }

    pub(super) async fn status(&self, name: &str) -> kubectl_canary::report::StatusRow {
        let args = Status {
            name: Some(name.into()),
            ..Status::default()
        };
        let answer = self
            .shop
            .act("bob@desk", Signals::none(), async |context| {
                commands::status(context, &args, None).await
            })
            .await;
        match answer.unwrap() {
            StatusAnswer::One(row) => *row,
            StatusAnswer::Many(_) => panic!("one was asked for"),
        }
    }
}

/// A short rollout of all three.
pub(super) fn together(steps: &str) -> Options {
    Options {
        steps: Some(steps.parse().unwrap()),
        also: vec!["storefront".into(), "vs/partners".into()],
        ..brisk()
    }
}
