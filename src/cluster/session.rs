//! A client that asks for its credentials again.
//!
//! kube's client asks again only when a token says that it expires. A token may be revoked, a plugin may not
//! say when its token ends, and files and certificates are renewed on disk. So an answer of 401 makes this
//! client log in again and send the request once more: beside all other requests, and for all of them at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use tokio::time::{Instant, timeout};
use tower::BoxError;

use super::call::{LoginError, spoken};
use crate::metrics::{AccessError, TokenSource};

/// How long after one login the next begins at the earliest.
const PAUSE: Duration = Duration::from_secs(5);

/// Credentials, and a client that uses them.
#[derive(Clone)]
pub(super) struct Login {
    pub client: Client,
    /// What it logs in with; two that are equal are the same to a server.
    pub credentials: serde_json::Value,
    /// How long they are used before new ones are asked for.
    pub lasts: Option<Duration>,
}

/// Logs in anew.
pub(super) type LogIn = Arc<dyn Fn() -> BoxFuture<'static, Result<Login, String>> + Send + Sync>;

type Renewal = Shared<BoxFuture<'static, Result<(), LoginError>>>;

/// The login in force.
struct Session {
    log_in: LogIn,
    /// How long a request waits for new credentials.
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    login: Login,
    /// How many logins there were before this one.
    number: u32,
    /// When the last attempt at a login ended.
    asked: Instant,
    renewal: Option<Renewal>,
}

/// The bearer token of the login in force, for other servers of the cluster that know it.
pub(super) struct ClusterToken(Arc<Session>);

/// A client that begins with `login`, and the token that it logs in with.
pub(super) fn session(login: Login, patience: Duration, log_in: LogIn) -> (Client, ClusterToken) {
    let namespace = login.client.default_namespace().to_owned();
    let session = Arc::new(Session {
        log_in,
        patience,
        state: Mutex::new(State {
            login,
            number: 0,
            asked: Instant::now(),
            renewal: None,
        }),
    });
    let token = ClusterToken(Arc::clone(&session));
    let service = tower::service_fn(move |request| send(Arc::clone(&session), request));
    (Client::new(service, namespace), token)
}

impl TokenSource for ClusterToken {
    fn token<'a>(
        &'a self,
        rejected: Option<&'a str>,
    ) -> BoxFuture<'a, Result<String, AccessError>> {
        let none = |why: String| AccessError {
            what: format!("--prometheus-login cluster: {why}"),
            fix: "--prometheus-token-file or --prometheus-token-command".into(),
        };
        async move {
            let session = &self.0;
            let (_, number) = session.current();
            let token = session.token();
            if rejected.is_some() && rejected == token.as_deref() {
                let renewed = session.renewed(number).await;
                renewed.map_err(|error| none(error.to_string()))?;
            }
            let absent = "the kubeconfig's user has no bearer token";
            session.token().ok_or_else(|| none(absent.into()))
        }
        .boxed()
    }
}

async fn send(session: Arc<Session>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    // Behind the proxy it is another server, which does not know these credentials at all.
    let is_proxied = request.uri().path().contains("/proxy/");
    let again = copy_of(&request);
    let (client, number) = session.current();
    let response = client.send(request).await?;
    let Some(again) =
        again.filter(|_| response.status() == StatusCode::UNAUTHORIZED && !is_proxied)
    else {
        return Ok(response);
    };
    match session.renewed(number).await? {
        Some(client) => Ok(client.send(again).await?),
        None => Ok(response),
    }
}

/// The same request once more; `None` where its body can be read only once.
fn copy_of(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it is made in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client to use now. Where its credentials end soon, others are asked for meanwhile.
    fn current(self: &Arc<Self>) -> (Client, u32) {
        let mut state = self.state();
        let since = state.asked.elapsed();
        let is_due = state
            .login
            .lasts
            .is_some_and(|lasts| since >= lasts.max(PAUSE));
        if is_due && state.renewal.is_none() {
            state.renewal = Some(self.renewal());
        }
        (state.login.client.clone(), state.number)
    }

    /// The token in force, if it is one that is logged in with.
    fn token(&self) -> Option<String> {
        let token = self.state().login.credentials["token"].as_str()?.to_owned();
        (!token.is_empty()).then_some(token)
    }

    /// A client with other credentials than those of login `number`; `None` if there are none.
    async fn renewed(self: &Arc<Self>, number: u32) -> Result<Option<Client>, LoginError> {
        let renewal = {
            let mut state = self.state();
            if state.number != number {
                return Ok(Some(state.login.client.clone()));
            }
            if state.renewal.is_none() && state.asked.elapsed() < PAUSE {
                return Ok(None);
            }
            let renewal = state.renewal.get_or_insert_with(|| self.renewal());
            renewal.clone()
        };
        let slow = |_| LoginError(format!("none within {}", spoken(self.patience)));
        timeout(self.patience, renewal).await.map_err(slow)??;
        let state = self.state();
        Ok((state.number != number).then(|| state.login.client.clone()))
    }

    /// A login on a task of its own: who waits for it may leave.
    fn renewal(self: &Arc<Self>) -> Renewal {
        let session = Arc::clone(self);
        let task = tokio::spawn(async move {
            let login = (session.log_in)().await;
            let mut state = session.state();
            (state.renewal, state.asked) = (None, Instant::now());
            let login = login.map_err(LoginError)?;
            if login.credentials != state.login.credentials {
                state.number += 1;
                state.login = login;
            } else {
                state.login.lasts = login.lasts;
            }
            Ok(())
        });
        let ended = task.map(|ended| {
            ended.unwrap_or_else(|_| Err(LoginError("the login was cut short".to_owned())))
        });
        ended.boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::header::AUTHORIZATION;
    use serde_json::json;

    use super::*;

    /// A server that accepts one token, and logins that give the tokens `0`, `1` and so on.
    #[derive(Clone)]
    struct Scene {
        accepted: Arc<Mutex<String>>,
        logins: Arc<AtomicU32>,
        login_takes: Duration,
    }

    impl Scene {
        fn accepting(token: &str) -> Self {
            Self {
                accepted: Arc::new(Mutex::new(token.to_owned())),
                logins: Arc::default(),
                login_takes: Duration::ZERO,
            }
        }

        fn accept(&self, token: &str) {
            token.clone_into(&mut self.accepted.lock().unwrap());
        }

        fn logins(&self) -> u32 {
            self.logins.load(Ordering::SeqCst)
        }

        fn login(&self, token: u32) -> Login {
            let accepted = Arc::clone(&self.accepted);
            let service = tower::service_fn(move |request: Request<Body>| {
                let is_known = *accepted.lock().unwrap() == token.to_string();
                let method = request.method().clone();
                async move {
                    assert!(request.headers().get(AUTHORIZATION).is_none());
                    let body = request.into_body().collect_bytes().await?;
                    let status = if is_known { 200 } else { 401 };
                    let said = format!("{method} {}", String::from_utf8_lossy(&body));
                    let response = Response::builder().status(status);
                    Ok::<_, BoxError>(response.body(Body::from(said.into_bytes()))?)
                }
            });
            Login {
                client: Client::new(service, "shop"),
                credentials: json!({"token": token.to_string()}),
                lasts: None,
            }
        }

        fn session(&self) -> Client {
            self.session_and_token().0
        }

        fn session_and_token(&self) -> (Client, ClusterToken) {
            let scene = self.clone();
            let log_in: LogIn = Arc::new(move || {
                let scene = scene.clone();
                async move {
                    tokio::time::sleep(scene.login_takes).await;
                    let number = scene.logins.fetch_add(1, Ordering::SeqCst) + 1;
                    Ok(scene.login(number))
                }
                .boxed()
            });
            session(self.login(0), Duration::from_secs(4), log_in)
        }
    }

    async fn ask(client: &Client, path: &str) -> Result<(u16, String), kube::Error> {
        let request = Request::post(path)
            .body(Body::from(b"patch".to_vec()))
            .unwrap();
        let response = client.send(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect_bytes().await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn pause() {
        tokio::time::sleep(PAUSE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_refused_is_sent_again_with_other_credentials() {
        let scene = Scene::accepting("0");
        let client = scene.session();
        let good = (200, "POST patch".to_owned());
        assert_eq!(ask(&client, "/a").await.unwrap(), good);
        assert_eq!(scene.logins(), 0);
        scene.accept("1");
        pause().await;
        assert_eq!(ask(&client, "/a").await.unwrap(), good);
        assert_eq!(ask(&client, "/a").await.unwrap(), good);
        assert_eq!(scene.logins(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn all_requests_wait_for_one_login_and_the_next_is_not_at_once() {
        let mut scene = Scene::accepting("0");
        scene.login_takes = Duration::from_secs(1);
        let client = scene.session();
        scene.accept("none");
        pause().await;
        let (a, b, c) = tokio::join!(ask(&client, "/a"), ask(&client, "/b"), ask(&client, "/c"));
        assert_eq!([a, b, c].map(|answer| answer.unwrap().0), [401; 3]);
        assert_eq!(scene.logins(), 1);
        for _ in 0..100 {
            assert_eq!(ask(&client, "/a").await.unwrap().0, 401);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(
            scene.logins() <= 3,
            "{} logins in ten seconds",
            scene.logins()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_login_that_hangs_is_told_and_the_login_goes_on() {
        let mut scene = Scene::accepting("0");
        scene.login_takes = Duration::from_secs(20);
        let client = scene.session();
        scene.accept("1");
        pause().await;
        let error = ask(&client, "/a").await.unwrap_err().to_string();
        assert!(
            error.contains("there are no others: none within 4s"),
            "{error}"
        );
        tokio::time::sleep(Duration::from_secs(17)).await;
        assert_eq!(ask(&client, "/a").await.unwrap().0, 200);
        assert_eq!(scene.logins(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn another_server_that_refuses_the_token_gets_the_next_one() {
        let scene = Scene::accepting("1");
        let (client, tokens) = scene.session_and_token();
        assert_eq!(tokens.token(None).await.unwrap(), "0");
        pause().await;
        // A query that was refused with an older token than the one in force needs no login.
        assert_eq!(tokens.token(Some("older")).await.unwrap(), "0");
        assert_eq!(scene.logins(), 0);
        assert_eq!(tokens.token(Some("0")).await.unwrap(), "1");
        assert_eq!(ask(&client, "/a").await.unwrap().0, 200);
        assert_eq!(scene.logins(), 1);
        // At once there is no other.
        assert_eq!(tokens.token(Some("1")).await.unwrap(), "1");
        assert_eq!(scene.logins(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_server_behind_the_proxy_refuses_is_no_reason_to_log_in() {
        let scene = Scene::accepting("none");
        let client = scene.session();
        pause().await;
        let path = "/api/v1/namespaces/mon/services/http:prom:9090/proxy/api/v1/query";
        assert_eq!(ask(&client, path).await.unwrap().0, 401);
        assert_eq!(scene.logins(), 0);
    }
}
