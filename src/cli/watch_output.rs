//! How `--watch` shows what it sees on stdout.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::arguments::Output;
use super::screen::{layout, redraws};
use crate::commands::Glance;
use crate::error::CommandError;
use crate::report::{Format, Layout, PrintError, StatusList, StatusRow, View, print};

/// How often the ages are drawn anew where they stand in place.
const TICK: Duration = Duration::from_secs(1);

/// Shows one state after the other: a person sees the newest in place, a log gets a line for each, a
/// program a document for each.
pub(super) struct WatchOutput {
    format: Option<Format>,
    layout: Layout,
    place: Option<ProgressBar>,
    shown: usize,
}

impl WatchOutput {
    /// For one rollout: in place, where stdout is a terminal.
    pub fn of_one(output: &Output) -> Self {
        let read_by_a_person = matches!(output.format, None | Some(Format::Wide));
        let place = (read_by_a_person && redraws(&io::stdout())).then(|| {
            let style = ProgressStyle::with_template("{msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout()).with_style(style)
        });
        Self {
            place,
            ..Self::of_many(output, false)
        }
    }

    /// For all of a namespace, or of all.
    pub fn of_many(output: &Output, namespaced: bool) -> Self {
        let mut layout = layout(output, namespaced);
        layout.wide = output.format == Some(Format::Wide);
        Self {
            format: output.format,
            layout,
            place: None,
            shown: 0,
        }
    }

    /// How often it wants to see the same again.
    pub fn tick(&self) -> Option<Duration> {
        self.place.as_ref().map(|_| TICK)
    }

    /// Shows where one rollout stands.
    pub fn one(&mut self, row: &StatusRow) -> Result<(), CommandError> {
        if let Some(place) = &self.place {
            let mut text = Vec::new();
            row.show(&mut text, self.layout)?;
            let text = String::from_utf8_lossy(&text);
            place.set_message(text.trim_end().to_owned());
            return Ok(());
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

    /// What stands in place stays there, and whatever comes next stands below it.
    pub fn leave(&self) {
        if let Some(place) = &self.place {
            place.abandon();
        }
    }

    fn table(&mut self, list: &StatusList) -> Result<(), CommandError> {
        self.shown += list.items.len();
        let mut out = io::stdout().lock();
        list.show(&mut out, self.layout)?;
        out.flush()?;
        Ok(())
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
        let mut out = io::stdout().lock();
        writeln!(out, "{}", text.lines().last().unwrap_or_default())?;
        out.flush()?;
        Ok(())
    }

    fn document(&mut self, row: &StatusRow) -> Result<(), CommandError> {
        let mut out = io::stdout().lock();
        if self.format == Some(Format::Yaml) && self.shown > 0 {
            writeln!(out, "---")?;
        }
        self.shown += 1;
        print(&mut out, self.format, self.layout, row).map_err(|error| match error {
            PrintError::Write(source) => CommandError::from(source),
            other => CommandError::Conflict(other.to_string()),
        })
    }
}
