//! What the TAB key offers, by kubectl's protocol for plugins.
//!
//! kubectl runs `kubectl_complete-canary` with the words after `canary`, the last of which is the one
//! under completion. krew links one name for a plugin, so the same binary answers to both, and a script that
//! `completion` prints stands for a link.
//! A candidate stands for the value alone: kubectl's scripts put `--flag=` before it.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use serde_json::Value;

use super::help;
use crate::cluster::{Cluster, Connection, connect_unattended};
use crate::context::object_name;
use crate::history::{StateDirectory, copies};
use crate::istio::{Host, VirtualService};
use crate::rollout::{LastRollout, ObjectName, ROLLOUT, Rollout};

/// The name under which kubectl looks for a completer.
const COMPLETER: &str = "kubectl_complete-canary";
/// The command that answers to the same, by the name that it has in cobra's programs.
pub(super) const COMMAND: &str = "__complete";
/// A program of that name, for wherever there can be no link.
pub(super) const PROGRAM: &str = include_str!("../../scripts/kubectl_complete-canary");
/// cobra's directive "no file names".
const NO_FILES: &str = ":4";
/// cobra's directive "file names, if nothing else".
const FILES: &str = ":0";
/// A completion that takes longer feels broken.
const PATIENCE: Duration = Duration::from_secs(1);
/// Commands for rollouts in progress.
const FOR_ROLLOUTS: [&str; 4] = ["promote", "abort", "pause", "resume"];

/// Whether the program was called as a completer.
pub(super) fn is_asked(program: Option<&OsStr>) -> bool {
    let stem = program.and_then(|program| Path::new(program).file_stem());
    stem.is_some_and(|stem| stem == COMPLETER)
}

/// The answer to kubectl: a candidate a line, then the directive. Whatever fails offers nothing.
pub(super) fn answer(words: &[String]) -> String {
    let mut command = help::command(false);
    command.build();
    let place = TypedWord::of(&command, words);
    let (fixed, begun) = place.fixed();
    let candidates = place.candidates().into_iter();
    let fits = candidates.filter(|candidate| candidate.value.starts_with(begun));
    let mut lines: Vec<_> = fits.map(|candidate| candidate.line(fixed)).collect();
    lines.push(if place.takes_file() { FILES } else { NO_FILES }.to_owned());
    lines.join("\n")
}

/// Something that may be typed, and what it means.
struct Candidate {
    value: String,
    help: Option<String>,
}

impl Candidate {
    fn line(&self, fixed: &str) -> String {
        match &self.help {
            Some(help) => format!("{fixed}{}\t{help}", self.value),
            None => format!("{fixed}{}", self.value),
        }
    }

    fn of_possible(value: &PossibleValue) -> Self {
        Self {
            value: value.get_name().to_owned(),
            help: value
                .get_help()
                .and_then(|help| first_line(&help.to_string())),
        }
    }
}

impl From<String> for Candidate {
    fn from(value: String) -> Self {
        Self { value, help: None }
    }
}

fn first_line(text: &str) -> Option<String> {
    text.lines().next().map(|line| line.replace('\t', " "))
}

/// What the word under completion is.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    /// A command or an argument without a flag.
    Word,
    /// A flag.
    Flag,
    /// The value of a flag.
    Value(&'a Arg),
}

/// Where the word under completion stands.
struct TypedWord<'a> {
    /// The command.
    command: &'a Command,
    /// The command's arguments before it that have no flag.
    plain: Vec<&'a str>,
    /// The flags before it, each with its value.
    given: Vec<(&'a Arg, Option<&'a str>)>,
    wanted: Wanted<'a>,
    /// As far as it was typed; of `--flag=value` the value.
    begun: &'a str,
}

impl<'a> TypedWord<'a> {
    fn of(root: &'a Command, words: &'a [String]) -> Self {
        let (begun, before) = words
            .split_last()
            .map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
        let mut place = Self {
            command: root,
            plain: Vec::new(),
            given: Vec::new(),
            wanted: Wanted::Word,
            begun,
        };
        let mut pending = None;
        for word in before {
            if let Some(arg) = pending.take() {
                place.given.push((arg, Some(word)));
            } else if let Some((arg, value)) = place.flag(word) {
                if value.is_none() && takes_next_word(arg) {
                    pending = Some(arg);
                } else {
                    place.given.push((arg, value));
                }
            } else if !word.starts_with('-') {
                let sub = root.find_subcommand(word);
                match sub.filter(|_| std::ptr::eq(place.command, root)) {
                    Some(sub) => place.command = sub,
                    None => place.plain.push(word),
                }
            }
        }
        if let Some(arg) = pending {
            place.wanted = Wanted::Value(arg);
        } else if let (Some((arg, Some(value))), true) = (place.flag(begun), begun.contains('=')) {
            place.wanted = Wanted::Value(arg);
            place.begun = value;
        } else if begun.starts_with('-') {
            place.wanted = Wanted::Flag;
        }
        place
    }

    /// The flag that a word names, and the value in the same word.
    fn flag(&self, word: &'a str) -> Option<(&'a Arg, Option<&'a str>)> {
        let find =
            |is_it: &dyn Fn(&Arg) -> bool| self.command.get_arguments().find(|arg| is_it(arg));
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            return find(&|arg| arg.get_long() == Some(name)).map(|arg| (arg, value));
        }
        let letters = word.strip_prefix('-')?;
        for (at, letter) in letters.char_indices() {
            let arg = find(&|arg| arg.get_short() == Some(letter))?;
            let rest = &letters[at + letter.len_utf8()..];
            if arg.get_action().takes_values() || rest.is_empty() {
                let value = rest.strip_prefix('=').unwrap_or(rest);
                return Some((arg, Some(value).filter(|_| !rest.is_empty())));
            }
        }
        None
    }

    /// What of the word under completion stays: the items of a list, or the kind before a name.
    fn fixed(&self) -> (&'a str, &'a str) {
        let end = match self.wanted {
            Wanted::Value(arg) => {
                let delimiter = arg.get_value_delimiter();
                delimiter.and_then(|delimiter| self.begun.rfind(delimiter))
            }
            Wanted::Word if self.names_object() => self.begun.rfind('/'),
            Wanted::Word | Wanted::Flag => None,
        };
        self.begun.split_at(end.map_or(0, |at| at + 1))
    }

    /// The argument without a flag that comes next.
    fn positional(&self) -> Option<&'a Arg> {
        self.command.get_positionals().nth(self.plain.len())
    }

    /// Whether the word under completion is the name of a VirtualService.
    fn names_object(&self) -> bool {
        self.positional().is_some_and(|arg| arg.get_id() == "name")
    }

    fn takes_file(&self) -> bool {
        match self.wanted {
            Wanted::Value(arg) => {
                arg.get_value_hint() == ValueHint::AnyPath
                    || arg
                        .get_value_names()
                        .is_some_and(|names| names[0] == "FILE")
            }
            Wanted::Word | Wanted::Flag => false,
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        match self.wanted {
            Wanted::Flag => self.flags(),
            Wanted::Word if self.names_object() => self.objects(),
            Wanted::Word => match self.positional() {
                Some(arg) if arg.get_id() != "subcommand" => possible(arg),
                _ => self.commands(),
            },
            Wanted::Value(arg) => self.values(arg),
        }
    }

    /// The commands below this one; below `help` those of the root.
    fn commands(&self) -> Vec<Candidate> {
        let subs = self.command.get_subcommands();
        let shown = subs.filter(|sub| !sub.is_hide_set() && self.plain.is_empty());
        let candidate = |sub: &Command| Candidate {
            value: sub.get_name().to_owned(),
            help: sub
                .get_about()
                .and_then(|about| first_line(&about.to_string())),
        };
        shown.map(candidate).collect()
    }

    /// The flags that may still be given; the command's own before those of every command.
    fn flags(&self) -> Vec<Candidate> {
        let repeats = |arg: &Arg| matches!(arg.get_action(), ArgAction::Append | ArgAction::Count);
        let is_given = |arg: &Arg| {
            self.given
                .iter()
                .any(|(given, _)| given.get_id() == arg.get_id())
        };
        let mut offered: Vec<_> = self
            .command
            .get_arguments()
            .filter(|arg| !arg.is_hide_set() || arg.is_global_set())
            .filter(|arg| repeats(arg) || !is_given(arg))
            .collect();
        offered.sort_by_key(|arg| arg.is_global_set());
        let candidate = |arg: &&Arg| {
            let help = arg.get_help().map(ToString::to_string);
            Some(Candidate {
                value: format!("--{}", arg.get_long()?),
                help: help.and_then(|help| first_line(&help)),
            })
        };
        offered.iter().filter_map(candidate).collect()
    }

    /// What may be the value of a flag.
    fn values(&self, arg: &Arg) -> Vec<Candidate> {
        let names = match arg.get_long().unwrap_or_default() {
            flag @ ("context" | "cluster" | "user") => self.connection().names_in_kubeconfig(flag),
            "namespace" => self.ask(async |cluster, _| cluster.namespaces().await.ok()),
            "also" => return self.objects(),
            "canary" | "stable" => self.versions(),
            "route" => self.routes(),
            "run" => self.runs(),
            _ => return possible(arg),
        };
        names.into_iter().map(Candidate::from).collect()
    }

    /// The VirtualServices; for a command that needs a rollout those that have one, if there are any.
    fn objects(&self) -> Vec<Candidate> {
        let needs_rollout = FOR_ROLLOUTS.contains(&self.command.get_name());
        let found = self.ask(async |cluster, namespace| {
            let named = |vs: VirtualService| {
                let in_progress = vs.annotation(ROLLOUT).is_some();
                (vs.name().to_owned(), in_progress)
            };
            let found = cluster.virtual_services(Some(&namespace), |_| true, named);
            let mut found = found.await.ok()?;
            if needs_rollout && found.iter().any(|(_, in_progress)| *in_progress) {
                found.retain(|(_, in_progress)| *in_progress);
            }
            Some(found.into_iter().map(|(name, _)| name).collect())
        });
        found.into_iter().map(Candidate::from).collect()
    }

    /// What `--canary` may name: destinations of the object's routes, and subsets of their hosts.
    fn versions(&self) -> Vec<String> {
        self.ask_of_object(async |cluster, vs| {
            let targets = || vs.routes().iter().flat_map(|route| &route.targets);
            let mut names: Vec<_> = targets().map(|it| it.destination.to_string()).collect();
            let rules = cluster
                .destination_rules(Some(vs.namespace()), |_| true)
                .await;
            for rule in rules.unwrap_or_default() {
                let host = rule.pointer("/spec/host").and_then(Value::as_str);
                let host = Host::resolve(host.unwrap_or_default(), vs.namespace());
                if targets().any(|target| target.destination.host == host) {
                    let subsets = rule.pointer("/spec/subsets").and_then(Value::as_array);
                    let subsets = subsets.into_iter().flatten();
                    let subsets = subsets.filter_map(|subset| subset["name"].as_str());
                    names.extend(subsets.map(str::to_owned));
                }
            }
            names
        })
    }

    /// What `--route` may name.
    fn routes(&self) -> Vec<String> {
        self.ask_of_object(async |_, vs| {
            let name = |route: &crate::istio::Route| {
                route.name.clone().unwrap_or_else(|| route.at.to_string())
            };
            vs.routes().iter().map(name).collect()
        })
    }

    /// The runs of the object: the one in progress, for commands that end or watch it, or those on record.
    fn runs(&self) -> Vec<String> {
        let of_records = ["report", "analyze"].contains(&self.command.get_name());
        let connection = self.connection();
        self.ask_of_object(async |cluster, vs| {
            let rollout = Rollout::read(&vs).ok().flatten().map(|rollout| rollout.run);
            let last = LastRollout::read(&vs).ok().flatten().map(|last| last.run);
            let mut runs: Vec<_> = rollout.into_iter().chain(last).collect();
            if of_records {
                let object = ObjectName::of(&vs);
                let server = connection.server_name().await;
                let here = StateDirectory::of(&server, |key| std::env::var_os(key));
                runs.extend(here.into_iter().flat_map(|here| here.runs(&object)));
                let copies = copies(cluster, &object).await.unwrap_or_default();
                let copies = copies.iter().flatten();
                runs.extend(copies.map(|record| record.run().to_owned()));
            }
            runs
        })
    }

    fn ask_of_object(
        &self,
        question: impl AsyncFnOnce(&Cluster, VirtualService) -> Vec<String>,
    ) -> Vec<String> {
        let name = self.plain.first().and_then(|name| object_name(name).ok());
        let Some(name) = name.map(str::to_owned) else {
            return Vec::new();
        };
        self.ask(async |cluster, namespace| {
            let vs = cluster.virtual_service(&namespace, &name).await.ok()?;
            Some(question(&cluster, vs).await)
        })
    }

    /// Asks the cluster that the flags lead to, for a moment; each name once.
    fn ask(
        &self,
        question: impl AsyncFnOnce(Cluster, String) -> Option<Vec<String>>,
    ) -> Vec<String> {
        let connection = self.connection();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else {
            return Vec::new();
        };
        let asked = async {
            let connected = connect_unattended(&connection, "completion").await.ok()?;
            let cluster = Cluster::new(connected.client, PATIENCE);
            question(cluster, connected.namespace).await
        };
        let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
        runtime.shutdown_background();
        let mut names = found.ok().flatten().unwrap_or_default();
        names.retain(|name| !name.contains(char::is_control));
        names.sort();
        names.dedup();
        names
    }

    /// The flags for the cluster, as far as they are given.
    fn connection(&self) -> Connection {
        let command = Connection::augment_args(Command::new("completion").no_binary_name(true));
        let given = self.given.iter().filter(|(arg, _)| arg.is_global_set());
        let words = given.filter_map(|(arg, value)| {
            let long = arg.get_long()?;
            Some(value.map_or(format!("--{long}"), |value| format!("--{long}={value}")))
        });
        let mut command = command.ignore_errors(true);
        let matches: Option<ArgMatches> = command.try_get_matches_from_mut(words).ok();
        let connection = matches.and_then(|matches| Connection::from_arg_matches(&matches).ok());
        connection.unwrap_or_default()
    }
}

/// Whether a flag without `=` is followed by its value.
fn takes_next_word(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

fn possible(arg: &Arg) -> Vec<Candidate> {
    let values = arg.get_possible_values();
    let shown = values.iter().filter(|value| !value.is_hide_set());
    shown.map(Candidate::of_possible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    /// The candidates without their help, and the directive.
    fn offered(line: &str) -> (Vec<String>, String) {
        let text = answer(&words(line));
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
            .collect();
        let directive = lines.pop().unwrap();
        (lines, directive)
    }

    #[test]
    fn commands_and_flags_are_offered_by_kubectls_protocol() {
        let text = answer(&words("pro"));
        assert_eq!(text, "promote\tApprove a gate, or advance one step\n:4");
        assert!(answer(&words("start reviews --on-in")).starts_with("--on-inconclusive\t"));
        assert!(answer(&words("start reviews --on-drift re")).starts_with("reassert\t"));
    }

    #[test]
    fn each_place_has_its_own_candidates() {
        for (line, expected) in [
            ("start --preset car", "careful"),
            ("start --preset=car", "careful"),
            ("start reviews --on-drift=re", "reassert"),
            ("start reviews --dry-run=s", "server"),
            ("help star", "start"),
            ("-n shop opt", "options"),
            ("schema plan-f", "plan-file"),
            ("start --kubec", "--kubeconfig"),
            ("status reviews -o js", "json"),
            ("start -f canary.yaml --detach --on-signal h", "hold"),
        ] {
            let (lines, directive) = offered(line);
            assert_eq!(
                (lines.join(" ").as_str(), directive.as_str()),
                (expected, ":4"),
                "{line}"
            );
        }
        for line in [
            "start -f ",
            "start --filename=can",
            "simulate --html x",
            "start --client-certificate ",
        ] {
            assert_eq!(offered(line), (vec![], ":0".to_owned()), "{line}");
        }
        for line in [
            "start reviews --dwell ",
            "start reviews again ",
            "help start ",
            "start x --begin",
        ] {
            let (lines, directive) = offered(line);
            assert!(!lines.contains(&"--begin-by".to_owned()), "{line}");
            assert_eq!(directive, ":4", "{line}");
        }
    }

    #[test]
    fn flags_come_only_after_a_dash_and_only_once() {
        let (commands, _) = offered("");
        assert!(commands.contains(&"start".to_owned()), "{commands:?}");
        for line in ["", "st", "simulate ", "schema ", "start reviews "] {
            let (lines, _) = offered(line);
            assert!(
                lines.iter().all(|word| !word.starts_with('-')),
                "{line}: {lines:?}"
            );
        }
        let (flags, _) = offered("start reviews -");
        assert!(flags.iter().all(|flag| flag.starts_with("--")), "{flags:?}");
        let at = |flag: &str| flags.iter().position(|other| other == flag);
        assert!(at("--canary") < at("--kubeconfig"), "{flags:?}");
        let (flags, _) = offered("start reviews --canary v2 --query-scope a=b --");
        assert!(!flags.contains(&"--canary".to_owned()), "{flags:?}");
        assert!(flags.contains(&"--query-scope".to_owned()), "{flags:?}");
    }

    #[test]
    fn a_name_is_wanted_only_where_one_may_stand() {
        let mut command = help::command(false);
        command.build();
        for (line, expected) in [
            ("abort ", true),
            ("abort rev", true),
            ("-n shop abort rev", true),
            ("-nshop abort rev", true),
            ("abort -n shop rev", true),
            ("abort -n sh", false),
            ("abort --dry-run rev", true),
            ("abort reviews x", false),
            ("abort --", false),
            ("status -w ", true),
            ("report ", true),
            ("history ", true),
            ("analyze ", true),
            ("ab", false),
            ("demo ", false),
        ] {
            let words = words(line);
            let place = TypedWord::of(&command, &words);
            let wanted = matches!(place.wanted, Wanted::Word) && place.names_object();
            assert_eq!(wanted, expected, "{line}");
        }
    }

    #[test]
    fn the_program_knows_by_its_name_that_it_is_asked() {
        assert!(is_asked(Some(OsStr::new("/bin/kubectl_complete-canary"))));
        assert!(!is_asked(Some(OsStr::new("/bin/kubectl-canary"))));
        assert!(!is_asked(None));
    }
}
