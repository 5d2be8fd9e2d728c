//! The steps of a rollout in one row: done, current, to come.

use super::{Palette, Tone};
use crate::plan::Exposure;

/// The most steps shown before the current one.
const BEHIND: usize = 3;
/// The most steps shown after the current one.
const AHEAD: usize = 5;

/// Where a rollout stands on its steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepPosition<'a> {
    pub steps: &'a [Exposure],
    /// The current step, from 1; 0 before the first.
    pub step: usize,
    /// What the canary gets now, which a trip makes differ from the step's.
    pub exposure: Exposure,
    pub tone: Tone,
}

/// The row, divided where the time in the step belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ladder {
    pub before: String,
    pub after: String,
}

impl StepPosition<'_> {
    /// The row; of a long ladder only what is near.
    pub(super) fn ladder(self, palette: Palette) -> Ladder {
        let current = self.step.saturating_sub(1);
        let first = current.saturating_sub(BEHIND);
        let last = (current + AHEAD).min(self.steps.len().saturating_sub(1));
        let mut before = Vec::new();
        let mut after = String::new();
        if first > 0 {
            before.push(palette.paint(Tone::Quiet, "…"));
        }
        for (index, step) in self.steps.iter().enumerate() {
            let number = index + 1;
            if index < first || index > last || number == self.step {
                continue;
            }
            if number < self.step {
                before.push(palette.paint(Tone::Good, format!("✓ {step}")));
            } else {
                after.push_str("   ");
                after.push_str(&palette.paint(Tone::Quiet, format!("· {step}")));
            }
        }
        if last + 1 < self.steps.len() {
            after.push_str("   ");
            after.push_str(&palette.paint(Tone::Quiet, "…"));
        }
        if self.step > 0 {
            let here = palette.paint(self.tone, format!("▸ {}", self.exposure));
            before.push(format!("{here} for "));
        }
        Ladder {
            before: before.join("   "),
            after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Percent;

    #[test]
    fn a_long_ladder_shows_what_is_near() {
        for (step, steps, expected) in [
            (1, 2, "▸ 1 % for 5s   · 2 %"),
            (2, 2, "✓ 1 %   ▸ 2 % for 5s"),
            (
                10,
                20,
                "…   ✓ 7 %   ✓ 8 %   ✓ 9 %   ▸ 10 % for 5s   · 11 %   · 12 %   · 13 %   · 14 %   · 15 %   …",
            ),
        ] {
            let steps: Vec<Exposure> = (1..=steps)
                .map(|step| Exposure::Share(Percent::whole(step)))
                .collect();
            let ladder = StepPosition {
                steps: &steps,
                step,
                exposure: steps[step - 1],
                tone: Tone::Strong,
            }
            .ladder(Palette::PLAIN);
            assert_eq!(format!("{}5s{}", ladder.before, ladder.after), expected);
        }
    }
}
