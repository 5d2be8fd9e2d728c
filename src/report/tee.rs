//! One stream of events to several observers.

use crate::rollout::{Event, Observer};

/// Feeds several observers, in the order in which they were added.
#[derive(Default)]
pub struct Tee(Vec<Box<dyn Observer>>);

impl Tee {
    /// One without observers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds `observer` too.
    ///
    /// What must not be lost comes first: a journal before a screen.
    pub fn push(&mut self, observer: Box<dyn Observer>) {
        self.0.push(observer);
    }
}

impl Observer for Tee {
    fn see(&mut self, event: &Event) {
        for observer in &mut self.0 {
            observer.see(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;
    use std::sync::mpsc;

    #[test]
    fn everybody_sees_everything_in_order() {
        let (first, seen) = mpsc::channel();
        let second = first.clone();
        let mut tee = Tee::new();
        tee.push(Box::new(move |event: &Event| {
            first.send(("first", event.at)).unwrap()
        }));
        tee.push(Box::new(move |event: &Event| {
            second.send(("second", event.at)).unwrap()
        }));
        let events = test_events::every_kind();
        for event in &events {
            tee.see(event);
        }
        drop(tee);
        let expected: Vec<_> = events
            .iter()
            .flat_map(|event| [("first", event.at), ("second", event.at)])
            .collect();
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected);
    }
}
