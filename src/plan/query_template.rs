//! PromQL with placeholders: `{{canary.pods}}` becomes what it has to be where it stands.
//!
//! A name means something else in a string matcher than in a regular expression, and both stand in quotes of
//! three kinds. So the text is read as far as its quotes and the operators before them, and no further: whether
//! it is PromQL is for Prometheus to say.

use std::fmt;

use jiff::SignedDuration;

/// How a pod's name goes on behind its workload's: of a Deployment, a DaemonSet, a StatefulSet.
const POD_SUFFIX: &str = "-(?:[a-z0-9]{1,10}-[a-z0-9]{5}|[a-z0-9]{5}|[0-9]+)";

/// What a version is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionNames {
    /// Its workloads; a pod's name begins with one of them.
    pub workloads: Vec<String>,
    /// The values of its pods' label `version`.
    pub versions: Vec<String>,
}

/// What stands for the placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateValues {
    /// Of the stable version.
    pub stable: VersionNames,
    /// Of the canary.
    pub canary: VersionNames,
    /// The namespace of their pods.
    pub namespace: String,
    /// How far back a range reaches, in whole seconds.
    pub window: SignedDuration,
}

/// The version that `{{version.…}}` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparedVersion {
    /// The stable version.
    Stable,
    /// The canary.
    Canary,
}

/// PromQL whose placeholders are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryTemplate<'a> {
    parts: Vec<TemplatePart<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart<'a> {
    Text(&'a str),
    Placeholder(Placeholder, Position),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Of(NamedVersion, NameKind),
    Namespace,
    Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NamedVersion {
    Stable,
    Canary,
    /// Whichever is counted.
    Either,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameKind {
    Pods,
    Workload,
    Version,
}

/// Where a placeholder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// In no quotes.
    Bare,
    /// In the quotes of a string that no matcher compares.
    Text,
    /// Behind `=` or `!=`, in these quotes.
    Equal(char),
    /// Behind `=~` or `!~`, in these quotes.
    Regex(char),
}

/// What cannot be done with a query's placeholders, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (try: {fix})")]
pub struct TemplateError {
    /// What.
    pub what: String,
    /// What to write instead.
    pub fix: String,
}

fn error(what: impl Into<String>, fix: impl Into<String>) -> TemplateError {
    TemplateError {
        what: what.into(),
        fix: fix.into(),
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, kind) = match self {
            Self::Namespace => return f.write_str("{{namespace}}"),
            Self::Window => return f.write_str("{{window}}"),
            Self::Of(version, kind) => (version, kind),
        };
        let version = match version {
            NamedVersion::Stable => "stable",
            NamedVersion::Canary => "canary",
            NamedVersion::Either => "version",
        };
        write!(f, "{{{{{version}.{}}}}}", kind.name())
    }
}

impl NameKind {
    fn name(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Workload => "workload",
            Self::Version => "version",
        }
    }
}

impl Placeholder {
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "namespace" => return Some(Self::Namespace),
            "window" => return Some(Self::Window),
            _ => {}
        }
        let (version, kind) = text.trim().split_once('.')?;
        let version = match version {
            "stable" => NamedVersion::Stable,
            "canary" => NamedVersion::Canary,
            "version" => NamedVersion::Either,
            _ => return None,
        };
        let kinds = [NameKind::Pods, NameKind::Workload, NameKind::Version];
        let kind = kinds.into_iter().find(|known| known.name() == kind)?;
        Some(Self::Of(version, kind))
    }

    fn check(self, place: Position) -> Result<(), TemplateError> {
        let bare_window = self == Self::Window && place == Position::Bare;
        let in_matcher = matches!(place, Position::Equal(_) | Position::Regex(_));
        let in_quotes = self != Self::Window && in_matcher;
        if !bare_window && !in_quotes {
            return Err(match self {
                Self::Window => error("{{window}} stands in quotes", "[{{window}}]"),
                _ => error(
                    format!("{self} stands in no matcher"),
                    format!("pod=~\"{self}\", in the quotes of a matcher"),
                ),
            });
        }
        match (self, place) {
            (Self::Of(_, NameKind::Pods), Position::Equal(_)) => Err(error(
                format!("{self} is a regular expression"),
                format!("=~\"{self}\""),
            )),
            _ => Ok(()),
        }
    }
}

impl<'a> QueryTemplate<'a> {
    /// Reads a query.
    ///
    /// # Errors
    /// Names the placeholder that is unknown or stands where it cannot.
    pub fn parse(text: &'a str) -> Result<Self, TemplateError> {
        let (mut parts, mut begin, mut at) = (Vec::new(), 0, 0);
        let mut place = Position::Bare;
        let mut quote = None;
        while let Some(letter) = text[at..].chars().next() {
            let rest = &text[at..];
            if let Some(inner) = rest.strip_prefix("{{") {
                let end = inner
                    .find("}}")
                    .ok_or_else(|| error("{{ has no }}", "{{canary.pods}}"))?;
                let placeholder = Placeholder::parse(&inner[..end]).ok_or_else(|| {
                    error(
                        format!("{{{{{}}}}} is no placeholder", &inner[..end]),
                        "pods, workload or version of canary, stable or version, such as {{canary.pods}}; {{namespace}}; {{window}}",
                    )
                })?;
                placeholder.check(place)?;
                parts.push(TemplatePart::Text(&text[begin..at]));
                parts.push(TemplatePart::Placeholder(placeholder, place));
                at += end + 4;
                begin = at;
                continue;
            }
            match (quote, letter) {
                (None, '"' | '\'' | '`') => {
                    place = place_behind(&text[..at], letter);
                    quote = Some(letter);
                }
                // A comment ends with its line.
                (None, '#') => at += rest.find('\n').unwrap_or(rest.len()) - 1,
                (Some('"' | '\''), '\\') => {
                    at += rest.chars().nth(1).map_or(0, char::len_utf8);
                }
                (Some(open), close) if open == close => (place, quote) = (Position::Bare, None),
                _ => {}
            }
            at += letter.len_utf8();
        }
        if let Some(quote) = quote {
            return Err(error(
                "a quote has no end",
                format!("a {quote} at the end of the string"),
            ));
        }
        parts.push(TemplatePart::Text(&text[begin..]));
        Ok(Self { parts })
    }

    /// Whether it names the version that is counted, so that it can be asked for both.
    pub fn names_either_version(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.any(|part| {
            matches!(
                part,
                TemplatePart::Placeholder(Placeholder::Of(NamedVersion::Either, _), _)
            )
        })
    }

    /// The query with everything in its place; `version` is what `{{version.…}}` stands for.
    ///
    /// # Errors
    /// If a version has no such name, or several where one is needed.
    pub fn render(
        &self,
        values: &TemplateValues,
        version: ComparedVersion,
    ) -> Result<String, TemplateError> {
        let mut query = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => query.push_str(text),
                TemplatePart::Placeholder(placeholder, place) => {
                    query.push_str(&rendered(*placeholder, *place, values, version)?);
                }
            }
        }
        Ok(query)
    }
}

/// Where a string stands that begins behind `before`.
fn place_behind(before: &str, quote: char) -> Position {
    let before = before.trim_end();
    let is = |operator| before.ends_with(operator);
    if is("=~") || is("!~") {
        Position::Regex(quote)
    } else if is("=") && !is("==") {
        Position::Equal(quote)
    } else {
        Position::Text
    }
}

fn rendered(
    placeholder: Placeholder,
    place: Position,
    values: &TemplateValues,
    version: ComparedVersion,
) -> Result<String, TemplateError> {
    let (named, kind) = match placeholder {
        Placeholder::Window => return Ok(format!("{}s", values.window.as_secs().max(1))),
        Placeholder::Namespace => {
            let names = [values.namespace.as_str()];
            return in_place(&names, "", placeholder, place);
        }
        Placeholder::Of(named, kind) => (named, kind),
    };
    let version = match (named, version) {
        (NamedVersion::Stable, _) | (NamedVersion::Either, ComparedVersion::Stable) => {
            &values.stable
        }
        (NamedVersion::Canary, _) | (NamedVersion::Either, ComparedVersion::Canary) => {
            &values.canary
        }
    };
    let (names, suffix) = match kind {
        NameKind::Pods => (&version.workloads, POD_SUFFIX),
        NameKind::Workload => (&version.workloads, ""),
        NameKind::Version => (&version.versions, ""),
    };
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    in_place(&names, suffix, placeholder, place)
}

fn in_place(
    names: &[&str],
    suffix: &str,
    placeholder: Placeholder,
    place: Position,
) -> Result<String, TemplateError> {
    let (text, quote) = match (place, names) {
        (_, []) => {
            return Err(error(
                format!("there is nothing that {placeholder} could stand for"),
                "a placeholder for what the pods have: workload, or version where they have that label",
            ));
        }
        (Position::Equal(quote), [name]) => ((*name).to_owned(), quote),
        (Position::Equal(_), names) => {
            return Err(error(
                format!("{placeholder} is one of {}", names.join(", ")),
                format!("=~\"{placeholder}\""),
            ));
        }
        (Position::Regex(quote), names) => {
            let names = names.iter().map(|name| regex::escape(name));
            let names = names.collect::<Vec<_>>().join("|");
            (format!("(?:{names}){suffix}"), quote)
        }
        // Neither passes the check of a template.
        (Position::Bare | Position::Text, [name, ..]) => ((*name).to_owned(), '"'),
    };
    match quote {
        '`' if text.contains('`') => Err(error(
            format!("what {placeholder} stands for has a backquote in it"),
            format!("\"{placeholder}\""),
        )),
        '`' => Ok(text),
        quote => Ok(text
            .replace('\\', r"\\")
            .replace(quote, &format!("\\{quote}"))
            .replace('\n', "\\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> TemplateValues {
        TemplateValues {
            stable: VersionNames {
                workloads: vec!["reviews-v1".into()],
                versions: vec!["1.0".into()],
            },
            canary: VersionNames {
                workloads: vec!["reviews.v2".into(), "reviews-v2b".into()],
                versions: vec![r#"a"b\c"#.into()],
            },
            namespace: "shop".into(),
            window: SignedDuration::from_secs(90),
        }
    }

    fn rendered(text: &str) -> Result<String, String> {
        let template = QueryTemplate::parse(text).map_err(|error| error.to_string())?;
        let query = template.render(&values(), ComparedVersion::Canary);
        query.map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_escaped_for_the_place_it_stands_in() {
        let pods = "(?:[a-z0-9]{1,10}-[a-z0-9]{5}|[a-z0-9]{5}|[0-9]+)";
        for (text, expected) in [
            (
                r#"x{ns="{{namespace}}",w="{{ stable.workload }}"}"#,
                r#"x{ns="shop",w="reviews-v1"}"#.to_owned(),
            ),
            (
                r#"x{pod =~ "{{canary.pods}}"}"#,
                format!(r#"x{{pod =~ "(?:reviews\\.v2|reviews\\-v2b)-{pods}"}}"#),
            ),
            (
                "x{pod!~`{{version.pods}}`}[{{window}}]",
                format!(r"x{{pod!~`(?:reviews\.v2|reviews\-v2b)-{pods}`}}[90s]"),
            ),
            (
                r#"x{v="{{canary.version}}",w='{{canary.version}}'}"#,
                r#"x{v="a\"b\\c",w='a"b\\c'}"#.to_owned(),
            ),
            (
                r#"x{v=~"{{canary.version}}.*"}"#,
                r#"x{v=~"(?:a\"b\\\\c).*"}"#.to_owned(),
            ),
            (
                "x # {{window}} in 'a comment\n",
                "x # {{window}} in 'a comment\n".to_owned(),
            ),
            (
                r#"label_replace(x{a="\"{{"}, "b", "{{", "", "")"#,
                String::new(),
            ),
        ] {
            match rendered(text) {
                Ok(query) => assert_eq!(query, expected),
                Err(error) => assert!(expected.is_empty(), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn a_placeholder_that_cannot_be_is_refused_with_what_can() {
        for (text, expected) in [
            (
                "x{a=\"{{canary.pod}}\"}",
                "{{canary.pod}} is no placeholder (try: pods,",
            ),
            (
                "x{pod=\"{{canary.pods}}\"}",
                "{{canary.pods}} is a regular expression (try: =~\"{{canary.pods}}\")",
            ),
            (
                "x > {{canary.workload}}",
                "{{canary.workload}} stands in no matcher",
            ),
            (
                "label_replace(x, \"a\", \"{{canary.workload}}\", \"\", \"\")",
                "{{canary.workload}} stands in no matcher",
            ),
            ("x{a=\"{{window}}\"}", "{{window}} stands in quotes"),
            ("x{a=\"b}", "a quote has no end"),
            ("x{a=\"{{canary.pods\"}", "{{ has no }}"),
            (
                "x{w=\"{{canary.workload}}\"}",
                "{{canary.workload}} is one of reviews.v2, reviews-v2b (try: =~",
            ),
        ] {
            let error = rendered(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert_eq!(error.matches("(try: ").count(), 1, "{error}");
        }
    }

    #[test]
    fn a_pod_belongs_to_one_of_two_workloads_one_of_whose_names_begins_the_other() {
        let names = |name: &str| VersionNames {
            workloads: vec![name.to_owned()],
            versions: Vec::new(),
        };
        let values = TemplateValues {
            stable: names("reviews"),
            canary: names("reviews-v2"),
            ..values()
        };
        let template = QueryTemplate::parse("`{{version.pods}}`");
        assert!(template.is_err(), "no matcher");
        let template = QueryTemplate::parse("x{pod=~`{{version.pods}}`}").unwrap();
        let claims = |version, pod: &str| {
            let query = template.render(&values, version).unwrap();
            let pattern = query.split('`').nth(1).unwrap();
            let pattern = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
            pattern.is_match(pod)
        };
        for (pod, stable, canary) in [
            ("reviews-5d4fc9c7b-x2k9z", true, false),
            ("reviews-0", true, false),
            ("reviews-v2-5d4fc9c7b-x2k9z", false, true),
            ("reviews-v2-0", false, true),
            ("reviewsx-0", false, false),
        ] {
            assert_eq!(claims(ComparedVersion::Stable, pod), stable, "{pod}");
            assert_eq!(claims(ComparedVersion::Canary, pod), canary, "{pod}");
        }
    }
}
