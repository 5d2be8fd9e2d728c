//! What a verdict costs: one window of one rollout, and a thousand simulated ones.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use kubectl_canary::driver::analysis;
use kubectl_canary::plan::{Options, Plan};
use kubectl_canary::simulate::{DurationModel, Scenario, SimulatedWorld, Simulator};
use kubectl_canary::verdict::sequential::{History, Preset, Sequential};
use kubectl_canary::verdict::{Analysis, StepContext, Window};

/// An analysis with failures and four latency bounds at 10 %, and a window for it.
fn five_metrics() -> (Sequential, Window) {
    let scenario = Scenario {
        requests_per_second: 1_000.0,
        latency: Some(DurationModel {
            median_ms: 40.0,
            spread: 0.8,
            slowdown: 1.0,
            jitter: 0.02,
        }),
        ..Scenario::default()
    };
    let mut world = SimulatedWorld::new(&scenario, 15.0, 1);
    let history = History::from_windows(&world.history());
    assert_eq!(
        history.slow.len(),
        4,
        "four bounds and failures are five metrics"
    );
    let policy = Preset::Careful.policy(SignedDuration::from_secs(15));
    let mut analysis = Sequential::new(policy, &history);
    analysis.begin_step(StepContext {
        share: 0.1,
        next_share: Some(0.5),
        began: Timestamp::UNIX_EPOCH,
        dwell: SignedDuration::from_secs(60),
    });
    let (window, _) = world.window(0.0, &[(15.0, 0.1)]);
    (analysis, window)
}

fn window(criterion: &mut Criterion) {
    let (mut analysis, mut window) = five_metrics();
    criterion.bench_function("one window, five metrics", |bencher| {
        bencher.iter(|| {
            // A window that was seen before would be ignored.
            window.start = window.end;
            window.end += SignedDuration::from_secs(15);
            black_box(analysis.observe(black_box(&window)))
        });
    });
}

fn thousand(criterion: &mut Criterion) {
    let scenario = Scenario {
        requests_per_second: 10_000.0,
        ..Scenario::default()
    };
    // A step that lasts a thousand scrapes.
    let options = Options {
        steps: Some("50,100".parse().expect("steps")),
        dwell: Some("15000s".parse().expect("a duration")),
        step_timeout: Some("16000s".parse().expect("a duration")),
        ..Options::default()
    };
    let plan = Plan::resolve(options).expect("a good plan");
    let simulator = Simulator {
        plan: &plan,
        scenario: &scenario,
        canary_age: 3600.0,
    };
    let mut group = criterion.benchmark_group("simulated");
    group.sample_size(10);
    group.bench_function("a thousand windows", |bencher| {
        bencher.iter(|| {
            simulator.run(
                7,
                |world| analysis(&plan, &History::from_windows(&world.history())),
                &mut |_| {},
            )
        });
    });
}

criterion_group!(benches, window, thousand);
criterion_main!(benches);
