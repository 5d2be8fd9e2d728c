//! Tables as kubectl prints them: aligned columns, no borders.

use std::io::{self, Write};

use super::{Palette, Tone, escape};

/// What stands between two columns.
const GAP: &str = "   ";

/// What stands where there is nothing.
const NONE: &str = "<none>";

/// Rows under titles.
#[derive(Clone, Debug, Default)]
pub struct Table {
    titles: Vec<String>,
    rows: Vec<(Tone, Vec<String>)>,
    without_headers: bool,
    palette: Palette,
}

impl Table {
    /// A table with these columns; titles are written in upper case.
    pub fn new<T: AsRef<str>>(titles: impl IntoIterator<Item = T>) -> Self {
        let titles = titles.into_iter();
        Self {
            titles: titles.map(|title| title.as_ref().to_uppercase()).collect(),
            ..Self::default()
        }
    }

    /// Leaves the titles out, if `without` says so.
    #[must_use]
    pub fn without_headers(mut self, without: bool) -> Self {
        self.without_headers = without;
        self
    }

    /// Paints rows that mean something in these colours.
    #[must_use]
    pub fn in_colors(mut self, palette: Palette) -> Self {
        self.palette = palette;
        self
    }

    /// Adds a row. An empty or missing cell reads `<none>`; cells beyond the last title are dropped.
    pub fn row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.row_in(Tone::Plain, cells);
    }

    /// Adds a row in the colour of `tone`.
    pub fn row_in<T: AsRef<str>>(&mut self, tone: Tone, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter();
        let mut row: Vec<_> = cells
            .map(|cell| match cell.as_ref() {
                "" => NONE.to_owned(),
                text => escape(text).into_owned(),
            })
            .collect();
        row.resize(self.titles.len(), NONE.to_owned());
        self.rows.push((tone, row));
    }

    /// Writes the table, each line after `indent`.
    ///
    /// # Errors
    /// If the writer fails.
    pub fn write(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        let titles = (!self.without_headers).then_some((Tone::Plain, &self.titles));
        let rows = || self.rows.iter().map(|(tone, row)| (*tone, row));
        let lines = || titles.into_iter().chain(rows());
        let width = |column: usize| {
            lines()
                .map(|(_, line)| line[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.titles.len()).map(width).collect();
        for (tone, line) in lines() {
            let cells = line.iter().zip(&widths);
            let padded: Vec<_> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            let text = padded.join(GAP);
            writeln!(out, "{indent}{}", self.palette.paint(tone, text.trim_end()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table, indent: &str) -> String {
        let mut out = Vec::new();
        table.write(&mut out, indent).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn table() -> Table {
        let mut table = Table::new(["name", "step", "age"]);
        table.row(["reviews", "2/4", "5m12s"]);
        table.row(["zoë-of-the-north", "", "3h"]);
        table.row(["short"]);
        table
    }

    #[test]
    fn columns_line_up_and_gaps_are_named() {
        insta::assert_snapshot!(text(&table(), ""), @r"
        NAME               STEP     AGE
        reviews            2/4      5m12s
        zoë-of-the-north   <none>   3h
        short              <none>   <none>
        ");
    }

    #[test]
    fn titles_can_be_left_out() {
        let table = table().without_headers(true);
        assert!(text(&table, "  ").starts_with("  reviews            2/4 "));
    }

    #[test]
    fn a_row_that_means_something_is_painted_as_a_whole() {
        let table = |palette| {
            let mut table = Table::new(["name", "age"]).in_colors(palette);
            table.row_in(Tone::Bad, ["reviews", "3h"]);
            text(&table, "")
        };
        assert_eq!(table(Palette::PLAIN), "NAME      AGE\nreviews   3h\n");
        assert_eq!(
            table(Palette::COLORED),
            "NAME      AGE\n\x1b[1m\x1b[31mreviews   3h\x1b[0m\n"
        );
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let mut table = Table::new(["name"]);
        table.row(["\x1b[1Ahidden\n"]);
        assert_eq!(text(&table, ""), "NAME\n^[[1Ahidden\n");
    }
}
