//! How `--watch` shows what it sees on stdout.

use std::io::Write;
use std::time::Duration;

use super::printer::{Printer, ToStdout};
use crate::commands::Glance;
use crate::error::CommandError;
use crate::report::{Format, Layout, PrintError, StatusList, StatusRow, View, print};

/// How often the ages are drawn anew where they stand in place.
const TICK: Duration = Duration::from_secs(1);

/// Shows one state after the other: a person sees the newest in place, a log gets a line for each, a
/// program a document for each.
pub(super) struct WatchOutput<'a> {
    printer: &'a Printer,
    format: Option<Format>,
    layout: Layout,
    in_place: bool,
    shown: usize,
}

impl<'a> WatchOutput<'a> {
    /// For one rollout: in place, where stdout is a terminal.
    pub fn of_one(printer: &'a Printer) -> Self {
        let read_by_a_person = matches!(printer.format(), None | Some(Format::Wide));
        Self {
            in_place: read_by_a_person && printer.redraws(),
            ..Self::of_many(printer, false)
        }
    }

    /// For all of a namespace, or of all.
    pub fn of_many(printer: &'a Printer, namespaced: bool) -> Self {
        let mut layout = printer.layout(namespaced);
        layout.wide = printer.format() == Some(Format::Wide);
        Self {
            printer,
            format: printer.format(),
            layout,
            in_place: false,
            shown: 0,
        }
    }

    /// How often it wants to see the same again.
    pub fn tick(&self) -> Option<Duration> {
        self.in_place.then_some(TICK)
    }

    /// Shows where one rollout stands.
    pub fn one(&mut self, row: &StatusRow) -> Result<(), CommandError> {
        if self.in_place {
            let mut text = Vec::new();
            row.show(&mut text, self.layout)?;
            let text = String::from_utf8_lossy(&text);
            return self.push(ToStdout::InPlace(text.trim_end().to_owned()));
        }
        match self.format {
            None | Some(Format::Wide) if self.shown == 0 => {
                self.table(&StatusList::new(vec![row.clone()]))
            }
            None | Some(Format::Wide) => self.line(row, &[]),
            Some(_) => self.document(row),
        }
    }

    /// Shows where many stand.
    pub fn many(&mut self, glance: &Glance<'_>) -> Result<(), CommandError> {
        match (glance, self.format) {
            (Glance::All(list), None | Some(Format::Wide)) => self.table(list),
            (Glance::All(list), Some(_)) => {
                list.items.iter().try_for_each(|row| self.document(row))
            }
            (Glance::One(row, list), None | Some(Format::Wide)) => self.line(row, &list.items),
            (Glance::One(row, _), Some(_)) => self.document(row),
        }
    }

    /// There is nothing to watch for where nothing can be shown.
    fn push(&self, message: ToStdout) -> Result<(), CommandError> {
        if self.printer.has_failed() {
            return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
        }
        self.printer.push(message);
        Ok(())
    }

    fn table(&mut self, list: &StatusList) -> Result<(), CommandError> {
        self.shown += list.items.len();
        let mut text = Vec::new();
        list.show(&mut text, self.layout)?;
        self.push(ToStdout::Text(text))
    }

    /// A row of the table, aligned as it would be below the others.
    fn line(&mut self, row: &StatusRow, others: &[StatusRow]) -> Result<(), CommandError> {
        self.shown += 1;
        let list = StatusList {
            version: 1,
            items: others.iter().chain([row]).cloned().collect(),
        };
        let mut text = Vec::new();
        list.show(&mut text, self.layout)?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().last().unwrap_or_default();
        self.push(ToStdout::State(format!("{line}\n").into_bytes()))
    }

    fn document(&mut self, row: &StatusRow) -> Result<(), CommandError> {
        let mut text = Vec::new();
        if self.format == Some(Format::Yaml) && self.shown > 0 {
            writeln!(text, "---")?;
        }
        self.shown += 1;
        print(&mut text, self.format, self.layout, row).map_err(|error| match error {
            PrintError::Write(source) => CommandError::from(source),
            other => CommandError::Conflict(other.to_string()),
        })?;
        self.push(ToStdout::State(text))
    }
}
