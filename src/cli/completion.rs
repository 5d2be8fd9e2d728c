//! What the TAB key offers, by kubectl's protocol for plugins.
//!
//! kubectl runs `kubectl_complete-canary` with the words after `canary`, the last of which is the one
//! under completion. krew links one name for a plugin, so the same binary answers to both.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::engine;

use super::arguments::Cli;
use crate::cluster::{Cluster, Connection, connect};
use crate::istio::VirtualService;

/// The name under which kubectl looks for a completer.
const COMPLETER: &str = "kubectl_complete-canary";
/// cobra's directive "no file names".
const NO_FILES: &str = ":4";
/// A completion that takes longer feels broken.
const PATIENCE: Duration = Duration::from_secs(1);
/// Commands whose first argument is a VirtualService.
const TAKE_A_NAME: [&str; 8] = [
    "start", "promote", "abort", "undo", "pause", "resume", "status", "plan",
];

/// The flag whose value is one.
const TAKES_A_NAME: &str = "--also";

/// Whether the program was called as a completer.
pub(super) fn is_asked(program: Option<&OsStr>) -> bool {
    let stem = program.and_then(|program| Path::new(program).file_stem());
    stem.is_some_and(|stem| stem == COMPLETER)
}

/// The answer to kubectl: a candidate a line, then the directive. Whatever fails offers nothing.
pub(super) fn answer(words: &[String]) -> String {
    let mut lines = flags_and_commands(words);
    if wants_name(words) {
        lines.extend(names(words).unwrap_or_default());
    }
    lines.push(NO_FILES.to_owned());
    lines.join("\n")
}

fn flags_and_commands(words: &[String]) -> Vec<String> {
    let program = std::iter::once(OsString::from("kubectl-canary"));
    let words: Vec<_> = program.chain(words.iter().map(OsString::from)).collect();
    let index = words.len().saturating_sub(1).max(1);
    let found = engine::complete(&mut Cli::command(), words, index, None);
    let line = |candidate: &engine::CompletionCandidate| {
        let value = candidate.get_value().to_string_lossy().into_owned();
        match candidate.get_help() {
            Some(help) => format!(
                "{value}\t{}",
                help.to_string().lines().next().unwrap_or_default()
            ),
            None => value,
        }
    };
    found.unwrap_or_default().iter().map(line).collect()
}

/// Whether the last word is where a VirtualService is named.
fn wants_name(words: &[String]) -> bool {
    let Some((last, before)) = words.split_last() else {
        return false;
    };
    if before.last().is_some_and(|word| word == TAKES_A_NAME) {
        return true;
    }
    let mut plain = Vec::new();
    let mut value_follows = false;
    for word in before {
        if value_follows {
            value_follows = false;
        } else if word.starts_with('-') {
            value_follows = takes_value(word) && !word.contains('=');
        } else {
            plain.push(word.as_str());
        }
    }
    let alone = matches!(plain.as_slice(), [command] if TAKE_A_NAME.contains(command));
    alone && !value_follows && !last.starts_with('-')
}

/// Whether a flag is followed by its value.
fn takes_value(flag: &str) -> bool {
    let mut command = Cli::command();
    command.build();
    let mut flags = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments);
    flags.any(|argument| {
        let long = argument
            .get_long()
            .is_some_and(|long| flag.strip_prefix("--") == Some(long));
        let short = argument
            .get_short()
            .is_some_and(|short| flag == format!("-{short}"));
        (long || short) && argument.get_action().takes_values()
    })
}

/// The value given for a flag, in either spelling.
fn value_of(words: &[String], names: &[&str]) -> Option<String> {
    words
        .iter()
        .enumerate()
        .find_map(|(index, word)| match word.split_once('=') {
            Some((name, value)) if names.contains(&name) => Some(value.to_owned()),
            _ if names.contains(&word.as_str()) => words.get(index + 1).cloned(),
            _ => None,
        })
}

fn names(words: &[String]) -> Option<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let connection = Connection {
        kubeconfig: value_of(words, &["--kubeconfig"]).map(Into::into),
        context: value_of(words, &["--context"]),
        cluster: value_of(words, &["--cluster"]),
        user: value_of(words, &["--user"]),
        namespace: value_of(words, &["--namespace", "-n"]),
        ..Connection::default()
    };
    let list = async {
        let connected = connect(&connection, "completion").await.ok()?;
        let found = Cluster::new(connected.client, PATIENCE)
            .virtual_services(
                Some(&connected.namespace),
                |_| true,
                |vs: VirtualService| vs.name().to_owned(),
            )
            .await
            .ok()?;
        Some(found)
    };
    let bounded = async { tokio::time::timeout(PATIENCE, list).await.ok()? };
    let found: Vec<String> = runtime.block_on(bounded)?;
    let begun = words.last().map_or("", String::as_str);
    Some(
        found
            .into_iter()
            .filter(|name| name.starts_with(begun))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn commands_and_flags_are_offered_by_kubectls_protocol() {
        let text = answer(&words("pro"));
        assert_eq!(text, "promote\tApprove a gate, or advance one step\n:4");
        assert!(answer(&words("start reviews --on-in")).starts_with("--on-inconclusive\t"));
        assert!(answer(&words("start reviews --on-drift re")).starts_with("reassert\t"));
    }

    #[test]
    fn a_name_is_wanted_only_where_one_may_stand() {
        for (line, expected) in [
            ("abort ", true),
            ("abort rev", true),
            ("-n shop abort rev", true),
            ("abort -n shop rev", true),
            ("abort -n sh", false),
            ("abort reviews x", false),
            ("abort --", false),
            ("start reviews --also st", true),
            ("start --also storefront rev", true),
            ("ab", false),
            ("demo ", false),
        ] {
            assert_eq!(wants_name(&words(line)), expected, "{line}");
        }
    }

    #[test]
    fn the_program_knows_by_its_name_that_it_is_asked() {
        assert!(is_asked(Some(OsStr::new("/bin/kubectl_complete-canary"))));
        assert!(!is_asked(Some(OsStr::new("/bin/kubectl-canary"))));
        assert!(!is_asked(None));
    }
}
