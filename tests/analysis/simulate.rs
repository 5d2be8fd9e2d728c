//! What `simulate` promises about a plan.

use clap::Parser;
use kubectl_canary::cli::{Cli, Command};
use kubectl_canary::commands::simulate;
use kubectl_canary::report::{Layout, Simulation, View};

/// `kubectl canary simulate` with these flags, run 200 times.
fn simulated(flags: &str) -> Simulation {
    let line = format!("kubectl-canary simulate --runs 200 {flags}");
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    let Command::Simulate(args) = cli.command else {
        panic!("{line} is another command");
    };
    println!("seed {}: {line}", args.seed);
    simulate(&args, &|| {}).unwrap()
}

fn shown(simulation: &Simulation) -> String {
    let mut out = Vec::new();
    simulation.show(&mut out, Layout::default()).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_healthy_canary_is_promoted_and_a_broken_one_rolled_back() {
    for (flags, promoted, rolled_back) in [
        ("", 0.99, 0.0),
        ("--canary-errors 5%", 0.0, 0.99),
        ("--canary-errors 100%", 0.0, 1.0),
        ("--preset quick --scrape-interval 1s", 0.98, 0.0),
        ("--analysis threshold --canary-errors 20%", 0.0, 0.99),
        ("--steps 1,10:pause,50,100", 0.99, 0.0),
    ] {
        let table = simulated(flags).summary;
        assert!(table.promoted.share >= promoted, "{flags}: {table:?}");
        assert!(table.rolled_back.share >= rolled_back, "{flags}: {table:?}");
    }
}

#[test]
fn a_canary_that_is_worse_is_found_on_mirrored_requests_at_no_cost() {
    let steps = "--steps mirror:10%,1,10,50,100";
    for flags in ["--canary-errors 5%", "--canary-errors 100%"] {
        let table = simulated(&format!("{steps} {flags}")).summary;
        assert!(table.rolled_back.share >= 0.99, "{flags}: {table:?}");
        assert!(table.failed.nineteen_in_twenty == 0.0, "{flags}: {table:?}");
        let seconds = table.seconds.nineteen_in_twenty;
        assert!(seconds < 300.0, "{flags}: {table:?}");
    }
    let simulation = simulated(steps);
    let table = &simulation.summary;
    assert!(table.rolled_back.share <= 0.01, "{table:?}");
    assert!(table.promoted.share >= 0.98, "{table:?}");
    let words = shown(&simulation);
    assert!(words.contains("mirror 10 %, 1, 10, 50, 100 %"), "{words}");
}

#[test]
fn a_shared_outage_holds_a_rollout_and_does_not_end_it() {
    for late in ["", "--late-counters stable", "--late-counters canary"] {
        let table = simulated(&format!("--outage-rate 30% {late}")).summary;
        assert!(table.rolled_back.share <= 0.01, "{late}: {table:?}");
        assert!(table.promoted.share >= 0.98, "{late}: {table:?}");
    }
}

#[test]
fn a_regression_that_starts_late_is_found_while_the_canary_is_watched() {
    let table = simulated("--canary-errors 10% --regression-after 4m --bake 30m").summary;
    assert!(table.rolled_back.share >= 0.99, "{table:?}");
    assert!(table.seconds.low >= 240.0, "{table:?}");
}

#[test]
fn cold_starts_get_the_room_that_the_plan_gives() {
    let rolled_back = |flags: &str| {
        let flags = format!("--requests-per-second 5000 --cold-errors 5% {flags}");
        simulated(&flags).summary.rolled_back.share
    };
    assert!(rolled_back("") <= 0.01);
    assert!(rolled_back("--warmup 0s") >= 0.9);
    // A pod that waits does not grow warm.
    assert!(rolled_back("--canary-age 1h") <= 0.01);
}

#[test]
fn too_little_traffic_ends_as_the_plan_says() {
    for (policy, promoted) in [("rollback", 0.0), ("hold", 0.0), ("promote", 1.0)] {
        let flags = "--requests-per-second 0.1 --step-timeout 10m --on-inconclusive";
        let table = simulated(&format!("{flags} {policy}")).summary;
        assert!(
            (table.promoted.share - promoted).abs() < 0.01,
            "{policy}: {table:?}"
        );
        assert!(table.rolled_back.share < 0.01, "{policy}: {table:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_rollouts() {
    let one = simulated("--canary-errors 2% --seed 7");
    assert_eq!(
        shown(&one),
        shown(&simulated("--canary-errors 2% --seed 7"))
    );
    assert_eq!(one.page(), simulated("--canary-errors 2% --seed 7").page());
    assert_ne!(
        shown(&one),
        shown(&simulated("--canary-errors 2% --seed 8"))
    );
    assert!(shown(&one).contains("200 rollouts, seed 7"));
}

#[test]
fn the_forecast_says_what_the_simulation_shows() {
    use kubectl_canary::plan::Forecast;
    use kubectl_canary::verdict::sequential::Traffic;
    for (per_second, flags) in [
        (10.0, ""),
        (100.0, ""),
        (1000.0, ""),
        (100.0, "--preset quick --scrape-interval 1s"),
        (1000.0, "--steps 5,20,100 --scrape-interval 5s"),
    ] {
        let simulation = simulated(&format!(
            "--requests-per-second {per_second} --canary-age 1h {flags}"
        ));
        let traffic = Traffic {
            per_second,
            failure_rate: 0.001,
        };
        let forecast = Forecast::of(&simulation.plan, traffic, 0, 1000).unwrap();
        let ours = forecast.total.unwrap().signed().as_secs_f64();
        let median = simulation
            .summary
            .seconds_to_promote
            .unwrap_or_default()
            .median;
        println!("{per_second} {flags}: {ours} s forecast, {median} s simulated");
        assert!((ours / median - 1.0).abs() < 0.25, "{ours} for {median}");
        let broken = simulated(&format!(
            "--requests-per-second {per_second} --canary-age 1h --canary-errors 100% {flags}"
        ));
        let (ours, mean) = (forecast.broken, broken.summary.failed.mean);
        println!("{per_second} {flags}: {ours} failed forecast, {mean} simulated");
        assert!((ours / mean - 1.0).abs() < 0.4, "{ours} for {mean}");
    }
}

#[test]
fn a_plan_file_is_followed_and_flags_win_over_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let plan = "
apiVersion: kubectl-canary.dev/v1
kind: Rollout
spec: {steps: [5, 100], preset: quick, dwell: 20s}
";
    std::fs::write(file.path(), plan).unwrap();
    let simulation = simulated(&format!("-f {} --dwell 30s", file.path().display()));
    assert_eq!(simulation.plan.steps.to_string(), "5,100");
    assert_eq!(simulation.plan.dwell.to_string(), "30s");
}

#[test]
fn the_page_is_whole_and_needs_nothing_from_outside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    simulated(&format!(
        "--canary-errors 3% --regression-after 2m --outage-rate 5% --html {}",
        path.display()
    ));
    let page = std::fs::read_to_string(path).unwrap();
    for outside in [
        "http:", "https:", "//", "src=", "href", "@import", "url(", "<script",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
    assert_eq!(page.matches("<svg").count(), 5);
    assert!(!page.contains("NaN") && !page.contains("inf\""));
    assert_balanced(&page);
}

/// Every tag that is opened is closed, in order.
#[track_caller]
fn assert_balanced(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split_whitespace().next().unwrap();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') && !name.starts_with('!') {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn what_cannot_be_simulated_is_refused_before_anything_runs() {
    for (flags, expected) in [
        ("--requests-per-second 0", "\"0\" is not a number above 0"),
        ("--noise 1", "\"1\" is not between 0 and 1"),
        ("--outage-at 5m", "--outage-rate"),
        ("--runs 0", "is not a number from 1 to 1,000,000"),
    ] {
        let line = format!("kubectl-canary simulate {flags}");
        let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
