//! Flags that change nothing beside what else was typed: whoever gives one relies on it, so it is refused.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::arguments::Command;
use super::command_kind::CommandKind;
use crate::cluster::DryRun;
use crate::commands::{HookArgs, PrometheusArgs};

/// Why a flag that was typed has no effect, if there is one. Variables of the environment are for whichever
/// command has a use for them.
pub(super) fn ineffective_flag(command: &Command, matches: &ArgMatches) -> Option<String> {
    let (name, typed) = matches.subcommand()?;
    let given = |ids: &[String]| {
        let given = ids.iter().find(|id| {
            let is_known = typed.ids().any(|known| known.as_str() == **id);
            is_known && typed.value_source(id) == Some(ValueSource::CommandLine)
        });
        given.map(|id| format!("--{}", id.replace('_', "-")))
    };
    let one = |id: &str| given(&[id.to_owned()]);
    match command {
        Command::Promote(promote) if !promote.args.wait => {
            let driving = [ids::<HookArgs>(), ids::<PrometheusArgs>()].concat();
            let fix = match promote.args.full {
                true => "promote --full without it",
                false => "--wait",
            };
            given(&driving).map(|flag| {
                format!(
                    "{flag}: promote drives and asks Prometheus with --wait alone (try: {fix})"
                )
            })
        }
        Command::Start(start) if start.args.detach.detach => given(&ids::<HookArgs>()).map(|flag| {
            format!(
                "{flag}: the Job of --detach has no shell to run it (try: start without --detach, or for the end kubectl canary status NAME --watch --run RUN and the command after it)"
            )
        }),
        Command::Start(start) if start.args.no_wait => one("on_end").map(|flag| {
            format!(
                "{flag}: start --no-wait exits before the run has ended (try: {flag} with the last promote --wait)"
            )
        }),
        _ if acts(command) => None,
        _ => one("summary")
            .map(|flag| {
                format!(
                    "{flag}: {name} changes nothing that could be summarized (try: kubectl canary report NAME -o markdown)"
                )
            })
            .or(one("notify").map(|flag| {
                format!(
                    "{flag}: {name} changes nothing that could be posted (try: {flag} with start)"
                )
            })),
    }
}

/// Whether it changes a rollout, or would without `--dry-run`, which leaves all else as it was typed.
fn acts(command: &Command) -> bool {
    #[cfg(feature = "demo")]
    if matches!(command, Command::Demo(_)) {
        return false;
    }
    command.kind() == CommandKind::Act || command.dry_run() != DryRun::None
}

fn ids<T: Args>() -> Vec<String> {
    let command = T::augment_args(clap::Command::new("flags"));
    command
        .get_arguments()
        .map(|argument| argument.get_id().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::arguments::Cli;
    use super::super::help;
    use super::*;
    use clap::FromArgMatches;

    fn refused(words: &str) -> Option<String> {
        let words = std::iter::once("kubectl canary").chain(words.split(' '));
        let matches = help::command(false).try_get_matches_from(words).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        ineffective_flag(&cli.command, &matches)
    }

    #[test]
    fn a_flag_without_effect_is_refused_with_what_gives_it_one() {
        for (words, flag, fix) in [
            (
                "promote a --before-step x",
                "--before-step",
                "(try: --wait)",
            ),
            ("promote a --on-end x", "--on-end", "(try: --wait)"),
            ("promote a --prometheus u", "--prometheus", "(try: --wait)"),
            (
                "promote a --prometheus-token-file f",
                "--prometheus-token-file",
                "(try: --wait)",
            ),
            (
                "promote a --full --on-end x",
                "--on-end",
                "(try: promote --full without it)",
            ),
            (
                "start a --detach --before-step x",
                "--before-step",
                "(try: start without --detach",
            ),
            (
                "start a --no-wait --on-end x",
                "--on-end",
                "(try: --on-end with the last promote --wait)",
            ),
            (
                "status a --watch --summary f",
                "--summary",
                "(try: kubectl canary report NAME -o markdown)",
            ),
            (
                "list -A --notify http://h/p",
                "--notify",
                "(try: --notify with start)",
            ),
        ] {
            let refused = refused(words).unwrap_or_default();
            let begins = format!("{flag}: ");
            assert!(refused.starts_with(&begins), "{words}: {refused}");
            assert!(refused.contains(fix), "{words}: {refused}");
        }
    }

    #[test]
    fn a_flag_with_an_effect_is_not() {
        for words in [
            "promote a --wait --before-step x --on-end x --prometheus u",
            "promote a --summary f --notify http://h/p",
            "resume a --before-step x",
            "start a --before-step x --on-end x --summary f",
            "start a --no-wait --before-step x",
            "start a --dry-run --on-end x --summary f",
            "abort a --summary f",
            "status a --watch",
        ] {
            assert_eq!(refused(words), None, "{words}");
        }
    }
}
