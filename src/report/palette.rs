//! The few colours, and when they are used.

use std::ffi::OsStr;
use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// What `--color` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// Colors if the output is a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always use colors.
    Always,
    /// Never use colors.
    Never,
}

/// What is known of the stream that is written to; the edge of the program fills it in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal<'a> {
    /// Whether the stream is a terminal.
    pub is_terminal: bool,
    /// The variable NO_COLOR.
    pub no_color: Option<&'a OsStr>,
    /// The variable TERM.
    pub term: Option<&'a OsStr>,
}

impl Terminal<'_> {
    /// Whether lines can be redrawn in place.
    pub fn can_redraw(self) -> bool {
        // Windows' terminals have no such variable.
        let is_capable = |term: &OsStr| term != "dumb";
        self.is_terminal && self.term.map_or(cfg!(windows), is_capable)
    }
}

/// What a word means, from which its colour follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Went well.
    Good,
    /// To be looked at.
    Caution,
    /// Went wrong.
    Bad,
    /// Beside the point.
    Quiet,
    /// What the eye should find first.
    Strong,
}

/// Paints, or does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    colored: bool,
}

impl Palette {
    /// Never use colors.
    pub const PLAIN: Self = Self { colored: false };
    /// Colours.
    pub const COLORED: Self = Self { colored: true };

    /// Decides whether to paint.
    ///
    /// An empty NO_COLOR counts as absent, as its own definition has it.
    pub fn choose(selection: ColorChoice, terminal: Terminal<'_>) -> Self {
        let refused = terminal.no_color.is_some_and(|value| !value.is_empty());
        Self {
            colored: match selection {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => terminal.can_redraw() && !refused,
            },
        }
    }

    /// `text` in the colour of `tone`.
    pub fn paint(self, tone: Tone, text: impl Display) -> String {
        let style = match tone {
            _ if !self.colored => Style::new(),
            Tone::Plain => Style::new(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Caution => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
            Tone::Quiet => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_choice_then_the_terminal() {
        let terminal =
            |is_terminal, no_color: Option<&'static str>, term: Option<&'static str>| Terminal {
                is_terminal,
                no_color: no_color.map(OsStr::new),
                term: term.map(OsStr::new),
            };
        for (selection, terminal, expected) in [
            (ColorChoice::Auto, terminal(true, None, Some("xterm")), true),
            (
                ColorChoice::Auto,
                terminal(true, Some(""), Some("xterm")),
                true,
            ),
            (ColorChoice::Auto, terminal(true, Some("1"), None), false),
            (ColorChoice::Auto, terminal(true, None, Some("dumb")), false),
            (
                ColorChoice::Auto,
                terminal(false, None, Some("xterm")),
                false,
            ),
            (ColorChoice::Always, terminal(false, Some("1"), None), true),
            (ColorChoice::Never, terminal(true, None, None), false),
        ] {
            let palette = Palette::choose(selection, terminal);
            assert_eq!(palette.colored, expected, "{selection:?} {terminal:?}");
        }
    }

    #[test]
    fn plain_paint_is_the_text() {
        assert_eq!(Palette::PLAIN.paint(Tone::Bad, "worse"), "worse");
        assert_eq!(Palette::COLORED.paint(Tone::Plain, "same"), "same");
        assert_eq!(
            Palette::COLORED.paint(Tone::Good, "fine"),
            "\x1b[32mfine\x1b[0m"
        );
    }
}
