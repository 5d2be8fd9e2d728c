//! A proxy before the API server that stops a process at one of its calls, or holds that call back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::Kubeconfig;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tower::BoxError;

use crate::program::{Ended, Program, Running};
use crate::stack::Stack;

/// Where a process is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Its call has not gone out, and never does.
    Before,
    /// Its call was carried out, and it does not hear of it.
    After,
    /// Its call goes out once it is dead and [`CallProxy::complete`] is called.
    Late,
    /// Its call goes out once [`CallProxy::release`] is called, and is answered as any other.
    Held,
}

/// Which calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// All of them.
    All,
    /// Those about VirtualServices.
    Routes,
    /// Writes to VirtualServices.
    RouteWrites,
}

impl Counted {
    fn counts(self, request: &Request<Incoming>) -> bool {
        let is_route = || request.uri().path().contains("/virtualservices");
        match self {
            Self::All => true,
            Self::Routes => is_route(),
            Self::RouteWrites => request.method() == Method::PATCH && is_route(),
        }
    }
}

/// What all connections share.
struct Trap {
    stack: Stack,
    moment: Moment,
    counted: Counted,
    /// The call to stop at, from 1 on.
    call: usize,
    calls: AtomicUsize,
    reached: Notify,
    completed: watch::Sender<bool>,
    /// Whether the call that was to be completed has been answered.
    answered: Notify,
    /// Whether watches say nothing any more.
    muted: watch::Sender<bool>,
}

/// The proxy. It ends with this value.
pub(crate) struct CallProxy {
    folder: TempDir,
    trap: Arc<Trap>,
    task: JoinHandle<()>,
}

impl CallProxy {
    /// Before the stack's API server, which it calls as the administrator.
    pub(crate) async fn at(stack: &Stack, call: usize, counted: Counted, moment: Moment) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let admin = &stack.description.kubeconfig.admin;
        let mut config = Kubeconfig::read_from(admin).expect("the stack has kubeconfigs");
        let cluster = config.clusters[0].cluster.as_mut().expect("it has one");
        cluster.server = Some(format!("http://{address}"));
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let text = serde_json::to_string(&config).expect("a kubeconfig is plain data");
        std::fs::write(folder.path().join("kubeconfig"), text).expect("the folder is ours");
        let trap = Arc::new(Trap {
            stack: stack.clone(),
            moment,
            counted,
            call,
            calls: AtomicUsize::new(0),
            reached: Notify::new(),
            completed: watch::channel(false).0,
            answered: Notify::new(),
            muted: watch::channel(false).0,
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&trap)));
        Self { folder, trap, task }
    }

    /// One that stops no call.
    pub(crate) async fn open(stack: &Stack) -> Self {
        Self::at(stack, 0, Counted::All, Moment::Before).await
    }

    /// From now on what watches have to tell goes nowhere; they stay open, and new ones are as silent. All
    /// else passes.
    pub(crate) fn mute_watches(&self) {
        self.trap.muted.send_replace(true);
    }

    /// A kubeconfig that leads through it.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Runs the program up to the call, and kills it there; what it came to where it never makes that call.
    pub(crate) async fn kill(&self, program: Program) -> Option<Ended> {
        let mut running = program.with_kubeconfig(self.kubeconfig()).launch();
        tokio::select! {
            biased;
            () = self.trap.reached.notified() => {
                running.kill().await;
                None
            }
            () = running.over() => Some(running.end().await),
        }
    }

    /// Runs the program up to the call, which waits here.
    pub(crate) async fn hold(&self, program: Program) -> Running {
        let mut running = program.with_kubeconfig(self.kubeconfig()).launch();
        tokio::select! {
            biased;
            () = self.trap.reached.notified() => running,
            () = running.over() => panic!("it never makes that call: {:?}", running.end().await),
        }
    }

    /// Lets the call go out.
    pub(crate) fn release(&self) {
        self.trap.completed.send_replace(true);
    }

    /// Carries out the call at which the process was killed, and waits until it is.
    pub(crate) async fn complete(&self) {
        self.release();
        self.trap.answered.notified().await;
    }
}

impl Drop for CallProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

async fn serve(listener: TcpListener, trap: Arc<Trap>) {
    while let Ok((stream, _)) = listener.accept().await {
        let trap = Arc::clone(&trap);
        let service = service_fn(move |request| {
            // A call goes on whatever becomes of its connection.
            let call = tokio::spawn(pass(Arc::clone(&trap), request));
            // Without an answer the connection ends.
            async move { call.await.expect("no call panics") }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn pass(trap: Arc<Trap>, request: Request<Incoming>) -> kube::Result<Answer> {
    let number = match trap.counted.counts(&request) {
        true => trap.calls.fetch_add(1, Ordering::SeqCst) + 1,
        false => 0,
    };
    let moment = (number == trap.call).then_some(trap.moment);
    let is_watch = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch="));
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let body = body.unwrap_or_default();
    // The connection's own, and another's name.
    for header in ["host", "connection", "authorization"] {
        parts.headers.remove(header);
    }
    if moment == Some(Moment::Before) {
        trap.reached.notify_one();
        return std::future::pending().await;
    }
    if let Some(Moment::Late | Moment::Held) = moment {
        trap.reached.notify_one();
        let mut completed = trap.completed.subscribe();
        let _ = completed.wait_for(|completed| *completed).await;
    }
    let onward = Request::from_parts(parts, Body::from(body.to_vec()));
    let answer = trap.stack.client.clone().send(onward).await;
    match moment {
        Some(Moment::After) => trap.reached.notify_one(),
        Some(Moment::Late) => trap.answered.notify_one(),
        Some(Moment::Before | Moment::Held) | None => {}
    }
    if let Some(Moment::After | Moment::Late) = moment {
        return std::future::pending().await;
    }
    let answer = answer?;
    if !is_watch {
        return Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync()));
    }
    let mut muted = trap.muted.subscribe();
    let muted = async move {
        let _ = muted.wait_for(|muted| *muted).await;
    };
    Ok(answer.map(|body| {
        let told = BodyStream::new(body.map_err(BoxError::from)).take_until(Box::pin(muted));
        StreamBody::new(told.chain(stream::pending())).boxed_unsync()
    }))
}
