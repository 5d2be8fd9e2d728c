//! What others are told of a rollout: what changes its course, and nothing that repeats itself.

use jiff::tz::TimeZone;

use super::event_formatter::EventFormatter;
use crate::rollout::{Event, EventKind, Outcome};

/// The longest text, in bytes: that of a Kubernetes Event.
const LONGEST: usize = 1024;

/// Something that changed the course of a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bulletin {
    /// Whether somebody should look.
    pub is_warning: bool,
    /// In one word, as Kubernetes Events have it.
    pub reason: &'static str,
    /// In a sentence.
    pub text: String,
}

/// Makes bulletins of the events of a run.
pub(crate) struct Bulletins(EventFormatter);

impl Bulletins {
    /// Before the first event.
    pub fn new() -> Self {
        Self(EventFormatter::new(TimeZone::UTC, None))
    }

    /// What others are told of an event, if anything.
    pub fn of(&mut self, event: &Event) -> Option<Bulletin> {
        // The formatter remembers names and weights from events that are told to nobody.
        let lines = self.0.tell(event);
        let (is_warning, reason) = reason_of(&event.event)?;
        let mut texts = lines
            .into_iter()
            .filter(|line| line.word != "next")
            .map(|line| format!("{} {}", line.word, line.text));
        let mut text = texts.next()?;
        for more in texts {
            text += "; ";
            text += &more;
        }
        Some(Bulletin {
            is_warning,
            reason,
            text: shortened(text),
        })
    }
}

fn reason_of(event: &EventKind) -> Option<(bool, &'static str)> {
    Some(match event {
        EventKind::Planned {
            resumed_from: None, ..
        } => (false, "RolloutStarted"),
        EventKind::Planned { .. } => (false, "RolloutTakenOver"),
        EventKind::StepStarted { .. } => (false, "StepStarted"),
        EventKind::StepPassed { .. } => (false, "StepPassed"),
        EventKind::Tripped { .. } => (true, "CanaryTripped"),
        EventKind::FalseAlarm { .. } => (false, "FalseAlarm"),
        EventKind::Regressed { .. } => (true, "CanaryRegressed"),
        EventKind::Waiting { .. } => (false, "WaitingForPromote"),
        EventKind::Paused { .. } => (false, "RolloutPaused"),
        EventKind::Resumed { .. } => (false, "RolloutResumed"),
        EventKind::Promoted { .. } => (false, "StepPromoted"),
        EventKind::MetricsUnavailable { .. } => (true, "MetricsUnavailable"),
        EventKind::MetricsBack { .. } => (false, "MetricsBack"),
        EventKind::NoVerdict { .. } => (true, "NoVerdict"),
        EventKind::HookFailed { .. } => (true, "HookFailed"),
        EventKind::Drifted { .. } => (true, "RoutesChanged"),
        EventKind::RolledBack { .. } => (true, "RolledBack"),
        EventKind::Finished { outcome, .. } => match outcome {
            Outcome::Promoted => (false, "RolloutPromoted"),
            Outcome::RollbackFailed => (true, "RollbackFailed"),
            Outcome::Drifted => (true, "RolloutStopped"),
            Outcome::Held => (false, "RolloutHeld"),
            // Told by what led to it, or nothing has happened.
            Outcome::RolledBack(_)
            | Outcome::StepPassed
            | Outcome::StepSet
            | Outcome::AlreadyPromoted
            | Outcome::TakenOver
            | Outcome::Interrupted => return None,
        },
        EventKind::TrafficSeen { .. }
        | EventKind::Analyzed { .. }
        | EventKind::HookStarted { .. }
        | EventKind::HookPassed { .. }
        | EventKind::Retrying { .. }
        | EventKind::RollingBack { .. }
        | EventKind::Warning { .. } => return None,
    })
}

/// Cut where a character begins.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST - "…".len()));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;

    #[test]
    fn a_regression_is_told_in_order_and_without_its_looks() {
        let mut bulletins = Bulletins::new();
        let told: Vec<_> = test_events::regression()
            .iter()
            .filter_map(|event| bulletins.of(event))
            .collect();
        let reasons: Vec<_> = told.iter().map(|told| told.reason).collect();
        assert_eq!(reasons.first(), Some(&"RolloutStarted"), "{reasons:?}");
        assert_eq!(reasons.last(), Some(&"RolledBack"), "{reasons:?}");
        assert!(!reasons.contains(&"Analyzed"), "{reasons:?}");
        let regressed = told.iter().find(|told| told.reason == "CanaryRegressed");
        let regressed = regressed.unwrap();
        assert!(regressed.is_warning);
        assert!(regressed.text.contains(" evidence "), "{}", regressed.text);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let cut = shortened("ä".repeat(2000));
        assert!(cut.len() <= LONGEST && cut.ends_with("ä…"), "{}", cut.len());
        assert_eq!(shortened("short".into()), "short");
    }
}
