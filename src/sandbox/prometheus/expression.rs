//! The part of PromQL that raw counters need, parsed.

use regex::Regex;

use super::storage::{Matcher, Matching};

/// A query this world can answer.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    Number(f64),
    /// `time()`.
    Time,
    /// `vector(1)`.
    Vector(f64),
    Selector(SeriesSelector),
    Aggregate(Aggregate),
}

/// Series by name and labels, and how far back their samples go.
#[derive(Clone, Debug)]
pub(crate) struct SeriesSelector {
    pub matchers: Vec<Matcher>,
    /// Milliseconds of a range, where there is one.
    pub range: Option<i64>,
}

/// `sum by (…) (…)` or `count by (…) (…)`.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub count: bool,
    pub by: Vec<String>,
    pub of: SeriesSelector,
}

impl Expression {
    /// Parses a query; the error reads as Prometheus' would, with its position.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let expression = parser.expression()?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.unexpected());
        }
        Ok(expression)
    }
}

/// Parses a selector alone, as the `match[]` of the series endpoint has it.
pub(crate) fn selector(text: &str) -> Result<Vec<Matcher>, String> {
    match Expression::parse(text)? {
        Expression::Selector(SeriesSelector {
            matchers,
            range: None,
        }) => Ok(matchers),
        _ => Err("1:1: parse error: expected a vector selector".to_owned()),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn error(&self, what: &str) -> String {
        format!("1:{}: parse error: {what}", self.at + 1)
    }

    fn unexpected(&self) -> String {
        match self.rest().chars().next() {
            Some(character) => self.error(&format!("unexpected character: '{character}'")),
            None => self.error("unexpected end of input"),
        }
    }

    /// Takes this text if it comes next.
    fn takes(&mut self, wanted: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len();
        }
        found
    }

    fn needs(&mut self, wanted: &str) -> Result<(), String> {
        if self.takes(wanted) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn number(&mut self) -> Result<f64, String> {
        self.space();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E')))
            .unwrap_or(rest.len());
        let number = rest[..end].parse().map_err(|_| self.unexpected())?;
        self.at += end;
        Ok(number)
    }

    fn expression(&mut self) -> Result<Expression, String> {
        self.space();
        if self
            .rest()
            .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        {
            return self.number().map(Expression::Number);
        }
        let start = self.at;
        let word = self.word();
        match word {
            "time" if self.takes("(") => {
                self.needs(")")?;
                Ok(Expression::Time)
            }
            "vector" if self.takes("(") => {
                let number = self.number()?;
                self.needs(")")?;
                Ok(Expression::Vector(number))
            }
            "sum" | "count" => self.aggregate(word == "count").map(Expression::Aggregate),
            _ => {
                self.space();
                if self.rest().starts_with('(') {
                    self.at = start;
                    let what = format!("unknown function with name \"{word}\"");
                    return Err(self.error(&what));
                }
                self.selector(word).map(Expression::Selector)
            }
        }
    }

    fn aggregate(&mut self, count: bool) -> Result<Aggregate, String> {
        let mut by = self.grouping()?;
        self.needs("(")?;
        let name = self.word();
        let of = self.selector(name)?;
        self.needs(")")?;
        if of.range.is_some() {
            return Err(self.error(
                "expected type instant vector in aggregation expression, got range vector",
            ));
        }
        if by.is_empty() {
            by = self.grouping()?;
        }
        Ok(Aggregate { count, by, of })
    }

    fn grouping(&mut self) -> Result<Vec<String>, String> {
        let mut labels = Vec::new();
        if !self.takes("by") {
            return Ok(labels);
        }
        self.needs("(")?;
        while !self.takes(")") {
            let label = self.word();
            if label.is_empty() {
                return Err(self.unexpected());
            }
            labels.push(label.to_owned());
            self.takes(",");
        }
        Ok(labels)
    }

    fn selector(&mut self, name: &str) -> Result<SeriesSelector, String> {
        let start = self.at;
        let mut matchers = Vec::new();
        if !name.is_empty() {
            matchers.push(Matcher {
                label: "__name__".to_owned(),
                matching: Matching::Equal(name.to_owned()),
            });
        }
        if self.takes("{") {
            while !self.takes("}") {
                matchers.push(self.matcher()?);
                self.takes(",");
            }
        } else if name.is_empty() {
            return Err(self.unexpected());
        }
        let empty = super::storage::Labels::new();
        if matchers.iter().all(|matcher| matcher.accepts(&empty)) {
            self.at = start;
            return Err(self.error("vector selector must contain at least one non-empty matcher"));
        }
        let range = if self.takes("[") {
            let range = self.duration()?;
            self.needs("]")?;
            Some(range)
        } else {
            None
        };
        Ok(SeriesSelector { matchers, range })
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        let label = self.word().to_owned();
        if label.is_empty() {
            return Err(self.unexpected());
        }
        let operator = ["=~", "!~", "!=", "="]
            .into_iter()
            .find(|operator| self.takes(operator))
            .ok_or_else(|| self.unexpected())?;
        let value = self.string()?;
        let pattern = || {
            // Prometheus anchors a pattern on both sides.
            Regex::new(&format!("^(?s:{value})$"))
                .map_err(|error| self.error(&format!("error parsing regexp: {error}")))
        };
        let matching = match operator {
            "=~" => Matching::Like(pattern()?),
            "!~" => Matching::NotLike(pattern()?),
            "!=" => Matching::NotEqual(value),
            _ => Matching::Equal(value),
        };
        Ok(Matcher { label, matching })
    }

    fn string(&mut self) -> Result<String, String> {
        self.space();
        let quote = self
            .rest()
            .chars()
            .next()
            .filter(|character| matches!(character, '"' | '\'' | '`'))
            .ok_or_else(|| self.unexpected())?;
        let mut value = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.at += at + 1;
                return Ok(value);
            }
            if character != '\\' || quote == '`' {
                value.push(character);
                continue;
            }
            match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, escaped @ ('\\' | '"' | '\'' | '`'))) => value.push(escaped),
                _ => return Err(self.error("unknown escape sequence")),
            }
        }
        Err(self.error("unterminated quoted string"))
    }

    /// A duration such as `90s` or `1h30m`, in milliseconds.
    fn duration(&mut self) -> Result<i64, String> {
        let text = self.word();
        let mut rest = text;
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let (number, behind) = rest.split_at(digits);
            let letters = behind
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(behind.len());
            let (unit, behind) = behind.split_at(letters);
            let scale = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                _ => return Err(self.error(&format!("not a valid duration string: \"{text}\""))),
            };
            let number: i64 = number
                .parse()
                .map_err(|_| self.error(&format!("not a valid duration string: \"{text}\"")))?;
            total = total.saturating_add(number.saturating_mul(scale));
            rest = behind;
        }
        if total == 0 {
            return Err(self.error("duration must be greater than 0"));
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::Labels;
    use super::*;

    fn accepts(query: &str, labels: &[(&str, &str)]) -> bool {
        let labels: Labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        match Expression::parse(query).unwrap() {
            Expression::Selector(selector) => selector
                .matchers
                .iter()
                .all(|matcher| matcher.accepts(&labels)),
            _ => false,
        }
    }

    #[test]
    fn matchers_are_anchored_and_a_missing_label_is_empty() {
        let labels = [("__name__", "x"), ("code", "503")];
        let table = [
            (r#"x"#, true),
            (r#"x{code="503"}"#, true),
            (r#"x{code=~"50"}"#, false),
            (r#"x{code=~"5..|0"}"#, true),
            (r#"x{code!~"5.."}"#, false),
            (r#"x{grpc=""}"#, true),
            (r#"x{grpc!=""}"#, false),
            (r#"{__name__=~"x|y", code!='200',}"#, true),
            (r#"y{code="503"}"#, false),
        ];
        for (query, wanted) in table {
            assert_eq!(accepts(query, &labels), wanted, "{query}");
        }
    }

    #[test]
    fn strings_are_unescaped() {
        assert!(accepts(
            r#"x{a="q\"\\"}"#,
            &[("__name__", "x"), ("a", "q\"\\")]
        ));
    }

    #[test]
    fn ranges_and_aggregations_are_read() {
        let Ok(Expression::Selector(selector)) = Expression::parse(r#"x{a="b"}[1h30m]"#) else {
            panic!("no selector");
        };
        assert_eq!(selector.range, Some(5_400_000));
        let Ok(Expression::Aggregate(aggregate)) = Expression::parse("count by (pod, version) (x)")
        else {
            panic!("no aggregation");
        };
        assert_eq!(aggregate.by, ["pod", "version"]);
    }

    #[test]
    fn everything_else_is_bad_data() {
        for query in [
            "rate(x[1m])",
            "x + y",
            "x{",
            "{}",
            "",
            "x[0s]",
            "x[5]",
            r#"x{a="b}"#,
            "sum by (a) (x[1m])",
        ] {
            assert!(
                Expression::parse(query)
                    .unwrap_err()
                    .contains("parse error"),
                "{query}"
            );
        }
    }
}
