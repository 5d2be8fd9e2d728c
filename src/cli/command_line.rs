//! What was typed, as a command, a text or what is wrong with it.

use std::io;

use clap::FromArgMatches;

use super::arguments::Cli;
use super::completion;
use super::help;
use super::ineffective_flag::ineffective_flag;
use crate::foreign_text::foreign_text;
use crate::report::escape;

/// What the command line asks for.
pub(super) enum CommandLine {
    Command(Box<Cli>),
    /// Text on stdout: help, the version, a completion.
    Text(String),
    /// Nothing that can be done, and why.
    Wrong(String),
}

impl CommandLine {
    /// Reads the words this process was started with.
    pub(super) fn of_process() -> Self {
        let mut words = std::env::args_os().peekable();
        let is_completer = completion::is_asked(words.next().as_deref());
        if is_completer || words.next_if(|word| word == completion::COMMAND).is_some() {
            let words: Vec<_> = words
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            return Self::Text(completion::answer(&words));
        }
        let is_long = std::env::args_os()
            .nth(1)
            .is_some_and(|word| word == "help");
        let parsed = help::command(is_long).try_get_matches();
        match parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
            Ok((cli, matches)) => match ineffective_flag(&cli.command, &matches) {
                None => Self::Command(Box::new(cli)),
                Some(why) => Self::Wrong(format!("error: {why}")),
            },
            Err(error) if error.use_stderr() => Self::Wrong(usage_error(&error)),
            // Help and version are results.
            Err(error) => {
                let text = error.render();
                let text = if anstream::AutoStream::choice(&io::stdout())
                    == anstream::ColorChoice::Never
                {
                    text.to_string()
                } else {
                    text.ansi().to_string()
                };
                Self::Text(text.trim_end().to_owned())
            }
        }
    }
}

/// clap's error as one line of ours, with one advice.
fn usage_error(error: &clap::Error) -> String {
    let text = error.render().to_string();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return text.trim_end().to_owned();
    }
    let (mut message, mut fix, mut usage) = (Vec::new(), None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let values = line.strip_prefix("[possible values: ");
        if let Some(tip) = line.strip_prefix("tip: ") {
            fix = fix.or(tip
                .rsplit_once(": ")
                .map(|(_, words)| words.replace('\'', "")));
        } else if let Some(values) = values {
            fix = fix.or(Some(values.trim_end_matches(']').to_owned()));
        } else if let Some(line) = line.strip_prefix("Usage: ") {
            let ends = [" [", " <", " -"].iter().filter_map(|end| line.find(end));
            usage = Some(line[..ends.min().unwrap_or(line.len())].to_owned());
        } else if !line.starts_with("For more information") {
            message.push(line);
        }
    }
    // It repeats what was typed, which may be a password in the wrong place.
    let message = foreign_text(&message.join(" "));
    if message.contains("(try: ") {
        return escape(&message).into_owned();
    }
    let help = || {
        format!(
            "{} --help",
            usage.unwrap_or_else(|| "kubectl canary".into())
        )
    };
    escape(&format!("{message} (try: {})", fix.unwrap_or_else(help))).into_owned()
}
