//! Equal and worse canaries.

use std::fmt::Write;

use kubectl_canary::plan::{HumanDuration, Options};
use kubectl_canary::simulate::Scenario;
use kubectl_canary::verdict::sequential::Policy;

use super::axes::{STABLE, TRAFFIC, WORSE, minutes, scenario};
use crate::cell::{Rule, amount, per_second, percent, plan, summary, usual_plan, with_policy};
use crate::goals::Goals;

/// Equal versions.
pub fn healthy(runs: usize, goals: &mut Goals) -> String {
    let mut page = String::from(
        "\n## Equal versions\n\nRolled back / promoted, in percent; minutes to a promotion (median).\n\n\
         | req/s | stable | kubectl canary | minutes | Flagger | tuned | Argo | tuned | Kayenta |\n\
         |--|--|--|--|--|--|--|--|--|\n",
    );
    let plan = usual_plan();
    for rps in TRAFFIC {
        for stable in STABLE {
            let scenario = scenario(rps, stable);
            let mine = summary(Rule::Ours, &scenario, &plan, runs);
            goals.equal(rps, stable, &mine);
            let _ = write!(
                page,
                "| {} | {} % | **{}** / {} | {} |",
                per_second(rps),
                percent(stable),
                percent(mine.rolled_back.share),
                percent(mine.promoted.share),
                minutes(mine.seconds_to_promote.unwrap_or_default().median)
            );
            for rule in [
                Rule::Flagger,
                Rule::FlaggerTuned,
                Rule::Argo,
                Rule::ArgoTuned,
                Rule::Kayenta,
            ] {
                let theirs = summary(rule, &scenario, &plan, runs);
                let _ = write!(
                    page,
                    " {} / {} |",
                    percent(theirs.rolled_back.share),
                    percent(theirs.promoted.share)
                );
            }
            page.push('\n');
        }
    }
    page
}

/// Worse canaries.
pub fn regressed(runs: usize, goals: &mut Goals) -> String {
    let mut page = String::from(
        "\n## Worse canaries\n\nRolled back / promoted in percent, and the mean of excess failed requests \
         (canary requests times what its rate exceeds stable's by). *Wald* is the sequential test that \
         knows both rates, on the same scrapes and at least a minute a step.\n\n\
         | req/s | stable | canary | back / promoted | excess | Wald | ratio | Flagger: promoted, excess | \
         Argo: promoted, excess | Kayenta: promoted, excess |\n|--|--|--|--|--|--|--|--|--|--|\n",
    );
    let plan = usual_plan();
    for rps in TRAFFIC {
        for stable in STABLE {
            for (name, ratio, added) in WORSE {
                let scenario = Scenario {
                    ratio,
                    added,
                    ..scenario(rps, stable)
                };
                let mine = summary(Rule::Ours, &scenario, &plan, runs);
                let wald = summary(Rule::Wald, &scenario, &plan, runs);
                let flagger = summary(Rule::Flagger, &scenario, &plan, runs / 4);
                let argo = summary(Rule::Argo, &scenario, &plan, runs / 4);
                let kayenta = summary(Rule::Kayenta, &scenario, &plan, runs / 4);
                let times = mine.excess.mean / wald.excess.mean;
                goals.worse(rps, stable, name, [&mine, &wald, &flagger, &argo, &kayenta]);
                let _ = write!(
                    page,
                    "| {} | {} % | {name} | {} / {} | **{}** | {} | {} |",
                    per_second(rps),
                    percent(stable),
                    percent(mine.rolled_back.share),
                    percent(mine.promoted.share),
                    amount(mine.excess.mean),
                    amount(wald.excess.mean),
                    if mine.rolled_back.share >= 0.9 {
                        format!("{times:.1}")
                    } else {
                        "-".to_owned()
                    },
                );
                for theirs in [flagger, argo, kayenta] {
                    let _ = write!(
                        page,
                        " {}, {} |",
                        percent(theirs.promoted.share),
                        amount(theirs.excess.mean)
                    );
                }
                page.push('\n');
            }
        }
    }
    page
}

/// Exactly on the margin, promotion turned off.
pub fn margin(runs: usize, goals: &mut Goals) -> String {
    let mut page = String::from(
        "\n## Exactly on the margin, for eight hours\n\nThe canary fails 1.25 times stable and 0.01 points \
         more; nothing is promoted. At most 1 % may be rolled back.\n\n| req/s | stable | rolled back |\n|--|--|--|\n",
    );
    let options = Options {
        steps: Some("50,60,100".parse().expect("steps")),
        step_timeout: Some(HumanDuration::minutes(8 * 60)),
        ..Options::default()
    };
    let plan = plan(options, 15);
    let policy = Policy {
        false_promotion: 0.0,
        ..plan.policy()
    };
    for rps in [1.0, 10.0, 100.0, 1_000.0] {
        for stable in [0.001, 0.01] {
            let scenario = Scenario {
                ratio: 1.25,
                added: 0.0001,
                ..scenario(rps, stable)
            };
            let mine = with_policy(&scenario, &plan, &policy, runs);
            goals.margin(rps, stable, &mine);
            let _ = writeln!(
                page,
                "| {} | {} % | {} % (95 %: {} to {}) |",
                per_second(rps),
                percent(stable),
                percent(mine.rolled_back.share),
                percent(mine.rolled_back.low),
                percent(mine.rolled_back.high)
            );
        }
    }
    page
}
