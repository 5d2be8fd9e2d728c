//! What a guard has against a canary, in words.

use super::phrase::Versions;
use crate::metrics::GuardGap;
use crate::number::grouped;
use crate::rollout::GuardProblem;
use crate::verdict::Counts;

/// What a guard of this name says.
pub(super) fn guard_problem(guard: &str, problem: &GuardProblem, versions: &Versions) -> String {
    match problem {
        GuardProblem::OverMax {
            value,
            max,
            times,
            limit,
        } => {
            let readings = readings(*times, *limit);
            let (value, max) = (spoken(*value), spoken(*max));
            format!("guard {guard} is at {value}, over its max {max} ({readings})")
        }
        GuardProblem::UnderMin {
            value,
            min,
            times,
            limit,
        } => {
            let readings = readings(*times, *limit);
            let (value, min) = (spoken(*value), spoken(*min));
            format!("guard {guard} is at {value}, under its min {min} ({readings})")
        }
        GuardProblem::Worse { stable, canary } => {
            format!(
                "guard {guard}: {}",
                side_by_side(*stable, *canary, versions)
            )
        }
        GuardProblem::MaybeWorse { stable, canary } => {
            let counts = side_by_side(*stable, *canary, versions);
            format!("guard {guard} may have failed, the next reading decides: {counts}")
        }
        GuardProblem::NoData { why } => format!("guard {guard} has no data: {}", gap(why)),
    }
}

fn gap(why: &GuardGap) -> String {
    match why {
        GuardGap::NoSeries => "no series".into(),
        GuardGap::NotANumber => "not a number".into(),
        GuardGap::SeveralSeries { series } => format!("{series} series instead of one value"),
        GuardGap::Unanswered { message } => message.clone(),
    }
}

fn readings(times: u32, limit: u32) -> String {
    match times {
        0 => "warming up".into(),
        times if times >= limit => format!("{times} readings in a row"),
        times => format!("{times} of {limit} readings"),
    }
}

fn side_by_side(of_stable: Counts, of_canary: Counts, versions: &Versions) -> String {
    let Versions { stable, canary } = versions;
    let of = |counts: Counts| {
        let (bad, all) = (grouped(counts.failures), grouped(counts.requests));
        format!("{bad} of {all}")
    };
    format!(
        "{} went wrong at {canary}, {} at {stable}",
        of(of_canary),
        of(of_stable)
    )
}

/// With no more digits than a person needs.
fn spoken(value: f64) -> String {
    if value.abs() >= f64::MAX {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let short = format!("{value:.3}");
    match short.trim_end_matches('0').trim_end_matches('.') {
        "0" | "-0" if value != 0.0 => format!("{value:.2e}"),
        short => short.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_as_many_digits_as_a_person_needs() {
        for (value, expected) in [
            (153.0, "153"),
            (0.25, "0.25"),
            (1.0 / 3.0, "0.333"),
            (0.0, "0"),
            (0.000_012_5, "1.25e-5"),
            (-1200.5, "-1200.5"),
            (f64::MAX, "+Inf"),
            (f64::MIN, "-Inf"),
        ] {
            assert_eq!(spoken(value), expected);
        }
    }
}
