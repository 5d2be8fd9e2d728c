//! A token that has to be fetched: kept until it ends or is refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::access_error::AccessError;
use crate::foreign_text::keep_secret;

/// How long after one attempt the next begins at the earliest.
const PAUSE: Duration = Duration::from_secs(5);

/// How long before a token ends another is fetched.
const BEFORE_END: Duration = Duration::from_secs(10);

/// Gives bearer tokens.
pub trait TokenSource: Send + Sync {
    /// The token to send; another one than `rejected`, if there is any.
    ///
    /// # Errors
    /// Why there is none.
    fn token<'a>(&'a self, rejected: Option<&'a str>)
    -> BoxFuture<'a, Result<String, AccessError>>;
}

/// A token as it was fetched.
#[derive(Clone)]
pub(super) struct FetchedToken {
    pub token: String,
    /// How long it is good from now on, if that is known.
    pub lasts: Option<Duration>,
}

/// Fetches a token.
pub(super) type FetchToken =
    Box<dyn Fn() -> BoxFuture<'static, Result<FetchedToken, AccessError>> + Send + Sync>;

type Fetching = Shared<BoxFuture<'static, Result<(), AccessError>>>;

/// Tokens of one origin. They are fetched on a task of their own, once for all who wait: a query may give up
/// waiting, and the next one finds the token.
pub(super) struct TokenCache {
    fetch: FetchToken,
    state: Arc<Mutex<CacheState>>,
}

#[derive(Default)]
struct CacheState {
    held: Option<(FetchedToken, Instant)>,
    fetching: Option<Fetching>,
    /// When the last attempt ended, and what kept it from giving a token.
    last: Option<(Instant, Option<AccessError>)>,
}

impl TokenCache {
    pub(super) fn new(fetch: FetchToken) -> Self {
        Self {
            fetch,
            state: Arc::default(),
        }
    }

    /// What is there already, or the attempt to wait for.
    fn held_or_fetching(
        &self,
        rejected: Option<&str>,
    ) -> Result<String, Result<Fetching, AccessError>> {
        let mut state = lock(&self.state);
        let held = state.usable();
        if let Some(token) = held.as_deref().filter(|token| Some(*token) != rejected) {
            return Ok(token.to_owned());
        }
        if let Some(fetching) = &state.fetching {
            return Err(Ok(fetching.clone()));
        }
        if let Some((ended, problem)) = &state.last
            && ended.elapsed() < PAUSE
        {
            // A server that refuses each token is not to make this process fetch one for each query.
            return match (problem, held) {
                (Some(problem), _) => Err(Err(problem.clone())),
                (None, Some(token)) => Ok(token),
                (None, None) => Err(Ok(self.start(&mut state))),
            };
        }
        Err(Ok(self.start(&mut state)))
    }

    fn start(&self, state: &mut CacheState) -> Fetching {
        let (fetched, shared) = ((self.fetch)(), Arc::clone(&self.state));
        let task = tokio::spawn(async move {
            let fetched = fetched.await;
            let mut state = lock(&shared);
            state.fetching = None;
            state.last = Some((Instant::now(), fetched.as_ref().err().cloned()));
            let fetched = fetched?;
            keep_secret(&fetched.token);
            state.held = Some((fetched, Instant::now()));
            Ok(())
        });
        let ended = task.map(|ended| {
            ended.unwrap_or_else(|_| {
                Err(AccessError {
                    what: "the attempt to get a token was cut short".into(),
                    fix: "the same command again".into(),
                })
            })
        });
        let fetching = ended.boxed().shared();
        state.fetching = Some(fetching.clone());
        fetching
    }
}

impl CacheState {
    fn usable(&self) -> Option<String> {
        let (held, since) = self.held.as_ref()?;
        let is_good = |lasts: Duration| since.elapsed() + BEFORE_END.min(lasts / 2) < lasts;
        held.lasts.is_none_or(is_good).then(|| held.token.clone())
    }
}

fn lock(state: &Mutex<CacheState>) -> MutexGuard<'_, CacheState> {
    // Each change of it is made in one step.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TokenSource for TokenCache {
    fn token<'a>(
        &'a self,
        rejected: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, AccessError>> {
        async move {
            let fetching = match self.held_or_fetching(rejected) {
                Ok(token) => return Ok(token),
                Err(fetching) => fetching?,
            };
            fetching.await?;
            let held = lock(&self.state).held.clone();
            held.map(|(held, _)| held.token).ok_or_else(|| AccessError {
                what: "no token was fetched".into(),
                fix: "the same command again".into(),
            })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Gives `token-1`, `token-2` and so on, each after a second; or nothing.
    fn cache(lasts: Option<Duration>, fails: bool) -> (TokenCache, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let fetch: FetchToken = Box::new(move || {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                match fails {
                    true => Err(AccessError {
                        what: "no".into(),
                        fix: "yes".into(),
                    }),
                    false => Ok(FetchedToken {
                        token: format!("token-{number}"),
                        lasts,
                    }),
                }
            }
            .boxed()
        });
        (TokenCache::new(fetch), count)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_once_for_all_and_again_when_it_is_refused() {
        let (cache, count) = cache(None, false);
        let (a, b) = tokio::join!(cache.token(None), cache.token(None));
        assert_eq!([a.unwrap(), b.unwrap()], ["token-1", "token-1"]);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(cache.token(None).await.unwrap(), "token-1");
        assert_eq!(cache.token(Some("token-1")).await.unwrap(), "token-2");
        // One that is refused at once is no reason for a third.
        assert_eq!(cache.token(Some("token-2")).await.unwrap(), "token-2");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_ends_is_fetched_before_its_end() {
        let (cache, count) = cache(Some(Duration::from_secs(60)), false);
        assert_eq!(cache.token(None).await.unwrap(), "token-1");
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(cache.token(None).await.unwrap(), "token-1");
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(cache.token(None).await.unwrap(), "token-2");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_leaves_the_attempt_to_the_next() {
        let (cache, count) = cache(None, false);
        let short = Duration::from_millis(100);
        assert!(
            tokio::time::timeout(short, cache.token(None))
                .await
                .is_err()
        );
        assert_eq!(cache.token(None).await.unwrap(), "token-1");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_failed_is_not_repeated_at_once() {
        let (cache, count) = cache(None, true);
        for _ in 0..10 {
            assert_eq!(cache.token(None).await.unwrap_err().what, "no");
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        tokio::time::sleep(PAUSE).await;
        assert!(cache.token(None).await.is_err());
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
