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
    /// `last_over_time(x[5m])`, `count_over_time(x[5m])`.
    OverTime {
        counts: bool,
        of: SeriesSelector,
    },
    /// `topk(3, x)`.
    Topmost {
        most: usize,
        of: Box<Expression>,
    },
    /// `timestamp(x)`.
    Timestamp(SeriesSelector),
    Aggregate(Aggregate),
    /// `label_replace(x, "label", "value", "", "")`.
    Labelled {
        of: Box<Expression>,
        label: String,
        value: String,
    },
    Binary(Box<Binary>),
    /// `(x)[1m:15s]`, both in milliseconds.
    Subquery {
        of: Box<Expression>,
        range: i64,
        step: i64,
    },
}

/// Series by name and labels, and how far back their samples go.
#[derive(Clone, Debug)]
pub(crate) struct SeriesSelector {
    pub matchers: Vec<Matcher>,
    /// Milliseconds of a range, where there is one.
    pub range: Option<i64>,
    /// Milliseconds that it lies back.
    pub offset: i64,
}

/// `sum by (…) (…)`, `max without (…) (…)` and so on.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub how: Aggregation,
    pub without: bool,
    pub labels: Vec<String>,
    pub of: Box<Expression>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Aggregation {
    Sum,
    Count,
    Max,
    Quantile(f64),
}

#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub operator: Operator,
    pub left: Expression,
    pub right: Expression,
}

#[derive(Clone, Debug)]
pub(crate) enum Operator {
    Or,
    /// `and`, `and on (…)`.
    And(Option<Vec<String>>),
    AtLeast,
    Above,
    Minus,
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
            offset: 0,
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

    fn binary(operator: Operator, left: Expression, right: Expression) -> Expression {
        Expression::Binary(Box::new(Binary {
            operator,
            left,
            right,
        }))
    }

    /// Takes a word that is an operator, if it comes next.
    fn takes_word(&mut self, wanted: &str) -> bool {
        let start = self.at;
        let found = self.word() == wanted;
        if !found {
            self.at = start;
        }
        found
    }

    fn expression(&mut self) -> Result<Expression, String> {
        let mut left = self.conjunction()?;
        while self.takes_word("or") {
            left = Self::binary(Operator::Or, left, self.conjunction()?);
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expression, String> {
        let mut left = self.comparison()?;
        while self.takes_word("and") {
            let on = match self.takes_word("on") {
                true => Some(self.labels()?),
                false => None,
            };
            left = Self::binary(Operator::And(on), left, self.comparison()?);
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let mut left = self.operand()?;
        while self.takes("-") {
            left = Self::binary(Operator::Minus, left, self.operand()?);
        }
        let operator = match (self.takes(">="), self.takes(">")) {
            (true, _) => Operator::AtLeast,
            (false, true) => Operator::Above,
            (false, false) => return Ok(left),
        };
        let right = self.operand()?;
        Ok(Self::binary(operator, left, right))
    }

    fn operand(&mut self) -> Result<Expression, String> {
        self.space();
        if self.takes("(") {
            let inner = self.expression()?;
            self.needs(")")?;
            if !self.takes("[") {
                return Ok(inner);
            }
            let range = self.duration()?;
            self.needs(":")?;
            let step = self.duration()?;
            self.needs("]")?;
            if let Expression::Selector(SeriesSelector { range: Some(_), .. }) = inner {
                return Err(
                    self.error("subquery is only allowed on instant vector, got matrix instead")
                );
            }
            return Ok(Expression::Subquery {
                of: Box::new(inner),
                range,
                step,
            });
        }
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
            "sum" => self.aggregate(Aggregation::Sum),
            "count" => self.aggregate(Aggregation::Count),
            "max" => self.aggregate(Aggregation::Max),
            "quantile" => {
                self.needs("(")?;
                let quantile = self.number()?;
                self.needs(",")?;
                let of = self.vector()?;
                self.needs(")")?;
                Ok(Expression::Aggregate(Aggregate {
                    how: Aggregation::Quantile(quantile),
                    without: false,
                    labels: Vec::new(),
                    of: Box::new(of),
                }))
            }
            "topk" => {
                self.needs("(")?;
                let most = self.number()?.max(0.0) as usize;
                self.needs(",")?;
                let of = Box::new(self.vector()?);
                self.needs(")")?;
                Ok(Expression::Topmost { most, of })
            }
            "last_over_time" | "count_over_time" => {
                let of = self.call_of_selector()?;
                match of.range {
                    Some(_) => Ok(Expression::OverTime {
                        counts: word == "count_over_time",
                        of,
                    }),
                    None => Err(self.error("expected type range vector, got instant vector")),
                }
            }
            "timestamp" => match self.call_of_selector()? {
                of if of.range.is_none() => Ok(Expression::Timestamp(of)),
                _ => Err(self.error("expected type instant vector, got range vector")),
            },
            "label_replace" => self.label_replace(),
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

    fn call_of_selector(&mut self) -> Result<SeriesSelector, String> {
        self.needs("(")?;
        let name = self.word();
        let of = self.selector(name)?;
        self.needs(")")?;
        Ok(of)
    }

    /// Sets a label to a constant; the forms that take it from another label are not known here.
    fn label_replace(&mut self) -> Result<Expression, String> {
        self.needs("(")?;
        let of = Box::new(self.vector()?);
        let mut texts = Vec::new();
        while self.takes(",") {
            texts.push(self.string()?);
        }
        self.needs(")")?;
        match <[String; 4]>::try_from(texts) {
            Ok([label, value, source, pattern]) if source.is_empty() && pattern.is_empty() => {
                Ok(Expression::Labelled { of, label, value })
            }
            _ => Err(self.error("label_replace is only known with a constant")),
        }
    }

    /// An instant vector.
    fn vector(&mut self) -> Result<Expression, String> {
        match self.expression()? {
            Expression::Selector(SeriesSelector { range: Some(_), .. })
            | Expression::Subquery { .. } => Err(self
                .error("expected type instant vector in aggregation expression, got range vector")),
            expression => Ok(expression),
        }
    }

    fn aggregate(&mut self, how: Aggregation) -> Result<Expression, String> {
        let mut grouping = self.grouping()?;
        self.needs("(")?;
        let of = self.vector()?;
        self.needs(")")?;
        if grouping.1.is_empty() {
            grouping = self.grouping()?;
        }
        let (without, labels) = grouping;
        Ok(Expression::Aggregate(Aggregate {
            how,
            without,
            labels,
            of: Box::new(of),
        }))
    }

    fn grouping(&mut self) -> Result<(bool, Vec<String>), String> {
        match (self.takes_word("by"), self.takes_word("without")) {
            (true, _) => Ok((false, self.labels()?)),
            (false, true) => Ok((true, self.labels()?)),
            (false, false) => Ok((false, Vec::new())),
        }
    }

    fn labels(&mut self) -> Result<Vec<String>, String> {
        let mut labels = Vec::new();
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
        let offset = match self.takes_word("offset") {
            true => self.duration()?,
            false => 0,
        };
        Ok(SeriesSelector {
            matchers,
            range,
            offset,
        })
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
        // A colon is part of a metric's name, and ends the range of a subquery.
        let end = text.find(':').unwrap_or(text.len());
        self.at -= text.len() - end;
        let text = &text[..end];
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
        assert_eq!(aggregate.labels, ["pod", "version"]);
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
            "(x[1m])[5m:1m]",
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
