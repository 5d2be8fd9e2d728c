//! The steps of a rollout in one row: done, current, to come.

use std::cmp::Ordering;

use super::row::RowPart;
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

impl StepPosition<'_> {
    /// The row, with the time in the step; of a long ladder only what is near.
    pub(super) fn row(self, palette: Palette, time: &str) -> String {
        let parts = self.parts(time);
        let painted = parts
            .iter()
            .map(|part| palette.paint(part.tone, &part.text));
        painted.collect::<Vec<_>>().join("   ")
    }

    /// The parts of the row.
    pub(super) fn parts(self, time: &str) -> Vec<RowPart> {
        let current = self.step.saturating_sub(1);
        let first = current.saturating_sub(BEHIND);
        let last = (current + AHEAD).min(self.steps.len().saturating_sub(1));
        let here = RowPart::new(self.tone, format!("▸ {} for {time}", self.exposure));
        let mut parts = Vec::new();
        if first > 0 {
            parts.push(RowPart::new(Tone::Quiet, "…"));
        }
        let near = self.steps.iter().enumerate();
        for (index, step) in near.filter(|(index, _)| (first..=last).contains(index)) {
            parts.push(match (index + 1).cmp(&self.step) {
                Ordering::Less => RowPart::new(Tone::Good, format!("✓ {step}")),
                Ordering::Equal => here.clone(),
                Ordering::Greater => RowPart::new(Tone::Quiet, format!("· {step}")),
            });
        }
        if self.step > self.steps.len() {
            parts.push(here);
        }
        if last + 1 < self.steps.len() {
            parts.push(RowPart::new(Tone::Quiet, "…"));
        }
        parts
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
            let position = StepPosition {
                steps: &steps,
                step,
                exposure: steps[step - 1],
                tone: Tone::Strong,
            };
            assert_eq!(position.row(Palette::PLAIN, "5s"), expected);
        }
    }
}
