//! What `--help` shows: examples first, then the flags that most people need.
//!
//! `kubectl canary help COMMAND` lists every flag of a command, and `kubectl canary options` those of every
//! command, as `kubectl options` does.

use clap::{Arg, ArgAction, Args, Command, CommandFactory};

use super::arguments::{Cli, Output};
use crate::cluster::Connection;

/// For commands with more flags than fit on a screen: those that `--help` shows.
const SHORT: [(&str, &[&str]); 4] = [
    (
        "start",
        &[
            "canary",
            "steps",
            "preset",
            "filename",
            "prometheus",
            "on_inconclusive",
            "detach",
            "dry_run",
        ],
    ),
    (
        "plan",
        &[
            "canary",
            "steps",
            "preset",
            "filename",
            "prometheus",
            "dry_run",
        ],
    ),
    (
        "analyze",
        &[
            "canary",
            "preset",
            "filename",
            "prometheus",
            "since",
            "from",
            "to",
        ],
    ),
    (
        "simulate",
        &[
            "steps",
            "preset",
            "filename",
            "requests_per_second",
            "stable_errors",
            "canary_errors",
            "regression_after",
            "runs",
            "html",
        ],
    ),
];

/// What the flags for a login at Prometheus begin with, which few need.
const LOGIN: &str = "prometheus_";

/// A global flag that is a command's own in kubectl, too.
const SHOWN: &str = "format";

const TEMPLATE: &str = "{about}{after-help}\n\n{usage-heading} {usage}\n\n{all-args}\n\n";

const GLOBAL: &str = "Use \"kubectl canary options\" for the flags of every command, such as -n.";

/// What may be typed, with its help: the short one for `--help`, the long one for `help COMMAND`. The short one
/// has no headings, which would be as many lines as flags.
pub(super) fn command(is_long: bool) -> Command {
    // -h and --help are the same to users of kubectl.
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::HelpShort)
        .global(true)
        .hide(true)
        .help("Print the help of a command.");
    Cli::command()
        .disable_help_flag(true)
        .arg(help)
        .mut_args(|arg| {
            let is_hidden = arg.is_global_set() && arg.get_id() != SHOWN;
            if is_hidden { arg.hide(true) } else { arg }
        })
        .help_template(format!(
            "{TEMPLATE}Use \"kubectl canary COMMAND --help\" for more about a command.\n{GLOBAL}"
        ))
        .mut_subcommands(|sub| {
            let name = sub.get_name().to_owned();
            let short = SHORT.iter().find(|(short, _)| *short == name);
            let is_shown = |arg: &Arg| match (short, arg.get_id().as_str()) {
                (Some((_, shown)), id) => arg.is_positional() || shown.contains(&id),
                (None, id) => !id.starts_with(LOGIN),
            };
            if sub.get_arguments().all(is_shown) {
                return sub.help_template(format!("{TEMPLATE}{GLOBAL}"));
            }
            sub.mut_args(|arg| {
                let is_hidden = !is_shown(&arg);
                let arg = arg.hide_short_help(is_hidden);
                if is_long {
                    arg
                } else {
                    arg.help_heading(None::<&'static str>).hide_env(true)
                }
            })
            .help_template(format!(
                "{TEMPLATE}Use \"kubectl canary help {name}\" for all flags of this command.\n{GLOBAL}"
            ))
        })
}

/// What may be typed, with every flag, for man pages.
pub fn documented() -> Command {
    Cli::command().disable_help_subcommand(true)
}

/// What `kubectl canary options` prints.
pub(super) fn options() -> String {
    let command = Command::new("options")
        .disable_help_flag(true)
        .max_term_width(100)
        .help_template("The following options can be passed to any command:\n\n{options}");
    let mut command = Connection::augment_args(Output::augment_args(command));
    command.render_help().to_string().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The help of every command as it is on a terminal of 80 columns, by the command's name.
    fn helps(is_long: bool) -> Vec<(String, String)> {
        let mut command = command(is_long).term_width(80);
        command.build();
        let help = |command: &mut Command| {
            let name = command.get_name().to_owned();
            let text = if is_long {
                command.render_long_help()
            } else {
                command.render_help()
            };
            (name, text.to_string())
        };
        let mut all = vec![help(&mut command)];
        let subs = command.get_subcommands_mut();
        all.extend(subs.filter(|sub| sub.get_name() != "help").map(help));
        all
    }

    #[test]
    fn help_fits_on_a_screen_and_shows_examples_first() {
        for (name, text) in helps(false) {
            assert!(text.lines().count() <= 52, "{name}:\n{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
            let at = |what: &str| {
                let at = text.find(what);
                at.unwrap_or_else(|| panic!("{name}: no {what:?} in\n{text}"))
            };
            if !["options", "version"].contains(&name.as_str()) {
                assert!(
                    at("\nExamples:\n  #") < at("\nUsage: kubectl canary"),
                    "{text}"
                );
            }
            assert!(
                at("\nUsage: kubectl canary") < at("kubectl canary options\" for"),
                "{text}"
            );
        }
    }

    #[test]
    fn every_flag_is_listed_somewhere() {
        let (short, long, global) = (helps(false), helps(true), options());
        let mut command = command(true);
        command.build();
        let mut hidden = 0;
        for sub in command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
        {
            let text = |all: &[(String, String)]| {
                let found = all.iter().find(|(name, _)| name == sub.get_name());
                found.map(|(_, text)| text.clone()).unwrap_or_default()
            };
            let (short, long) = (text(&short), text(&long));
            for long_flag in sub.get_arguments().filter_map(Arg::get_long) {
                // The Job's own.
                if ["begin-by", "help"].contains(&long_flag) {
                    continue;
                }
                let is_in = |text: &str| {
                    let words = text.split(|char: char| !(char.is_alphanumeric() || char == '-'));
                    words
                        .into_iter()
                        .any(|word| word == format!("--{long_flag}"))
                };
                let is_short = is_in(&short);
                hidden += usize::from(!is_short);
                assert!(
                    is_short || is_in(&long) || is_in(&global),
                    "{} --{long_flag}",
                    sub.get_name()
                );
            }
            assert!(!long.contains("--kubeconfig"), "{long}");
        }
        assert!(hidden > 100, "{hidden}");
    }

    #[test]
    fn the_flags_to_show_exist() {
        let command = command(true);
        for (name, shown) in SHORT {
            let sub = command.find_subcommand(name).unwrap();
            for id in shown {
                assert!(
                    sub.get_arguments().any(|arg| arg.get_id() == id),
                    "{name} {id}"
                );
            }
        }
        assert!(command.get_arguments().any(|arg| arg.get_id() == SHOWN));
    }

    #[test]
    fn both_spellings_show_the_same_and_help_shows_all() {
        let help = |words: &[&str]| {
            let line = std::iter::once(&"kubectl-canary").chain(words);
            command(words[0] == "help")
                .try_get_matches_from(line)
                .unwrap_err()
                .to_string()
        };
        let short = help(&["start", "--help"]);
        assert_eq!(help(&["start", "-h"]), short);
        assert!(
            short.contains("--canary") && !short.contains("--metrics-grace"),
            "{short}"
        );
        assert!(help(&["help", "start"]).contains("--metrics-grace"));
    }
}
