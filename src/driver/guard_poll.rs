//! Reads the guards of a plan beside everything else that a driver waits for.
//!
//! A slow query of the user's must not keep the failures of requests waiting, so each guard is asked on its
//! own, and what is being asked goes on wherever else the driver turns.

use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, join_all, pending};
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::clock::Clock;
use crate::discovery::VersionFacts;
use crate::metrics::{GuardAnswers, GuardReader, GuardReading, MetricSource, ask_guard};
use crate::rollout::{GuardWatch, Rollout};
use crate::verdict::Analysis;
use crate::verdict::sequential::{History, Sequential};

/// How long stable's past may take: without it the comparison is only the more careful.
const PAST_DEADLINE: Duration = Duration::from_secs(3);

/// The guards of a rollout under way.
pub(super) struct GuardPoll<'a> {
    metrics: &'a dyn MetricSource,
    reader: GuardReader,
    /// How long an answer may take.
    within: Duration,
    /// The longest that metrics are left alone where they ask for it: beyond, the plan decides what to do.
    grace: Duration,
    /// When each is to be read; nothing while it is being read.
    due: Vec<Option<Instant>>,
    asked: FuturesUnordered<BoxFuture<'a, GuardAnswers>>,
}

impl<'a> GuardPoll<'a> {
    /// The guards of `rollout`, none of them read as yet.
    pub fn new(metrics: &'a dyn MetricSource, rollout: &Rollout, versions: &VersionFacts) -> Self {
        let first = rollout.history.first();
        let since = first.map_or(rollout.began, |segment| segment.since);
        let reader = GuardReader::new(&rollout.plan, &versions.targets, since);
        Self {
            metrics,
            within: rollout.plan.query_timeout.unsigned(),
            grace: rollout.plan.metrics_grace.unsigned(),
            due: vec![Some(Instant::now()); reader.len()],
            reader,
            asked: FuturesUnordered::new(),
        }
    }

    /// What judges them, knowing what stable's counters did before the rollout.
    pub async fn watch(&self, rollout: &Rollout) -> GuardWatch {
        let (reader, metrics, plan) = (&self.reader, self.metrics, &rollout.plan);
        let pasts = (0..reader.len())
            .map(|guard| reader.past(guard, metrics, rollout.began, PAST_DEADLINE));
        let pasts = join_all(pasts).await;
        let guards = plan.guards.iter().zip(pasts).map(|(guard, past)| {
            let analysis = guard.is_compared().then(|| {
                let rest = rollout.at_rest_since.unwrap_or(Timestamp::MIN);
                let history = History {
                    refusals: None,
                    ..History::from_windows_since(&past, rest)
                };
                let analysis: Box<dyn Analysis> =
                    Box::new(Sequential::new(plan.guard_policy(), &history));
                analysis
            });
            (guard.clone(), analysis)
        });
        GuardWatch::new(guards)
    }

    /// Waits for the next answers.
    pub async fn next(&mut self, clock: &Clock) -> GuardAnswers {
        loop {
            self.ask_what_is_due(clock.now());
            let due = self.due.iter().flatten().min().copied();
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(answers) = self.asked.next() => return answers,
                () = due => {}
            }
        }
    }

    fn ask_what_is_due(&mut self, now: Timestamp) {
        let instant = Instant::now();
        for guard in 0..self.due.len() {
            if self.due[guard].is_none_or(|due| due > instant) {
                continue;
            }
            let metrics = self.metrics;
            let answers = match self.reader.questions(guard, now, self.within) {
                Ok(questions) if questions.is_empty() => {
                    self.due[guard] = Some(instant + self.reader.interval(guard));
                    continue;
                }
                Ok(questions) => ask_guard(metrics, guard, now, questions).boxed(),
                Err(why) => std::future::ready(GuardAnswers::unasked(guard, now, &why)).boxed(),
            };
            self.due[guard] = None;
            self.asked.push(answers);
        }
    }

    /// What the answers say, and from when on the guard is read again.
    pub fn take(
        &mut self,
        answers: GuardAnswers,
        share_at: &dyn Fn(Timestamp) -> f64,
    ) -> Option<GuardReading> {
        let guard = answers.guard();
        let wait = answers.wait().unwrap_or_default().min(self.grace);
        self.due[guard] = Some(Instant::now() + self.reader.interval(guard).max(wait));
        self.reader.take(answers, share_at)
    }
}
