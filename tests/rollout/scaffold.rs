//! `scaffold`: what a rollout of an image lacks, applied as printed until nothing is missing, and planned.

use kubectl_canary::commands::{self, Scaffold};
use kubectl_canary::sandbox::{Deployment, Setup};
use kubectl_canary::{CommandError, Signals};
use serde_json::{Value, json};

use crate::harness::Shop;
use crate::wild::{plan, service_of, virtual_service, world};

fn deploy(stage: &mut Setup<'_>, version: &str) {
    Deployment {
        namespace: "w",
        name: &format!("tickets-{version}"),
        app: "tickets",
        version,
        replicas: 2,
    }
    .put_on(stage);
}

async fn missing(shop: &Shop, image: &str) -> Result<Vec<Value>, CommandError> {
    let args = Scaffold {
        name: "tickets".into(),
        image: image.into(),
        version: None,
        container: None,
        deployment: None,
        routes: Vec::new(),
    };
    let act = shop.act("alice@desk", Signals::none(), async |context| {
        "w".clone_into(&mut context.namespace);
        commands::scaffold(context, &args).await
    });
    let list = act.await?.list();
    Ok(list["items"].as_array().unwrap().clone())
}

/// Applies what is missing, as often as something is; the kinds of each time.
async fn build(shop: &Shop, image: &str) -> Vec<Vec<String>> {
    let mut rounds = Vec::new();
    loop {
        let objects = missing(shop, image).await.unwrap();
        if objects.is_empty() {
            return rounds;
        }
        let kinds = objects
            .iter()
            .map(|object| object["kind"].as_str().unwrap());
        rounds.push(kinds.map(str::to_owned).collect());
        assert!(rounds.len() < 5, "{rounds:?}");
        for object in objects {
            match object["kind"].as_str() {
                // The pods, too: there is no controller in the sandbox.
                Some("Deployment") => {
                    let version = object["spec"]["template"]["metadata"]["labels"]["version"]
                        .as_str()
                        .unwrap();
                    let image = &object["spec"]["template"]["spec"]["containers"][0]["image"];
                    assert_eq!(image, &format!("registry.example/tickets:{version}"));
                    shop.world.set(|stage| deploy(stage, version));
                }
                _ => shop.world.apply(object),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_any_route_gets_what_a_rollout_needs() {
    let shop = world(|stage| {
        service_of(stage, "w", "tickets", &[]);
        deploy(stage, "v1");
    })
    .await;
    assert_eq!(
        build(&shop, "registry.example/tickets:v2").await,
        [["DestinationRule"], ["VirtualService"], ["Deployment"]]
    );
    let view = plan(&shop, "w", "tickets", &["--canary", "v2"]).await;
    let view = view.unwrap();
    assert_eq!((view.stable.as_str(), view.canary.as_str()), ("v1", "v2"));
    assert_eq!(view.routes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_release_gets_a_third_version_beside_the_two() {
    let shop = world(|stage| {
        service_of(stage, "w", "tickets", &[]);
        deploy(stage, "v1");
        deploy(stage, "v2");
        crate::wild::subsets(stage, "w", "tickets", "tickets");
        let to = |subset: &str, weight: i64| json!({"destination": {"host": "tickets", "subset": subset}, "weight": weight});
        stage.apply(virtual_service(
            "w",
            "tickets",
            json!({"hosts": ["tickets"], "http": [{"route": [to("v1", 0), to("v2", 100)]}]}),
        ));
    })
    .await;
    assert_eq!(
        build(&shop, "registry.example/tickets:v3").await,
        [["DestinationRule", "Deployment", "VirtualService"]]
    );
    let spec = shop
        .world
        .object("virtualservices", "w", "tickets")
        .unwrap();
    let weights = spec["spec"]["http"][0]["route"].as_array().unwrap().clone();
    let weights: Vec<_> = weights
        .iter()
        .map(|target| {
            (
                target["destination"]["subset"].as_str().unwrap(),
                target["weight"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(weights, [("v1", 0), ("v2", 100), ("v3", 0)]);
    let view = plan(&shop, "w", "tickets", &["--canary", "v3"]).await;
    let view = view.unwrap();
    assert_eq!((view.stable.as_str(), view.canary.as_str()), ("v2", "v3"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_scaffolded_for_what_is_not_there() {
    let shop = world(|_| {}).await;
    let error = missing(&shop, "tickets:v2").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is neither a virtualservice nor a service w/tickets (try: kubectl get services,virtualservices -n w)"
    );
}
