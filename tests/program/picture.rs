//! docs/live-view.svg, made of what `kubectl canary demo` writes to a terminal.
//!
//! `UPDATE_PICTURES=1 cargo test --test program picture` makes it again.

use std::fmt::Write;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::termios::{Winsize, tcsetwinsize};
use vt100::{Cell, Color, Screen};

use crate::blocked_output::terminal;
use crate::harness::PROGRAM;

const COLUMNS: u16 = 100;
const ROWS: u16 = 60;
/// Pixels of a character.
const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 20.0;
const MARGIN: f64 = 16.0;

/// What the terminal shows once the demo's third step has an analysis.
fn demo() -> vt100::Parser {
    let (mut screen, terminal) = terminal();
    let size = Winsize {
        ws_row: ROWS,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let mut child = Command::new(PROGRAM)
        .arg("demo")
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .env_remove("CI")
        .stdin(Stdio::null())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
    let mut part = [0; 4096];
    loop {
        // It ends with an error when the demo has ended.
        let read = screen.read(&mut part).expect("the third step is shown");
        parser.process(&part[..read]);
        let text = parser.screen().contents();
        let panel = text.rsplit("step 3/4 ").next().unwrap_or_default();
        let is_good = panel.contains("healthy so far") || panel.contains("step passed");
        if panel.contains("50 % for ") && is_good {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    parser
}

/// The rows from the plan to the last one.
fn rows(screen: &Screen) -> Vec<Vec<Cell>> {
    let row = |row: u16| -> Vec<Cell> {
        let cells = (0..COLUMNS).map(|column| screen.cell(row, column).unwrap().clone());
        cells.collect()
    };
    let text = |cells: &[Cell]| cells.iter().map(Cell::contents).collect::<String>();
    let mut rows: Vec<_> = (0..ROWS).map(row).collect();
    let plan = rows.iter().position(|row| text(row).contains(" plan "));
    rows.drain(..plan.expect("there is a plan"));
    while rows.last().is_some_and(|row| text(row).trim().is_empty()) {
        rows.pop();
    }
    rows
}

fn color(cell: &Cell) -> &'static str {
    match cell.fgcolor() {
        Color::Idx(1 | 9) => "#f47067",
        Color::Idx(2 | 10) => "#57ab5a",
        Color::Idx(3 | 11) => "#c69026",
        Color::Idx(4 | 12) => "#539bf5",
        Color::Idx(5 | 13) => "#b083f0",
        Color::Idx(6 | 14) => "#39c5cf",
        _ if cell.dim() => "#768390",
        _ => "#d1d7e0",
    }
}

fn as_number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// What stands between two or more spaces, which a picture does not keep, and the column of each.
fn parts(text: &str) -> Vec<(usize, String)> {
    let (mut parts, mut spaces) = (Vec::<(usize, String)>::new(), 2);
    for (column, char) in text.chars().enumerate() {
        if char == ' ' {
            spaces += 1;
            continue;
        }
        match parts.last_mut() {
            Some((_, part)) if spaces < 2 => part.push_str(&" ".repeat(spaces)),
            _ => parts.push((column, String::new())),
        }
        spaces = 0;
        parts.last_mut().unwrap().1.push(char);
    }
    parts
}

fn svg(rows: &[Vec<Cell>]) -> String {
    let width = f64::from(COLUMNS) * WIDTH + 2.0 * MARGIN;
    let height = HEIGHT * as_number(rows.len()) + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"kubectl canary in a terminal\">\n\
         <!-- What kubectl canary demo wrote to a terminal of {COLUMNS} columns; made by tests/program/picture.rs. -->\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#22272e\"/>\n\
         <g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"14\">\n"
    );
    for (number, row) in rows.iter().enumerate() {
        let baseline = MARGIN + HEIGHT * (as_number(number) + 0.75);
        let mut column = 0;
        while column < row.len() {
            let style = |cell: &Cell| (color(cell), cell.bold());
            let first = style(&row[column]);
            let length = row[column..]
                .iter()
                .take_while(|cell| style(cell) == first)
                .count();
            let run = &row[column..column + length];
            let text: String = run
                .iter()
                .map(|cell| match cell.contents() {
                    "" => " ",
                    text => text,
                })
                .collect();
            let weight = if first.1 { " font-weight=\"bold\"" } else { "" };
            for (at, part) in parts(&text) {
                let left = MARGIN + WIDTH * as_number(column + at);
                let wide = WIDTH * as_number(part.chars().count());
                let part = part.replace('&', "&amp;").replace('<', "&lt;");
                writeln!(
                    svg,
                    "<text x=\"{left:.1}\" y=\"{baseline:.1}\" textLength=\"{wide:.1}\" fill=\"{}\"{weight}>{part}</text>",
                    first.0
                )
                .unwrap();
            }
            column += length;
        }
    }
    svg + "</g>\n</svg>\n"
}

/// How the text begins, without its numbers: these and further reasons differ from run to run.
fn words(text: &str, most: usize) -> String {
    let kept = text
        .chars()
        .filter(|char| char.is_alphabetic() || *char == ' ');
    kept.collect::<String>()
        .split_whitespace()
        .take(most)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn the_picture_shows_what_the_demo_shows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/live-view.svg");
    let parser = demo();
    let rows = rows(parser.screen());
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        std::fs::write(&path, svg(&rows)).unwrap();
    }
    let picture = std::fs::read_to_string(&path).unwrap();
    let tags = regex::Regex::new("<[^>]*>").unwrap();
    let shown = words(&tags.replace_all(&picture, " "), usize::MAX);
    // The panel, which is under the last empty row.
    let text = |row: &Vec<Cell>| row.iter().map(Cell::contents).collect::<String>();
    let panel: Vec<_> = rows.iter().rev().map(text).collect();
    let panel = panel.iter().take_while(|row| !row.trim().is_empty());
    let panel: Vec<_> = panel.map(|row| words(row, 4)).collect();
    assert!(panel.len() > 2, "{panel:?}");
    for row in panel.iter().filter(|row| !row.is_empty()) {
        assert!(
            shown.contains(row),
            "docs/live-view.svg lacks {row:?}: UPDATE_PICTURES=1 cargo test --test program picture"
        );
    }
}
