//! Results on stdout, and what becomes of the exit code where they cannot be printed.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::arguments::Output;
use super::command_kind::CommandKind;
use super::exit::Exit;
use super::manifest;
use super::screen::{PATIENCE, Screen, layout, patience, redraws};
use crate::error::CommandError;
use crate::foreign_text::root_cause;
use crate::report::{
    Delivered, Format, Layout, Message, OutputQueue, PrintError, StatusList, View, escape, print,
};
use crate::signals::Signals;

/// Gathers a result, and prints it at the end; a watch prints as it goes.
pub(super) struct Printer {
    output: Output,
    stdout: OutputQueue<ToStdout>,
    result: Vec<u8>,
    remarks: Vec<String>,
}

/// Something for stdout.
pub(super) enum ToStdout {
    /// Text that comes once.
    Text(Vec<u8>),
    /// Where something stands, which a later one says again.
    State(Vec<u8>),
    /// The same, in the place of the one before.
    InPlace(String),
}

impl Message for ToStdout {
    fn is_repeatable(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::State(_) | Self::InPlace(_) => true,
        }
    }
}

/// Writes to stdout.
#[derive(Default)]
struct Stdout {
    place: Option<ProgressBar>,
}

impl Stdout {
    fn write(&mut self, message: ToStdout) -> io::Result<()> {
        match message {
            ToStdout::Text(text) | ToStdout::State(text) => {
                self.leave();
                let mut out = io::stdout().lock();
                out.write_all(&text)?;
                out.flush()
            }
            ToStdout::InPlace(text) => {
                let place = self.place.get_or_insert_with(|| {
                    let style = ProgressStyle::with_template("{msg}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner());
                    let target = ProgressDrawTarget::stdout();
                    ProgressBar::with_draw_target(None, target).with_style(style)
                });
                place.set_message(text);
                Ok(())
            }
        }
    }

    /// What stands in place stays there, and whatever comes next stands below it.
    fn leave(&mut self) {
        if let Some(place) = self.place.take() {
            place.abandon();
        }
    }
}

impl Drop for Stdout {
    fn drop(&mut self) {
        self.leave();
    }
}

fn unprinted(error: PrintError) -> CommandError {
    match error {
        PrintError::Write(source) => source.into(),
        other => CommandError::Conflict(other.to_string()),
    }
}

impl Printer {
    /// Prints in this form.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn open(output: Output) -> io::Result<Self> {
        let stdout = OutputQueue::start("stdout", || {
            let mut stdout = Stdout::default();
            Ok(move |message: ToStdout| stdout.write(message))
        })?;
        Ok(Self {
            output,
            stdout,
            result: Vec::new(),
            remarks: Vec::new(),
        })
    }

    /// The format asked for.
    pub fn format(&self) -> Option<Format> {
        self.output.format
    }

    /// How results look.
    pub fn layout(&self, namespaced: bool) -> Layout {
        layout(&self.output, namespaced)
    }

    /// Whether something can stand in place.
    pub fn redraws(&self) -> bool {
        redraws(&io::stdout())
    }

    /// Prints at once.
    pub fn push(&self, message: ToStdout) {
        self.stdout.push(message);
    }

    /// Whether stdout took something no more.
    pub fn has_failed(&self) -> bool {
        self.stdout.has_failed()
    }

    /// A line of the result.
    pub fn say(&mut self, text: &str) {
        self.result.extend(text.bytes().chain([b'\n']));
    }

    /// A line on stderr that follows the result.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// What of the sources of a result could not be read.
    pub fn remark_problems(&mut self, problems: Vec<String>) {
        let warning = |problem: String| format!("warning: {}", escape(&problem));
        self.remarks.extend(problems.iter().cloned().map(warning));
    }

    /// The result.
    ///
    /// # Errors
    /// If it has no form in the format.
    pub fn show<T: View>(&mut self, view: &T, namespaced: bool) -> Result<(), CommandError> {
        let layout = self.layout(namespaced);
        print(&mut self.result, self.output.format, layout, view).map_err(unprinted)
    }

    /// A list, and on stderr what its table has no room for.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub fn show_list(&mut self, list: &StatusList, namespaced: bool) -> Result<(), CommandError> {
        self.show(list, namespaced)?;
        if let None | Some(Format::Wide) = self.output.format {
            let warning = |error| format!("warning: {error}");
            self.remarks.extend(list.errors().into_iter().map(warning));
        }
        Ok(())
    }

    /// Objects to apply.
    ///
    /// # Errors
    /// If they have no form in the format.
    pub fn show_objects(&mut self, list: &Value) -> Result<(), CommandError> {
        manifest::print_objects(&mut self.result, list, self.output.format).map_err(unprinted)
    }

    /// Prints what is left to print, ends all output, and says with which code the process ends.
    ///
    /// Waits for streams that move. An answer waits for its reader, a pager for instance, or a signal.
    pub async fn finish(mut self, mut exit: Exit, kind: CommandKind, screen: Screen) -> Exit {
        // At a terminal the result stands below the lines, and what was left of a panel is gone.
        let is_shown = screen.is_shown().await;
        if !self.result.is_empty() {
            let result = std::mem::take(&mut self.result);
            self.stdout.push(ToStdout::Text(result));
        }
        let (signal, unrecorded) = tokio::join!(self.printed(kind), screen.end_record());
        let unprinted = match signal {
            Some(signal) => {
                exit = signal;
                None
            }
            None => {
                let (code, unprinted) = code_of(exit, kind, &self.stdout.delivery());
                exit = code;
                unprinted
            }
        };
        let remarks = std::mem::take(&mut self.remarks).into_iter();
        for remark in remarks.chain(unrecorded).chain(unprinted) {
            screen.print(remark);
        }
        // Who did not read for so long is not waited for twice.
        let patience = if is_shown { PATIENCE } else { Duration::ZERO };
        screen.finish(patience).await;
        exit
    }

    /// Waits until the result is printed, as long as its kind allows; with the signal's code when that
    /// came first.
    async fn printed(&self, kind: CommandKind) -> Option<Exit> {
        if kind != CommandKind::Answer {
            self.stdout.finish(Some(PATIENCE)).await;
            return None;
        }
        let printed = self.stdout.finish(None);
        let Ok(mut signals) = Signals::of_process() else {
            printed.await;
            return None;
        };
        tokio::select! {
            biased;
            () = printed => None,
            signal = signals.next() => Some(Exit::from(&CommandError::Interrupted(signal))),
        }
    }
}

/// The code of a process whose result was delivered like this, and what there is to say about it.
fn code_of(exit: Exit, kind: CommandKind, delivery: &Delivered) -> (Exit, Option<String>) {
    let why = match &delivery.error {
        // A reader that had enough, like head, is not worth a word.
        Some(error) if kind != CommandKind::Act && error.kind() == io::ErrorKind::BrokenPipe => {
            return (exit, None);
        }
        Some(error) => root_cause(error),
        None if delivery.is_stalled => format!("stdout was not read for {}", patience()),
        None if delivery.lost > 0 => "stdout was read too slowly".to_owned(),
        None => return (exit, None),
    };
    match kind {
        CommandKind::Act => {
            let text = format!("warning: the result could not be printed: {why}");
            (exit, Some(text))
        }
        CommandKind::Watch if delivery.error.is_none() => {
            let (lost, pushed) = (delivery.lost, delivery.pushed);
            let text = format!("warning: {lost} of {pushed} states could not be printed: {why}");
            (exit, Some(text))
        }
        CommandKind::Answer | CommandKind::Watch => {
            let text = format!("error: cannot write the output: {why}");
            let exit = if exit == Exit::Done {
                Exit::Error
            } else {
                exit
            };
            (exit, Some(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: io::ErrorKind) -> Delivered {
        Delivered {
            pushed: 1,
            lost: 1,
            is_stalled: false,
            error: Some(kind.into()),
        }
    }

    fn stalled() -> Delivered {
        Delivered {
            pushed: 1,
            lost: 1,
            is_stalled: true,
            error: None,
        }
    }

    #[test]
    fn no_reader_changes_the_code_of_what_was_done() {
        for exit in Exit::ALL {
            for delivery in [
                failed(io::ErrorKind::BrokenPipe),
                failed(io::ErrorKind::StorageFull),
                stalled(),
            ] {
                let (code, said) = code_of(exit, CommandKind::Act, &delivery);
                assert_eq!(code, exit);
                let said = said.unwrap();
                assert!(
                    said.starts_with("warning: the result could not be printed: "),
                    "{said}"
                );
            }
            assert_eq!(
                code_of(exit, CommandKind::Act, &Delivered::default()),
                (exit, None)
            );
        }
    }

    #[test]
    fn an_answer_that_is_not_printed_is_an_error_unless_its_reader_had_enough() {
        for kind in [CommandKind::Answer, CommandKind::Watch] {
            for exit in Exit::ALL {
                let closed = failed(io::ErrorKind::BrokenPipe);
                assert_eq!(code_of(exit, kind, &closed), (exit, None));
                let full = failed(io::ErrorKind::StorageFull);
                let (code, said) = code_of(exit, kind, &full);
                let expected = if exit == Exit::Done {
                    Exit::Error
                } else {
                    exit
                };
                assert_eq!(code, expected);
                assert!(
                    said.unwrap()
                        .starts_with("error: cannot write the output: ")
                );
            }
        }
    }

    #[test]
    fn a_watch_that_was_not_read_ends_with_its_own_code() {
        let (code, said) = code_of(Exit::Regressed, CommandKind::Watch, &stalled());
        assert_eq!(code, Exit::Regressed);
        let expected = "warning: 1 of 1 states could not be printed: stdout was not read for 2s";
        assert_eq!(said.as_deref(), Some(expected));
    }
}
