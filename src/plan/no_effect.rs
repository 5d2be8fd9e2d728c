//! Options that would be taken without doing anything: who sets one expects something of it.

use super::{AnalysisKind, Options, PlanError};

impl Options {
    /// Fails on the first option that has no effect beside the others.
    ///
    /// Options that only allow something (`--unanalyzed`, `--ignore-owner`) may be left over.
    pub(super) fn check_effect(&self) -> Result<(), PlanError> {
        let analysis = self.analysis.unwrap_or_default();
        let is_threshold = analysis == AnalysisKind::Threshold;
        let has_limit = is_threshold || self.max_error_rate.is_some();
        let last = self
            .steps
            .as_ref()
            .and_then(|steps| steps.as_slice().last());
        let holds_at_last = last.is_some_and(|step| step.hold.is_some());
        let sequential = "with --analysis threshold, which goes by fixed limits";
        let without = [
            (
                "--margin",
                self.margin.is_some() && !is_threshold,
                "without --analysis threshold",
                "--tolerance",
            ),
            (
                "--min-requests",
                self.min_requests.is_some() && !has_limit,
                "without --analysis threshold or --max-error-rate",
                "without it: the sequential analysis knows by itself when the requests are enough",
            ),
            (
                "--tolerance",
                self.tolerance.is_some() && is_threshold,
                sequential,
                "--margin",
            ),
            (
                "--preset",
                self.preset.is_some() && is_threshold,
                sequential,
                "--dwell and --min-requests",
            ),
            (
                "--ignore-latency",
                self.ignore_latency && is_threshold,
                sequential,
                "without it: durations are not judged anyway",
            ),
            (
                "--warmup",
                self.warmup.is_some() && is_threshold && self.guard.is_empty(),
                sequential,
                "without it, or a longer --dwell",
            ),
            (
                "--bake",
                self.bake.is_some() && holds_at_last,
                "where --steps says how long the last one holds",
                "one of the two",
            ),
        ];
        match without.into_iter().find(|(_, is_idle, ..)| *is_idle) {
            Some((option, _, why, fix)) => Err(PlanError::NoEffect { option, why, fix }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Plan;
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn an_option_without_effect_is_refused_with_what_would_have_one() {
        for (flags, refused) in [
            ("--margin 1%", Some("--margin")),
            ("--analysis threshold --margin 1%", None),
            ("--min-requests 5", Some("--min-requests")),
            ("--min-requests 5 --max-error-rate 1%", None),
            ("--min-requests 5 --analysis threshold", None),
            ("--tolerance 1%", None),
            ("--tolerance 1% --analysis threshold", Some("--tolerance")),
            ("--preset quick --analysis threshold", Some("--preset")),
            (
                "--ignore-latency --analysis threshold",
                Some("--ignore-latency"),
            ),
            ("--warmup 5s --analysis threshold", Some("--warmup")),
            ("--warmup 5s --analysis sequential", None),
            ("--bake 5m --steps 10,100:5m", Some("--bake")),
            ("--bake 5m --steps 10:5m,100", None),
            ("--unanalyzed --ignore-owner", None),
        ] {
            let words = ["start"].into_iter().chain(flags.split(' '));
            let options = Command::parse_from(words).options;
            let error = Plan::resolve(options).err().map(|error| error.to_string());
            let expected = refused.map(|option| format!("{option} has no effect"));
            match (&error, &expected) {
                (None, None) => {}
                (Some(error), Some(expected)) => {
                    assert!(error.starts_with(expected.as_str()), "{flags}: {error}");
                    assert_eq!(error.matches("(try: ").count(), 1, "{error}");
                }
                _ => panic!("{flags}: {error:?}"),
            }
        }
    }
}
