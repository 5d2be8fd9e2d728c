//! The one loop that writes to an object.
//!
//! Every write of a rollout goes through [`apply`]: the first step, each later one, a change of state, a
//! companion and a rollback. What differs between them is a [`Purpose`]: what is written, what an object
//! that has changed meanwhile means, and what a signal means; and a [`Retry`], which says how often and
//! how fast it is tried again.
//!
//! The answer to a PATCH may be lost. So after a failed `test`, a timeout or a 5xx the object is read
//! and compared with what was intended before anything else happens.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::cluster::{CallError, Cluster, ErrorKind};
use crate::istio::VirtualService;
use crate::rollout::{Intent, WriteError};
use crate::signals::{LAST_ANSWER, Signal, Signals};

/// How often the object may turn out to have changed before there is a pause between attempts.
const IMMEDIATE_RETRIES: u32 = 3;
/// The longest `Retry-After` that is honoured in full; a server that asks for more is asked again then.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// How often and how fast a write is tried again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    /// How many attempts are made at most.
    attempts: Option<u32>,
    /// How long the attempts may take together.
    within: Option<Duration>,
    /// The pause after the first attempt that failed; doubled each time.
    first_pause: Duration,
    longest_pause: Duration,
    /// Whether what the server refuses is tried again as well.
    refusals: bool,
    /// How long it is not believed that the object or the right to it is gone: one answer may be that of a
    /// proxy, or of a server whose view of roles is behind.
    doubt: Duration,
}

impl Retry {
    /// For a command whose user waits for the answer.
    pub const COMMAND: Self = Self {
        attempts: Some(5),
        within: None,
        first_pause: Duration::from_millis(250),
        longest_pause: Duration::from_secs(1),
        refusals: false,
        doubt: Duration::ZERO,
    };

    /// For a driver, which goes on until something else has to be done.
    pub const DRIVER: Self = Self {
        attempts: None,
        within: None,
        first_pause: Duration::from_millis(250),
        longest_pause: Duration::from_secs(10),
        refusals: false,
        doubt: Duration::from_secs(10),
    };

    /// For a rollback. A webhook that refuses it may be repaired, and rights may be given, so it goes on
    /// whatever the answer is.
    pub const fn rollback(within: Duration) -> Self {
        Self {
            attempts: None,
            within: Some(within),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            refusals: true,
            // Other objects of the group wait for their turn.
            doubt: Duration::from_secs(2),
        }
    }

    /// For what a rollback has to read first: what may not be read now will not be readable in a moment.
    pub const fn reading_for_rollback(within: Duration) -> Self {
        Self {
            refusals: false,
            doubt: Duration::ZERO,
            ..Self::rollback(within)
        }
    }

    /// The attempts, beginning with the first now.
    pub fn attempts(self) -> Attempts {
        Attempts {
            retry: self,
            began: Instant::now(),
            number: 1,
            pause: self.first_pause,
            doubted_since: None,
        }
    }

    /// Whether a call is repeated after `failure`, which has been doubted for so long.
    fn may_repeat(self, failure: &CallError, doubted: Duration) -> bool {
        match failure.kind {
            // The client asks for other credentials, and without any nothing else can be done either.
            ErrorKind::Unauthorized
            | ErrorKind::Busy { .. }
            | ErrorKind::Unknown
            | ErrorKind::Precondition => true,
            ErrorKind::Missing => doubted < self.doubt,
            ErrorKind::Unserved | ErrorKind::Forbidden => self.refusals || doubted < self.doubt,
            ErrorKind::Exists | ErrorKind::Expired | ErrorKind::Refused => self.refusals,
        }
    }
}

/// The attempts at one call so far.
pub(super) struct Attempts {
    retry: Retry,
    began: Instant,
    number: u32,
    pause: Duration,
    /// Since when the server has said that the object or the right to it is gone.
    doubted_since: Option<Instant>,
}

impl Attempts {
    /// The attempt that is made now, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    fn is_last(&self) -> bool {
        self.retry.attempts == Some(self.number)
    }

    /// How long to wait before the next attempt; `None` if `failure` is the end of it.
    ///
    /// A server that says when to come back is not asked earlier.
    pub fn next(&mut self, failure: &CallError) -> Option<Duration> {
        let asked = match failure.kind {
            ErrorKind::Busy {
                seconds: Some(seconds),
            } => Duration::from_secs(seconds.into()).min(LONGEST_RETRY_AFTER),
            _ => Duration::ZERO,
        };
        let pause = self.pause.max(asked);
        let is_doubted = matches!(
            failure.kind,
            ErrorKind::Missing | ErrorKind::Unserved | ErrorKind::Forbidden
        );
        let since = is_doubted.then(|| self.doubted_since.unwrap_or_else(Instant::now));
        self.doubted_since = since;
        let doubted = since.map_or(Duration::ZERO, |since| since.elapsed() + pause);
        let in_time = |within| self.began.elapsed() + pause <= within;
        let goes_on = self.retry.may_repeat(failure, doubted)
            && !self.is_last()
            && self.retry.within.is_none_or(in_time);
        self.number += 1;
        self.pause = (self.pause * 2).min(self.retry.longest_pause);
        goes_on.then_some(pause)
    }
}

/// How a write goes on.
pub(super) enum Next {
    /// The object is as it should be.
    Done(VirtualService),
    /// The object is this now: the write is made on it.
    Again(VirtualService),
}

/// Why a write ended without being made.
#[derive(Debug)]
pub(super) enum Failure {
    /// No patch can be made.
    Unwritable(WriteError),
    /// The server did not take it, and trying again has no use or no time is left.
    Call(CallError),
}

impl Failure {
    /// Whether the write may have been made, or may still be.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Call(error) if error.kind == ErrorKind::Unknown)
    }
}

/// What a write is for.
pub(super) trait Purpose {
    /// Why the write is given up.
    type Stop;

    /// What is to be written to the object as it is; `None` if there is nothing to write.
    async fn intent(&mut self, vs: &VirtualService) -> Result<Option<Intent>, Self::Stop>;

    /// The server has taken the write.
    async fn written(&mut self, now: VirtualService, _: &Intent) -> Result<Next, Self::Stop> {
        Ok(Next::Done(now))
    }

    /// An attempt was made of which neither its answer nor the object tells what became of it.
    fn unclear(&mut self) {}

    /// The object is not what it was: nothing was written, or another client wrote after it.
    async fn changed(&mut self, now: VirtualService, intent: &Intent) -> Result<Next, Self::Stop>;

    /// The write failed for good, as far as is known. A purpose that finds out that it was made returns the
    /// object.
    async fn failed(
        &mut self,
        vs: &VirtualService,
        failure: Failure,
    ) -> Result<VirtualService, Self::Stop>;

    /// The signals that end the write; without any it is made come what may.
    fn signals(&mut self) -> Option<&mut Signals> {
        None
    }

    /// A signal came. `sent` says whether a PATCH was sent whose answer is not known. A purpose that finds
    /// out that the write was made returns the object.
    async fn interrupted(
        &mut self,
        _vs: &VirtualService,
        _signal: Signal,
        _sent: bool,
    ) -> Result<VirtualService, Self::Stop> {
        unreachable!("only a purpose with signals is interrupted")
    }

    /// Waits for what ends the write while it is on its way.
    async fn interruption(&mut self, _: &Intent) -> Interruption<Self::Stop> {
        match self.signals() {
            Some(signals) => Interruption::Signal(signals.next().await),
            None => std::future::pending().await,
        }
    }

    /// The write failed and is tried again as this attempt, counted from 1.
    fn retrying(&mut self, _: &VirtualService, _: &CallError, _: u32) {}

    /// The last moment before it is tried again.
    async fn before_retry(&mut self, _: &Intent) -> Result<(), Self::Stop> {
        Ok(())
    }
}

/// What ends a write that is on its way.
pub(super) enum Interruption<S> {
    /// A signal.
    Signal(Signal),
    /// The purpose knows better by now.
    Stop(S),
}

/// Writes to the object last seen as `vs` until it is as `purpose` wants it.
///
/// # Errors
/// What `purpose` makes of whatever kept it from being written.
pub(super) async fn apply<P: Purpose>(
    cluster: &Cluster,
    retry: Retry,
    mut vs: VirtualService,
    purpose: &mut P,
) -> Result<VirtualService, P::Stop> {
    let mut attempts = retry.attempts();
    let mut conflicts = 0;
    // Whether an attempt was made of which nothing is known.
    let mut doubtful = false;
    loop {
        let Some(intent) = purpose.intent(&vs).await? else {
            return Ok(vs);
        };
        let next = match write_once(cluster, &vs, &intent, purpose).await {
            Attempt::Interrupted { signal, sent } => {
                return purpose.interrupted(&vs, signal, sent || doubtful).await;
            }
            Attempt::Stopped(stop) => return Err(stop),
            Attempt::Ended(Err(error)) => {
                return purpose.failed(&vs, Failure::Unwritable(error)).await;
            }
            Attempt::Ended(Ok(Written::Done(now))) => Ok(purpose.written(now, &intent).await?),
            Attempt::Ended(Ok(Written::Changed { now, unclear })) => {
                if unclear {
                    purpose.unclear();
                }
                Ok(purpose.changed(now, &intent).await?)
            }
            Attempt::Ended(Ok(Written::Failed(error))) => Err(error),
        };
        let failure = match next {
            Ok(Next::Done(now)) => return Ok(now),
            Ok(Next::Again(now)) => {
                vs = now;
                conflicts += 1;
                if conflicts <= IMMEDIATE_RETRIES {
                    continue;
                }
                keeps_changing(&vs)
            }
            Err(error) => error,
        };
        let Some(pause) = attempts.next(&failure) else {
            return purpose.failed(&vs, Failure::Call(failure)).await;
        };
        doubtful |= failure.kind == ErrorKind::Unknown;
        purpose.retrying(&vs, &failure, attempts.number());
        if let Some(signal) = paused(pause, purpose.signals()).await {
            return purpose.interrupted(&vs, signal, doubtful).await;
        }
        purpose.before_retry(&intent).await?;
    }
}

fn keeps_changing(vs: &VirtualService) -> CallError {
    CallError {
        kind: ErrorKind::Precondition,
        attempted: format!("patch virtualservice {}", vs.full_name()),
        why: "the object keeps changing while it is patched".into(),
    }
}

/// Waits, unless a signal comes first.
async fn paused(pause: Duration, signals: Option<&mut Signals>) -> Option<Signal> {
    let Some(signals) = signals else {
        tokio::time::sleep(pause).await;
        return None;
    };
    tokio::select! {
        biased;
        signal = signals.next() => Some(signal),
        () = tokio::time::sleep(pause) => None,
    }
}

enum Attempt<S> {
    Ended(Result<Written, WriteError>),
    Interrupted { signal: Signal, sent: bool },
    Stopped(S),
}

/// One attempt. A signal before it keeps it from being made; one that comes while it is under way waits
/// a little for its answer, and is put back where the write was made.
async fn write_once<P: Purpose>(
    cluster: &Cluster,
    vs: &VirtualService,
    intent: &Intent,
    purpose: &mut P,
) -> Attempt<P::Stop> {
    if let Some(signal) = purpose.signals().and_then(Signals::pending) {
        return Attempt::Interrupted {
            signal,
            sent: false,
        };
    }
    let mut writing = std::pin::pin!(write(cluster, vs, intent));
    let interruption = tokio::select! {
        biased;
        written = &mut writing => return Attempt::Ended(written),
        interruption = purpose.interruption(intent) => interruption,
    };
    let signal = match interruption {
        Interruption::Stop(stop) => return Attempt::Stopped(stop),
        Interruption::Signal(signal) => signal,
    };
    match timeout(LAST_ANSWER, &mut writing).await {
        Ok(done @ Ok(Written::Done(_))) => {
            if let Some(signals) = purpose.signals() {
                signals.put_back(signal);
            }
            Attempt::Ended(done)
        }
        _ => Attempt::Interrupted { signal, sent: true },
    }
}

/// What became of one PATCH.
#[derive(Debug)]
pub(super) enum Written {
    /// The object is as intended.
    Done(VirtualService),
    /// The object is not what it was taken for, and not as intended.
    Changed {
        /// What it is now.
        now: VirtualService,
        /// Whether the write may have been made, and another client's after it.
        unclear: bool,
    },
    /// Nothing was written, or the outcome is unknown; trying again is safe.
    Failed(CallError),
}

/// Writes `intent` to the object last seen as `vs`: one PATCH, and a GET only where its answer does not
/// tell what became of it.
pub(super) async fn write(
    cluster: &Cluster,
    vs: &VirtualService,
    intent: &Intent,
) -> Result<Written, WriteError> {
    let patch = intent.patch(vs)?;
    let error = match cluster.patch(vs, patch).await {
        Ok(now) => return Ok(Written::Done(now)),
        Err(error) => error,
    };
    if !matches!(error.kind, ErrorKind::Precondition | ErrorKind::Unknown) {
        return Ok(Written::Failed(error));
    }
    let now = match cluster.virtual_service(vs.namespace(), vs.name()).await {
        Ok(now) => now,
        Err(gone) if gone.kind == ErrorKind::Missing => return Ok(Written::Failed(gone)),
        Err(_) => return Ok(Written::Failed(error)),
    };
    let unclear = error.kind == ErrorKind::Unknown;
    Ok(if intent.is_done(&now) {
        Written::Done(now)
    } else if unclear && now.raw() == vs.raw() {
        Written::Failed(error)
    } else {
        Written::Changed { now, unclear }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: ErrorKind) -> CallError {
        CallError {
            kind,
            attempted: "patch virtualservice shop/reviews".into(),
            why: String::new(),
        }
    }

    fn pauses(retry: Retry, kind: ErrorKind, most: usize) -> Vec<u64> {
        let mut attempts = retry.attempts();
        let pauses = std::iter::from_fn(|| attempts.next(&failure(kind)));
        let pauses = pauses.take(most);
        pauses
            .map(|pause| u64::try_from(pause.as_millis()).unwrap())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_limit_and_attempts_come_to_an_end() {
        let unknown = ErrorKind::Unknown;
        assert_eq!(pauses(Retry::COMMAND, unknown, 9), [250, 500, 1000, 1000]);
        assert_eq!(
            pauses(Retry::DRIVER, unknown, 8),
            [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]
        );
        let rollback = Retry::rollback(Duration::from_secs(1));
        // No time passes here, so the limit is what one pause may take.
        assert_eq!(pauses(rollback, unknown, 9), [200, 400, 800]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_when_to_come_back_is_not_asked_earlier() {
        let busy = |seconds| ErrorKind::Busy {
            seconds: Some(seconds),
        };
        assert_eq!(pauses(Retry::DRIVER, busy(3), 2), [3000, 3000]);
        assert_eq!(pauses(Retry::DRIVER, busy(3600), 1), [30_000]);
        let none = ErrorKind::Busy { seconds: None };
        assert_eq!(pauses(Retry::DRIVER, none, 1), [250]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_rollback_insists_on_what_is_refused() {
        let rollback = Retry::rollback(Duration::from_secs(60));
        for kind in [ErrorKind::Forbidden, ErrorKind::Refused] {
            assert_eq!(pauses(Retry::COMMAND, kind, 1), [] as [u64; 0]);
            assert_eq!(pauses(rollback, kind, 1), [200]);
        }
        assert_eq!(pauses(Retry::DRIVER, ErrorKind::Refused, 1), [] as [u64; 0]);
    }

    /// How many attempts are made that all fail so, and how long they take.
    async fn attempts(retry: Retry, kind: ErrorKind) -> (u32, Duration) {
        let (mut attempts, began) = (retry.attempts(), Instant::now());
        while let Some(pause) = attempts.next(&failure(kind)) {
            assert!(attempts.number() < 100, "for ever");
            tokio::time::sleep(pause).await;
        }
        (attempts.number() - 1, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_is_no_proof_that_the_object_or_the_right_to_it_is_gone() {
        let rollback = Retry::rollback(Duration::from_secs(60));
        for kind in [
            ErrorKind::Forbidden,
            ErrorKind::Missing,
            ErrorKind::Unserved,
        ] {
            let (count, took) = attempts(Retry::DRIVER, kind).await;
            assert_eq!((count, took), (6, Duration::from_millis(7750)), "{kind:?}");
            assert_eq!(attempts(Retry::COMMAND, kind).await.0, 1, "{kind:?}");
        }
        assert_eq!(attempts(rollback, ErrorKind::Missing).await.0, 4);
        let reading = Retry::reading_for_rollback(Duration::from_secs(60));
        assert_eq!(pauses(reading, ErrorKind::Forbidden, 1), [] as [u64; 0]);
        assert_eq!(pauses(reading, ErrorKind::Unauthorized, 1), [200]);
        // Who is unknown now may be known in a moment.
        assert_eq!(
            pauses(Retry::DRIVER, ErrorKind::Unauthorized, 2),
            [250, 500]
        );
    }
}
