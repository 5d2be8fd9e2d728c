//! Output on a thread of its own, so that whoever decides waits for no terminal, pipe or file.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::rollout::{Event, Observer};

/// How many messages may wait before repeatable ones are dropped: with a look every 5 s, 20 minutes.
const CAPACITY: usize = 256;

/// How long a sink may take to open.
const OPENING: Duration = Duration::from_secs(5);

/// Something to write.
pub(crate) trait Message: Send + 'static {
    /// Whether it may be dropped where too many wait.
    fn is_repeatable(&self) -> bool;
}

impl Message for Event {
    fn is_repeatable(&self) -> bool {
        self.event.is_repeatable()
    }
}

/// Messages on their way to a sink, which a thread of its own writes to.
///
/// A push never blocks. Where a sink is slow or stands still, the oldest repeatable messages are dropped
/// from [`CAPACITY`] on; the others wait however many they are, which is not many: a rollout has as many
/// as it has steps, and as people give commands. The order is kept. Nothing that the thread holds while
/// it writes, a lock of a stream for instance, is ever taken by who pushes.
pub(crate) struct OutputQueue<T> {
    shared: Arc<Shared<T>>,
    /// Changes with each message that was handled, and is closed when the thread has ended.
    progress: watch::Receiver<()>,
}

/// What became of the messages of a queue.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// How many there were.
    pub pushed: u64,
    /// How many of them were dropped, failed, or are still waiting.
    pub lost: u64,
    /// Whether some are still waiting.
    pub is_stalled: bool,
    /// The first error of the sink.
    pub error: Option<io::Error>,
}

struct Shared<T> {
    state: Mutex<QueueState<T>>,
    changed: Condvar,
}

struct QueueState<T> {
    waiting: VecDeque<T>,
    is_writing: bool,
    is_closed: bool,
    pushed: u64,
    written: u64,
    error: Option<io::Error>,
}

// Not derived: that would ask for messages that can be cloned.
impl<T> Clone for OutputQueue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            progress: self.progress.clone(),
        }
    }
}

impl<T: Message> OutputQueue<T> {
    /// Opens a sink on a thread of its own, where it is written to and dropped as well.
    ///
    /// # Errors
    /// If there is no thread to be had, or the sink cannot be opened within 5 s.
    pub fn start<S>(
        name: &str,
        open: impl FnOnce() -> io::Result<S> + Send + 'static,
    ) -> io::Result<Self>
    where
        S: FnMut(T) -> io::Result<()>,
    {
        let shared = Arc::new(Shared {
            state: Mutex::new(QueueState {
                waiting: VecDeque::new(),
                is_writing: false,
                is_closed: false,
                pushed: 0,
                written: 0,
                error: None,
            }),
            changed: Condvar::new(),
        });
        let (handled, progress) = watch::channel(());
        let (tell, opened) = mpsc::sync_channel(1);
        let theirs = Arc::clone(&shared);
        let work = move || {
            let (sink, opening) = match open() {
                Ok(sink) => (Some(sink), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Nobody waits for a sink that took too long.
            let is_wanted = tell.send(opening).is_ok();
            if let Some(sink) = sink.filter(|_| is_wanted) {
                theirs.write_to(sink, &handled);
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(work)?;
        let opening = opened.recv_timeout(OPENING);
        opening.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Self { shared, progress })
    }

    /// Adds a message, at once.
    pub fn push(&self, message: T) {
        let mut state = self.shared.lock();
        state.pushed += 1;
        if state.waiting.len() >= CAPACITY {
            match state.waiting.iter().position(Message::is_repeatable) {
                Some(oldest) => drop(state.waiting.remove(oldest)),
                None if message.is_repeatable() => return,
                None => {}
            }
        }
        state.waiting.push_back(message);
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Whether the sink has failed.
    pub fn has_failed(&self) -> bool {
        self.shared.lock().error.is_some()
    }

    /// Waits until all that was pushed is written, or nothing has moved for as long as `patience`; says
    /// whether it is.
    pub async fn flushed(&self, patience: Duration) -> bool {
        let mut progress = self.progress.clone();
        loop {
            progress.mark_unchanged();
            if self.shared.lock().is_idle() {
                return true;
            }
            if !matches!(timeout(patience, progress.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
    }

    /// Closes the queue and waits until all is written and the sink is dropped, or nothing has moved for
    /// as long as `patience`. Without `patience` it waits as long as it takes. Cancel safe.
    pub async fn finish(&self, patience: Option<Duration>) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_one();
        let mut progress = self.progress.clone();
        loop {
            let changed = progress.changed();
            let changed = match patience {
                Some(patience) => timeout(patience, changed).await,
                None => Ok(changed.await),
            };
            if !matches!(changed, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// What has become of all messages so far; the error is told once.
    pub fn delivery(&self) -> Delivered {
        let mut state = self.shared.lock();
        Delivered {
            pushed: state.pushed,
            lost: state.pushed - state.written,
            is_stalled: !state.is_idle(),
            error: state.error.take(),
        }
    }
}

impl<T: Message + From<Event>> Observer for OutputQueue<T> {
    fn see(&mut self, event: &Event) {
        self.push(event.clone().into());
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, QueueState<T>> {
        // Nothing panics while it is held, and each change is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut sink: impl FnMut(T) -> io::Result<()>, handled: &watch::Sender<()>) {
        while let Some(message) = self.next() {
            let written = sink(message);
            let mut state = self.lock();
            state.is_writing = false;
            match written {
                Ok(()) => state.written += 1,
                Err(error) => {
                    state.error.get_or_insert(error);
                }
            }
            drop(state);
            handled.send_replace(());
        }
    }

    /// The next message; nothing when the queue is closed and empty.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(message) = state.waiting.pop_front() {
                state.is_writing = true;
                return Some(message);
            }
            if state.is_closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> QueueState<T> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.is_writing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;
    use crate::rollout::EventKind;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_millis(300);

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Told {
        Again(usize),
        Once(usize),
    }

    impl Message for Told {
        fn is_repeatable(&self) -> bool {
            matches!(self, Self::Again(_))
        }
    }

    /// A queue whose sink takes a message for each permit, and what it took.
    struct Gated {
        queue: OutputQueue<Told>,
        permits: mpsc::Sender<()>,
        taken: Arc<Mutex<Vec<Told>>>,
    }

    impl Gated {
        fn new() -> Self {
            let (permits, gate) = mpsc::channel::<()>();
            let taken = Arc::new(Mutex::new(Vec::new()));
            let theirs = Arc::clone(&taken);
            let open = move || {
                Ok(move |told: Told| -> io::Result<()> {
                    // Without anybody to give permits it is open.
                    let _ = gate.recv();
                    theirs.lock().unwrap().push(told);
                    Ok(())
                })
            };
            Self {
                queue: OutputQueue::start("gated", open).unwrap(),
                permits,
                taken,
            }
        }

        /// Waits until the sink holds the first message, so that all others are in the queue.
        fn blocked_by(told: Told) -> Self {
            let gated = Self::new();
            gated.queue.push(told);
            while !gated.queue.shared.lock().is_writing {
                thread::yield_now();
            }
            gated
        }

        async fn all(self) -> (Vec<Told>, Delivered) {
            drop(self.permits);
            self.queue.finish(Some(PATIENCE)).await;
            let taken = self.taken.lock().unwrap().clone();
            (taken, self.queue.delivery())
        }
    }

    #[tokio::test]
    async fn whoever_pushes_never_waits_for_the_sink() {
        let gated = Gated::blocked_by(Told::Once(0));
        let begun = Instant::now();
        for number in 0..10_000 {
            gated.queue.push(Told::Again(number));
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(gated.taken.lock().unwrap().is_empty());
        let waiting = gated.queue.shared.lock().waiting.len();
        assert_eq!(waiting, CAPACITY);
    }

    #[tokio::test]
    async fn all_arrives_in_order_where_the_sink_keeps_up() {
        let gated = Gated::new();
        let pushed: Vec<_> = (0..CAPACITY).map(Told::Again).collect();
        for &told in &pushed {
            gated.queue.push(told);
        }
        let (taken, delivery) = gated.all().await;
        assert_eq!(taken, pushed);
        assert_eq!((delivery.pushed, delivery.lost), (CAPACITY as u64, 0));
    }

    #[tokio::test]
    async fn a_full_queue_drops_the_oldest_of_what_is_repeatable_and_nothing_else() {
        let gated = Gated::blocked_by(Told::Once(0));
        let mut expected = vec![Told::Once(0)];
        for number in 1..=3 * CAPACITY {
            // Every fourth must not be lost.
            let told = if number % 4 == 0 {
                Told::Once(number)
            } else {
                Told::Again(number)
            };
            gated.queue.push(told);
            expected.push(told);
        }
        let (taken, delivery) = gated.all().await;
        let mut dropped = expected.len() - taken.len();
        assert_eq!(taken.len(), CAPACITY + 1);
        assert_eq!(delivery.lost, dropped as u64);
        expected.retain(|told| {
            let goes = told.is_repeatable() && dropped > 0;
            dropped -= usize::from(goes);
            !goes
        });
        assert_eq!(taken, expected);
    }

    #[tokio::test]
    async fn a_queue_full_of_what_must_not_be_lost_takes_more_of_it() {
        let gated = Gated::blocked_by(Told::Once(0));
        for number in 1..=2 * CAPACITY {
            gated.queue.push(Told::Once(number));
        }
        gated.queue.push(Told::Again(0));
        let (taken, delivery) = gated.all().await;
        assert_eq!(
            taken,
            (0..=2 * CAPACITY).map(Told::Once).collect::<Vec<_>>()
        );
        assert_eq!(delivery.lost, 1);
    }

    #[tokio::test]
    async fn the_end_waits_for_a_sink_that_moves_and_not_for_one_that_stands_still() {
        let slow = OutputQueue::start("slow", || {
            Ok(|_: Told| -> io::Result<()> {
                thread::sleep(PATIENCE / 3);
                Ok(())
            })
        });
        let slow = slow.unwrap();
        (0..9).for_each(|number| slow.push(Told::Once(number)));
        slow.finish(Some(PATIENCE)).await;
        assert_eq!(slow.delivery().lost, 0);

        let still = Gated::blocked_by(Told::Once(0));
        still.queue.push(Told::Once(1));
        let begun = Instant::now();
        assert!(!still.queue.flushed(PATIENCE).await);
        still.queue.finish(Some(PATIENCE)).await;
        let took = begun.elapsed();
        assert!(took >= PATIENCE * 2 && took < PATIENCE * 4, "{took:?}");
        let delivery = still.queue.delivery();
        assert_eq!((delivery.pushed, delivery.lost), (2, 2));
        assert!(delivery.is_stalled);
    }

    #[tokio::test]
    async fn what_is_flushed_is_written() {
        let gated = Gated::blocked_by(Told::Once(0));
        gated.queue.push(Told::Again(1));
        gated.permits.send(()).unwrap();
        gated.permits.send(()).unwrap();
        assert!(gated.queue.flushed(PATIENCE * 10).await);
        let taken = gated.taken.lock().unwrap().clone();
        assert_eq!(taken, [Told::Once(0), Told::Again(1)]);
    }

    #[tokio::test]
    async fn a_sink_that_fails_is_tried_again_and_its_first_error_kept() {
        let mut calls = 0;
        let open = move || {
            Ok(move |_: Told| -> io::Result<()> {
                calls += 1;
                match calls {
                    1 => Err(io::ErrorKind::StorageFull.into()),
                    2 => Err(io::ErrorKind::BrokenPipe.into()),
                    _ => Ok(()),
                }
            })
        };
        let queue = OutputQueue::start("failing", open).unwrap();
        (0..5).for_each(|number| queue.push(Told::Once(number)));
        queue.finish(Some(PATIENCE)).await;
        assert!(queue.has_failed());
        let delivery = queue.delivery();
        assert_eq!((delivery.pushed, delivery.lost), (5, 2));
        assert_eq!(
            delivery.error.map(|error| error.kind()),
            Some(io::ErrorKind::StorageFull)
        );
    }

    #[tokio::test]
    async fn a_sink_that_panics_does_not_keep_anybody() {
        let open = || Ok(|_: Told| -> io::Result<()> { panic!("on purpose") });
        let queue = OutputQueue::start("panicking", open).unwrap();
        queue.push(Told::Once(0));
        assert!(!queue.flushed(PATIENCE * 10).await);
        queue.finish(None).await;
        assert_eq!(queue.delivery().lost, 1);
    }

    #[test]
    fn a_sink_that_cannot_be_opened_is_an_error() {
        let open = || -> io::Result<fn(Told) -> io::Result<()>> {
            Err(io::ErrorKind::PermissionDenied.into())
        };
        let error = OutputQueue::start("refused", open).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn only_what_a_later_event_says_again_is_repeatable() {
        for event in test_events::every_kind() {
            let expected = matches!(
                event.event,
                EventKind::Analyzed { .. }
                    | EventKind::MetricsUnavailable { .. }
                    | EventKind::Retrying { .. }
            );
            assert_eq!(event.is_repeatable(), expected, "{event:?}");
        }
    }
}
