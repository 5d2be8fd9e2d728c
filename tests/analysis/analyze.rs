//! `analyze` judges the past as the process that lived through it did.

use std::time::Duration;

use jiff::SignedDuration;
use kubectl_canary::cli::Exit;
use kubectl_canary::commands::{self, Analyze, RolloutArgs};
use kubectl_canary::driver::Finish;
use kubectl_canary::plan::{OnSignal, Options};
use kubectl_canary::report::AnalysisView;
use kubectl_canary::rollout::{EventKind, Outcome};
use kubectl_canary::sandbox::{ApiFault, PrometheusFault, Rule};
use kubectl_canary::verdict::Verdict;
use kubectl_canary::verdict::sequential::Evidence;
use kubectl_canary::{CommandError, Signal, Signals};

use crate::harness::{Shop, signals, start};

/// `analyze reviews` with these flags.
async fn analyze(shop: &Shop, args: Analyze) -> Result<AnalysisView, CommandError> {
    let args = Analyze {
        rollout: RolloutArgs {
            name: Some("reviews".into()),
            ..args.rollout
        },
        ..args
    };
    shop.act("carol@gate", Signals::none(), async |context| {
        commands::analyze(context, &args, None).await
    })
    .await
}

async fn whole(shop: &Shop) -> AnalysisView {
    analyze(shop, Analyze::default()).await.unwrap()
}

fn ago(duration: &str) -> Analyze {
    Analyze {
        since: Some(duration.parse().unwrap()),
        ..Analyze::default()
    }
}

/// A rollout that waits for somebody at half of the traffic.
fn gated() -> Options {
    Options {
        steps: Some("1,10,50:pause,100".parse().unwrap()),
        warmup: Some("0s".parse().unwrap()),
        ..Options::default()
    }
}

async fn start_gated(shop: &Shop) -> Finish {
    let mut args = start(gated());
    args.drive.leave_at_gate = true;
    shop.start_as("alice@desk", args, Signals::none())
        .await
        .unwrap()
}

/// What the last look of a run came to.
fn last_look(shop: &Shop) -> (Verdict, Evidence) {
    let mut told = shop.told().into_iter().rev();
    let found = told.find_map(|event| match event {
        EventKind::Analyzed {
            verdict,
            evidence: Some(evidence),
            ..
        } => Some((verdict, *evidence)),
        _ => None,
    });
    found.expect("it looked")
}

#[track_caller]
fn assert_same(ours: &Evidence, theirs: &Evidence) {
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{ours:#?}\n{theirs:#?}");
    near(ours.evidence, theirs.evidence);
    assert_eq!((ours.stable, ours.canary), (theirs.stable, theirs.canary));
    assert_eq!(ours.metrics.len(), theirs.metrics.len());
    for (ours, theirs) in ours.metrics.iter().zip(&theirs.metrics) {
        near(ours.evidence, theirs.evidence);
        assert_eq!(ours.upper, theirs.upper);
    }
}

/// Both versions fail a little, so that there is evidence to compare.
fn imperfect(shop: &Shop) {
    for version in ["reviews-v1", "reviews-v2"] {
        shop.world.traffic().version("shop", version).fails(0.005);
    }
}

#[tokio::test(start_paused = true)]
async fn the_past_of_a_rollout_has_the_evidence_of_the_run_that_lived_through_it() {
    let shop = Shop::open().await;
    imperfect(&shop);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let finish = start_gated(&shop).await;
    assert_eq!(finish.outcome, Outcome::Held, "{:#?}", shop.told());
    let (verdict, evidence) = last_look(&shop);
    let view = whole(&shop).await;
    assert_same(view.evidence.as_ref().unwrap(), &evidence);
    assert_eq!(
        (view.verdict, verdict),
        (Verdict::Healthy, Verdict::Healthy)
    );
    assert_eq!(Exit::from(view.verdict), Exit::Done);
    assert_eq!(view.total_counts, finish.total_counts);
    assert_eq!(view.exposure.to_string(), "50 %");
}

#[tokio::test(start_paused = true)]
async fn a_slow_preflight_does_not_change_what_the_run_knew_of_the_past() {
    let shop = Shop::open().await;
    imperfect(&shop);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let slow = Rule::new(ApiFault::Slow(Duration::from_secs(5)));
    shop.world
        .faults()
        .api(slow.of("horizontalpodautoscalers").times(1));
    start_gated(&shop).await;
    let (_, evidence) = last_look(&shop);
    let view = whole(&shop).await;
    assert_same(view.evidence.as_ref().unwrap(), &evidence);
}

#[tokio::test(start_paused = true)]
async fn a_replay_looks_as_far_back_as_the_run_did() {
    let shop = Shop::open_with(|stage| {
        stage.scrapes().every(SignedDuration::from_secs(15));
        stage.scrapes().keep(SignedDuration::from_hours(12));
    })
    .await;
    for version in ["reviews-v1", "reviews-v2"] {
        shop.world.traffic().version("shop", version).fails(0.0001);
    }
    tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
    // The first hour is answered, what lies before it only to whoever asks later.
    let hang = Rule::new(PrometheusFault::Hang).containing("[3901s]");
    shop.world.faults().prometheus(hang.times(1));
    start_gated(&shop).await;
    assert_eq!(shop.rollout().unwrap().lookback.unwrap().to_string(), "1h");
    let (_, evidence) = last_look(&shop);
    let view = whole(&shop).await;
    assert_same(view.evidence.as_ref().unwrap(), &evidence);
}

#[tokio::test(start_paused = true)]
async fn the_past_of_a_resumed_rollout_has_the_evidence_of_both_its_runs() {
    let shop = Shop::open().await;
    imperfect(&shop);
    tokio::time::sleep(Duration::from_secs(300)).await;
    // The first driver leaves at 10 %, and for a minute there is none.
    let (tell, queue) = signals();
    let options = Options {
        on_signal: Some(OnSignal::Hold),
        ..gated()
    };
    let (first, ()) = tokio::join!(shop.start_with(options, queue), async {
        shop.until_weight(10).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        tell.send(Signal::Interrupt).unwrap();
    });
    assert_eq!(first.unwrap().outcome, Outcome::Held);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let waits = |shop: &Shop| {
        let told = shop.told();
        told.iter()
            .any(|event| matches!(event, EventKind::Waiting { .. }))
    };
    tokio::select! {
        finish = shop.resume("bob@ci") => panic!("nobody promoted: {finish:?}"),
        () = shop.until(waits) => {}
    }
    let (_, evidence) = last_look(&shop);
    let view = whole(&shop).await;
    assert_same(view.evidence.as_ref().unwrap(), &evidence);
    assert_eq!(view.verdict, Verdict::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_gate_after_the_fact_finds_what_a_rollout_would_have_found() {
    for (fails, verdict, exit) in [
        (0.0, Verdict::Healthy, Exit::Done),
        (0.2, Verdict::Regressed, Exit::Regressed),
    ] {
        let shop = Shop::open().await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        // Somebody splits the traffic by hand.
        shop.set_weights(90, 10);
        shop.world
            .traffic()
            .version("shop", "reviews-v2")
            .fails(fails);
        tokio::time::sleep(Duration::from_secs(600)).await;
        let args = |mut args: Analyze| {
            args.rollout.options.stable = Some("v1".into());
            args.rollout.options.canary = Some("v2".into());
            args
        };
        let view = analyze(&shop, args(ago("9m"))).await.unwrap();
        assert_eq!(view.verdict, verdict, "{view:#?}");
        assert_eq!(Exit::from(view.verdict), exit);
        assert_eq!(view.run, None);
        assert_eq!(view.exposure.to_string(), "10 %");
        assert!(
            view.total_counts.unwrap().canary.requests > 9_000,
            "{view:#?}"
        );
        // Before the split there was nothing to judge.
        let before = Analyze {
            from: Some(shop.after(-850)),
            to: Some(shop.after(-640)),
            ..Analyze::default()
        };
        let view = analyze(&shop, args(before)).await.unwrap();
        assert_eq!(view.verdict, Verdict::NotEnoughData, "{view:#?}");
        assert_eq!(shop.patches(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_rollout_is_judged_by_itself() {
    let shop = Shop::open().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    start_gated(&shop).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let view = analyze(&shop, ago("4m")).await.unwrap();
    assert_eq!(view.verdict, Verdict::Healthy, "{view:#?}");
    let half = view.total_counts.unwrap().canary.requests as f64 / (200.0 * 240.0);
    assert!((0.4..0.52).contains(&half), "{view:#?}");
}

#[tokio::test(start_paused = true)]
async fn metrics_that_do_not_answer_are_a_verdict_of_their_own() {
    let shop = Shop::open().await;
    start_gated(&shop).await;
    let down = Rule::new(PrometheusFault::Down);
    shop.world.faults().prometheus(down);
    let view = whole(&shop).await;
    assert_eq!(view.verdict, Verdict::MetricsUnavailable, "{view:#?}");
    assert_eq!(Exit::from(view.verdict), Exit::NoVerdict);
    assert_eq!(view.reasons.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_judged_is_refused_with_what_to_type() {
    let shop = Shop::open().await;
    let error = analyze(&shop, Analyze::default()).await.unwrap_err();
    assert!(error.to_string().contains("--since 1h"), "{error}");
    let backwards = Analyze {
        from: Some(shop.after(0)),
        to: Some(shop.after(-60)),
        ..Analyze::default()
    };
    let error = analyze(&shop, backwards).await.unwrap_err();
    assert!(error.to_string().contains("--from before --to"), "{error}");
    // All traffic on one version: nothing to compare, and no good news.
    let view = analyze(&shop, ago("1m")).await.unwrap();
    assert_eq!(view.verdict, Verdict::NotEnoughData, "{view:#?}");
}
