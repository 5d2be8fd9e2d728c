//! A run as Markdown for a job's summary, and as JUnit XML for a pipeline's list of tests.

use std::fmt;

use super::chart::html;
use super::run_report::RunReport;
use super::run_words::{duration, step_cells};
use crate::rollout::Outcome;
use crate::verdict::Verdict;

/// A run as Markdown, as GitHub and GitLab show it.
pub(super) struct Markdown<'a>(pub &'a RunReport);

/// A run as a suite of tests in JUnit's XML: a test a step, and one for the rollout.
pub(super) struct JUnit<'a>(pub &'a RunReport);

impl fmt::Display for Markdown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let sign = match is_failure(report) {
            Some(true) => "❌",
            Some(false) => "✅",
            None => "⏸️",
        };
        writeln!(
            f,
            "## {sign} {}/{}: {} ({})\n",
            text(&report.namespace),
            text(&report.name),
            text(&report.headline()),
            duration(report.took())
        )?;
        for (name, value) in report.facts() {
            writeln!(f, "- **{name}**: {}", text(&value))?;
        }
        writeln!(
            f,
            "\n| step | canary gets | for | stable | canary | verdict |"
        )?;
        writeln!(f, "|--|--|--|--|--|--|")?;
        for step in &report.steps {
            let cells = step_cells(report, step).map(|cell| text(&cell));
            writeln!(f, "| {} |", cells.join(" | "))?;
        }
        writeln!(f, "\n<details><summary>What was decided</summary>\n")?;
        writeln!(f, "| time (UTC) | | |\n|--|--|--|")?;
        for decision in &report.decisions {
            writeln!(
                f,
                "| {} | {} | {} |",
                decision.at.strftime("%H:%M:%S"),
                text(&decision.word),
                text(&decision.text)
            )?;
        }
        writeln!(f, "\n</details>")
    }
}

impl fmt::Display for JUnit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        let name = html(&format!("{}/{}", report.namespace, report.name));
        let failed = report
            .steps
            .iter()
            .filter(|step| step.verdict == Some(Verdict::Regressed));
        let bad = is_failure(report) == Some(true);
        let seconds = report.took().as_secs_f64();
        writeln!(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
        writeln!(
            f,
            "<testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" time=\"{seconds:.3}\" timestamp=\"{}\">",
            report.steps.len() + 1,
            failed.count() + usize::from(bad),
            report.began
        )?;
        for step in &report.steps {
            let [number, exposure, _, stable, canary, verdict] = step_cells(report, step);
            let took = step
                .ended
                .unwrap_or(report.until())
                .duration_since(step.began);
            write!(
                f,
                "  <testcase classname=\"{name}\" name=\"step {number}: {exposure}\" time=\"{:.3}\"",
                took.as_secs_f64()
            )?;
            let text = html(&format!("{verdict}; canary {canary}; stable {stable}"));
            match step.verdict {
                Some(Verdict::Regressed) => {
                    writeln!(f, "><failure message=\"{text}\"/></testcase>")?;
                }
                Some(_) => writeln!(f, "><system-out>{text}</system-out></testcase>")?,
                None => writeln!(f, "><skipped message=\"not analyzed\"/></testcase>")?,
            }
        }
        write!(
            f,
            "  <testcase classname=\"{name}\" name=\"rollout\" time=\"{seconds:.3}\""
        )?;
        let headline = html(&report.headline());
        match is_failure(report) {
            Some(true) => writeln!(f, "><failure message=\"{headline}\"/></testcase>")?,
            Some(false) => writeln!(f, "><system-out>{headline}</system-out></testcase>")?,
            None => writeln!(f, "><skipped message=\"{headline}\"/></testcase>")?,
        }
        writeln!(f, "</testsuite>")
    }
}

/// Whether it went wrong; `None` where that is not known yet, or not for this process to say.
fn is_failure(report: &RunReport) -> Option<bool> {
    match report.outcome? {
        Outcome::Promoted | Outcome::AlreadyPromoted | Outcome::StepPassed => Some(false),
        Outcome::RolledBack(_) | Outcome::RollbackFailed | Outcome::Drifted => Some(true),
        Outcome::StepSet | Outcome::Held | Outcome::TakenOver | Outcome::Interrupted => None,
    }
}

/// Text that Markdown leaves as it is, on one line of a table.
fn text(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' => plain.extend(['\\', char]),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '&' => plain.push_str("&amp;"),
            char if char.is_control() => plain.push(' '),
            char => plain.push(char),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events::regression_report;

    #[test]
    fn a_regression_is_a_failed_suite_with_its_step() {
        let text = JUnit(&regression_report()).to_string();
        let of = |what: &str| text.matches(what).count();
        let steps = regression_report().steps.len();
        assert!(
            text.contains(&format!("tests=\"{}\" failures=\"2\"", steps + 1)),
            "{text}"
        );
        assert_eq!(of("<testcase "), steps + 1);
        assert_eq!(of("<failure "), 2);
        assert!(
            text.contains("rolled back: the canary was worse than stable"),
            "{text}"
        );
    }

    #[test]
    fn a_summary_names_outcome_versions_and_steps() {
        let text = Markdown(&regression_report()).to_string();
        assert!(
            text.starts_with("## ❌ shop/reviews: rolled back: "),
            "{text}"
        );
        assert!(
            text.contains("**versions**: v1 (stable) -&gt; v2 (canary)"),
            "{text}"
        );
        let rows = text
            .lines()
            .filter(|line| line.starts_with("| 1 | "))
            .count();
        assert_eq!(rows, 1);
    }

    #[test]
    fn text_is_no_markup() {
        assert_eq!(
            text("a|b `c`\n<i> [x](y)"),
            "a\\|b \\`c\\` &lt;i&gt; \\[x\\](y)"
        );
    }
}
