//! What `-o` asks for.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::Palette;
use super::escape::{escape, escape_json, is_obeyed};

/// An output format; without one, a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
    /// The names of the objects.
    Name,
    /// The table with more columns.
    Wide,
    /// A page with pictures; only `report`.
    Html,
    /// Markdown, for a job's summary; only `report`.
    Markdown,
    /// JUnit XML, for a pipeline's list of tests; only `report`.
    Junit,
}

impl Format {
    /// Whether it is one of those that only `report` has.
    pub fn is_shared(self) -> bool {
        match self {
            Self::Html | Self::Markdown | Self::Junit => true,
            Self::Json | Self::Yaml | Self::Name | Self::Wide => false,
        }
    }
}

/// How a person wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// More columns.
    pub wide: bool,
    /// The namespace as the first column.
    pub namespaced: bool,
    /// No titles above the columns.
    pub without_headers: bool,
    /// The colours.
    pub palette: Palette,
}

/// A result that a person and a program can read.
pub trait View: Serialize {
    /// The names of the VirtualServices in it.
    fn names(&self) -> Vec<&str>;

    /// Writes it for a person.
    ///
    /// # Errors
    /// If the writer fails.
    fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()>;

    /// The text of a document to share, where it has one in this format.
    fn document(&self, _: Format) -> Option<String> {
        None
    }
}

/// A result that could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// The stream does not take it.
    #[error("cannot write the output: {0}")]
    Write(#[from] io::Error),
    /// It is not a document to share.
    #[error("this output is for report (try: -o json)")]
    NoDocument,
    /// It has no form in this format.
    #[error("cannot print the result as {format}: {why}")]
    Serialize {
        /// The format.
        format: &'static str,
        /// What stands in the way.
        why: String,
    },
}

/// An object's name as `-o name` and messages of change print it.
pub fn object(name: &str) -> String {
    format!("virtualservice.networking.istio.io/{name}")
}

/// Prints `view` as asked, with a line break at the end.
///
/// # Errors
/// If the writer fails, or the value has no form in the format.
pub fn print<T: View>(
    out: &mut dyn Write,
    format: Option<Format>,
    layout: Layout,
    view: &T,
) -> Result<(), PrintError> {
    match format {
        None => view.show(out, layout)?,
        Some(Format::Wide) => view.show(
            out,
            Layout {
                wide: true,
                ..layout
            },
        )?,
        Some(Format::Name) => {
            for name in view.names() {
                writeln!(out, "{}", escape(&object(name)))?;
            }
        }
        Some(Format::Json) => writeln!(out, "{}", to_json(view)?)?,
        Some(format @ (Format::Html | Format::Markdown | Format::Junit)) => {
            let text = view.document(format).ok_or(PrintError::NoDocument)?;
            write!(out, "{text}")?;
        }
        Some(Format::Yaml) => writeln!(out, "{}", to_yaml(view)?)?,
    }
    out.flush()?;
    Ok(())
}

/// The value as JSON that no terminal obeys, without a line break at the end.
///
/// # Errors
/// If it has no form in JSON.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, PrintError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| refused("JSON", error))?;
    Ok(escape_json(&text).into_owned())
}

/// The value as YAML that no terminal obeys, without a line break at the end.
///
/// Marks that reorder text are no control characters to YAML, so that they would stand in it as they are.
/// A value with any of them is printed as JSON, which is YAML too and can say them.
///
/// # Errors
/// If it has no form in YAML.
pub(crate) fn to_yaml(value: &impl Serialize) -> Result<String, PrintError> {
    let text = serde_saphyr::to_string(value).map_err(|error| refused("YAML", error))?;
    if text.chars().any(|char| char != '\n' && is_obeyed(char)) {
        return to_json(value);
    }
    Ok(text.trim_end_matches('\n').to_owned())
}

fn refused(format: &'static str, error: impl ToString) -> PrintError {
    PrintError::Serialize {
        format,
        why: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Found {
        name: String,
        exit_code: u8,
        hint: Option<String>,
    }

    impl View for Found {
        fn names(&self) -> Vec<&str> {
            vec![&self.name]
        }

        fn show(&self, out: &mut dyn Write, layout: Layout) -> io::Result<()> {
            writeln!(out, "{} wide={}", self.name, layout.wide)
        }
    }

    fn text(format: Option<Format>) -> String {
        let found = Found {
            name: "reviews".into(),
            exit_code: 10,
            hint: Some("yes: no".into()),
        };
        let mut out = Vec::new();
        print(&mut out, format, Layout::default(), &found).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_not_lost() {
        for mark in ["\u{200e}", "\u{202e}", "\u{2068}", "\u{9b}", "\u{7f}"] {
            let value = serde_json::json!({"name": format!("a{mark}b")});
            for text in [to_json(&value).unwrap(), to_yaml(&value).unwrap()] {
                assert!(!text.contains(mark), "{text:?}");
                let back: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
                assert_eq!(back, value, "{text}");
            }
        }
    }

    #[test]
    fn each_format_ends_with_one_line_break() {
        assert_eq!(
            text(Some(Format::Json)),
            "{\n  \"name\": \"reviews\",\n  \"exitCode\": 10,\n  \"hint\": \"yes: no\"\n}\n"
        );
        assert_eq!(
            text(Some(Format::Yaml)),
            "name: reviews\nexitCode: 10\nhint: \"yes: no\"\n"
        );
        assert_eq!(
            text(Some(Format::Name)),
            "virtualservice.networking.istio.io/reviews\n"
        );
        assert_eq!(text(Some(Format::Wide)), "reviews wide=true\n");
        assert_eq!(text(None), "reviews wide=false\n");
    }
}
