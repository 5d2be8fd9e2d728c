//! One line of a rollout's log.

use super::{Palette, Tone};
use crate::plan::Exposure;

/// What stands between the word and the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// What the canary gets.
    At(Exposure),
    /// A gap as wide as a percentage.
    Gap,
    /// Nothing: a long text begins right after the word.
    None,
}

/// One line: when, a word that can be searched for, the percentage, and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The time; as many blanks in a line that goes on with the one above.
    pub time: String,
    /// What happened.
    pub word: String,
    /// What that means.
    pub tone: Tone,
    /// Where.
    pub place: Place,
    /// In words.
    pub text: String,
}

/// The fewest columns that a text is wrapped into.
const LEAST_ROOM: usize = 24;

impl Line {
    /// The line as it is written, without a line break.
    pub(super) fn render(&self, palette: Palette) -> String {
        let text = self.head(palette) + &self.text;
        text.trim_end().to_owned()
    }

    /// The same for a terminal of `width` columns: what is longer goes on below, indented to its column.
    ///
    /// A command stays whole, so that it can be copied.
    pub(super) fn render_within(&self, palette: Palette, width: usize) -> String {
        let indent = self.head(Palette::PLAIN).chars().count();
        if width < indent + LEAST_ROOM || self.text.starts_with("kubectl ") {
            return self.render(palette);
        }
        let (head, text) = (self.head(palette), wrapped_from(&self.text, indent, width));
        let head = match text.starts_with('\n') {
            true => head.trim_end(),
            false => &head,
        };
        format!("{head}{text}").trim_end().to_owned()
    }

    /// Whether it belongs to the line above.
    pub(super) fn goes_on(&self) -> bool {
        self.time.trim().is_empty()
    }

    /// Everything before the text.
    fn head(&self, palette: Palette) -> String {
        let time = match self.goes_on() {
            false => palette.paint(Tone::Quiet, &self.time),
            true => self.time.clone(),
        };
        let (word, place) = match self.place {
            Place::At(exposure) => (
                format!("{:<12}", self.word),
                format!("{:<6} ", exposure.to_string()),
            ),
            Place::Gap => (format!("{:<19}", self.word), String::new()),
            Place::None => (format!("{:<12}", self.word), String::new()),
        };
        format!("{time} {} {place}", palette.paint(self.tone, word))
    }
}

/// Lines of text among those of a rollout, wrapped at words; what is indented or has a command stays whole.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    let is_whole = |line: &str| line.starts_with([' ', '$']) || line.contains("kubectl canary ");
    let lines = text.split('\n').map(|line| match is_whole(line) {
        true => line.to_owned(),
        false => wrapped_from(line, 0, width),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A text that begins in column `indent` and goes on below in the same, further left where a word is that long.
fn wrapped_from(text: &str, indent: usize, width: usize) -> String {
    let mut wrapped = String::new();
    let mut column = indent;
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        let gap = usize::from(index > 0);
        let is_first = column == indent && index == 0 && indent + length <= width;
        if is_first || (index > 0 && column + gap + length <= width) {
            wrapped.push_str(&" ".repeat(gap));
            column += gap + length;
        } else {
            let start = indent.min(width.saturating_sub(length));
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(start));
            column = start + length;
        }
        wrapped.push_str(word);
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Percent;

    fn line(place: Place, word: &str) -> Line {
        Line {
            time: "12:00:00".into(),
            word: word.into(),
            tone: Tone::Good,
            place,
            text: "text".into(),
        }
    }

    #[test]
    fn columns_stand_below_each_other() {
        let weight = Place::At(Exposure::Share(Percent::whole(1)));
        for (line, expected) in [
            (
                line(weight, "step 1/4"),
                "12:00:00 step 1/4     1 %    text",
            ),
            (
                line(Place::At(Exposure::Mirror(Percent::whole(10))), "step 1/4"),
                "12:00:00 step 1/4     mirror 10 % text",
            ),
            (
                line(Place::At(Exposure::Testers), "step 1/4"),
                "12:00:00 step 1/4     testers text",
            ),
            (
                line(Place::Gap, "rolled back"),
                "12:00:00 rolled back         text",
            ),
            (line(Place::None, "plan"), "12:00:00 plan         text"),
            (
                Line {
                    time: " ".repeat(8),
                    ..line(Place::Gap, "reason")
                },
                "         reason              text",
            ),
        ] {
            assert_eq!(line.render(Palette::PLAIN), expected);
        }
    }

    #[test]
    fn a_narrow_terminal_wraps_at_words() {
        let long = Line {
            text: "v2 64 of 301 failed (21 %), v1 3 of 2,811; v2 set to 0 % in 18ms".into(),
            ..line(Place::Gap, "regressed")
        };
        assert_eq!(
            long.render_within(Palette::PLAIN, 70),
            "12:00:00 regressed           v2 64 of 301 failed (21 %), v1 3 of\n                             2,811; v2 set to 0 % in 18ms"
        );
        assert_eq!(
            long.render_within(Palette::PLAIN, 200),
            long.render(Palette::PLAIN)
        );
        let command = Line {
            text: "kubectl canary abort reviews -n shop --timeout 5m".into(),
            ..line(Place::Gap, "next")
        };
        assert_eq!(
            command.render_within(Palette::PLAIN, 70),
            command.render(Palette::PLAIN)
        );
    }

    #[test]
    fn a_name_of_63_characters_stays_whole() {
        let name = format!("shop/{}", "n".repeat(63));
        let long = Line {
            text: format!("{name}: original weights 100/0 restored"),
            ..line(Place::Gap, "rolled back")
        };
        assert_eq!(
            long.render_within(Palette::PLAIN, 80),
            format!(
                "12:00:00 rolled back\n           {name}:\n                             original weights 100/0 restored"
            )
        );
    }

    #[test]
    fn text_among_the_lines_is_wrapped_and_commands_are_not() {
        assert_eq!(
            wrapped(
                "warning: the record is\n  kubectl canary report x\nnot whole",
                12
            ),
            "warning: the\nrecord is\n  kubectl canary report x\nnot whole"
        );
    }

    #[test]
    fn only_time_and_word_are_painted() {
        let line = line(Place::Gap, "healthy");
        assert_eq!(
            line.render(Palette::COLORED),
            "\x1b[2m12:00:00\x1b[0m \x1b[32mhealthy            \x1b[0m text"
        );
    }
}
