//! What many routes cost: reading them, planning them, and making the one patch that moves them.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use json_patch::PatchOperation;
use kubectl_canary::istio::{VersionQuery, VirtualService};
use kubectl_canary::plan::{Options, Plan};
use kubectl_canary::report::PlanView;
use kubectl_canary::rollout::{Intent, Observed, Phase, Rollout, compare};
use serde_json::{Value, json};

/// A VirtualService with so many routes of three destinations each.
fn object(routes: usize) -> Value {
    let rules: Vec<_> = (0..routes)
        .map(|index| {
            let target = |subset: &str, weight: usize| json!({"destination": {"host": "reviews.shop.svc.cluster.local", "subset": subset, "port": {"number": 8080}}, "weight": weight});
            json!({
                "name": format!("route-{index}"),
                "match": [{"uri": {"prefix": format!("/path/{index}")}, "headers": {"x-tenant": {"exact": "a"}}}],
                "route": [target("v1", 90 - index % 3), target("v2", 0), target("v3", 10 + index % 3)],
                "timeout": "5s",
            })
        })
        .collect();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": "shop", "name": "reviews", "uid": "1", "resourceVersion": "7"},
        "spec": {"hosts": ["reviews"], "http": rules},
    })
}

fn rollout(vs: &VirtualService) -> Rollout {
    let wanted = VersionQuery {
        stable: Some("v1"),
        canary: Some("v2"),
        ..VersionQuery::default()
    };
    let plan = Plan::resolve(Options::default()).expect("the defaults stand together");
    let choice = wanted
        .select_versions(vs)
        .expect("v1 and v2 are on every route");
    let choice = choice.fitted(vs, &plan, true).expect("1 % fits 100");
    let versions = (choice.stable, choice.canary, choice.splits);
    Rollout::new(
        "run".into(),
        "me".into(),
        plan,
        versions,
        Timestamp::UNIX_EPOCH,
    )
}

fn routes(criterion: &mut Criterion) {
    let raw = object(500);
    let vs = VirtualService::new(raw.clone()).expect("it has a name and a uid");
    let first = rollout(&vs).at_step(0, Phase::Progressing, Timestamp::UNIX_EPOCH);
    let state = first.to_annotation().expect("it fits");
    let patch = Intent::State(Box::new(first.clone()))
        .patch(&vs)
        .expect("it fits");
    let bytes = serde_json::to_string(&patch)
        .expect("a patch is plain data")
        .len();
    println!(
        "500 routes: state of {} bytes, one patch of {} operations and {bytes} bytes",
        state.len(),
        patch.0.len()
    );

    criterion.bench_function("read 500 routes", |bencher| {
        bencher.iter_batched(
            || raw.clone(),
            |raw| VirtualService::new(black_box(raw)),
            BatchSize::LargeInput,
        );
    });
    criterion.bench_function("plan 500 routes", |bencher| {
        bencher.iter(|| {
            let rollout = rollout(black_box(&vs));
            let choice = kubectl_canary::istio::Selection {
                stable: rollout.stable.clone(),
                canary: rollout.canary.clone(),
                splits: rollout.routes.clone(),
                left_behind: Vec::new(),
            };
            PlanView::of(&vs, &choice, &rollout.plan, Vec::new())
        });
    });
    criterion.bench_function("make the patch of a step for 500 routes", |bencher| {
        let intent = Intent::State(Box::new(first.clone()));
        bencher.iter(|| intent.patch(black_box(&vs)));
    });
    criterion.bench_function("look at 500 routes under way", |bencher| {
        let mut raw = raw.clone();
        let mut operations = patch.0.clone();
        // To the API server a test against null asks for absence; this crate knows no such thing.
        operations.retain(|operation| !matches!(operation, PatchOperation::Test(_)));
        json_patch::patch(&mut raw, &operations).expect("it was made of this object");
        let under_way = VirtualService::new(raw).expect("it has a name and a uid");
        assert_eq!(compare(&first, &under_way), Observed::InSync);
        bencher.iter(|| compare(black_box(&first), black_box(&under_way)));
    });
}

criterion_group!(benches, routes);
criterion_main!(benches);
