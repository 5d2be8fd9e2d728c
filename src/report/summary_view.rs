//! The result of a run.

use std::io::{self, Write};

use super::{Layout, View, escape, object};
use crate::rollout::Summary;

impl View for Summary {
    fn names(&self) -> Vec<&str> {
        vec![&self.name]
    }

    /// One line in kubectl's manner; what led to it was told by the lines.
    fn show(&self, out: &mut dyn Write, _: Layout) -> io::Result<()> {
        writeln!(out, "{} {}", escape(&object(&self.name)), self.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Exposure;
    use crate::report::{Format, print};
    use crate::rollout::{Cause, Outcome};

    #[test]
    fn a_result_is_one_line_or_a_name_or_json() {
        let at = "2026-01-01T12:00:00Z".parse().unwrap();
        let summary = Summary {
            version: Summary::VERSION,
            namespace: "shop".into(),
            name: "reviews".into(),
            stable: "v1".into(),
            canary: "v2".into(),
            run: "0198c0de".into(),
            outcome: Outcome::RolledBack(Cause::Regression),
            exit_code: 10,
            exposure: Exposure::NONE,
            step: 2,
            step_count: 4,
            began: at,
            ended: at,
            total_counts: None,
            rollback_millis: Some(21),
            reasons: vec![],
            warnings: vec![],
        };
        let text = |format| {
            let mut out = Vec::new();
            print(&mut out, format, Layout::default(), &summary).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(None),
            "virtualservice.networking.istio.io/reviews rolled back: the canary was worse than stable\n"
        );
        assert_eq!(
            text(Some(Format::Name)),
            "virtualservice.networking.istio.io/reviews\n"
        );
        let json = text(Some(Format::Json));
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    }
}
