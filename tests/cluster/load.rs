//! Requests at a given rate, whatever becomes of the answers.
//!
//! The load is open: a request is sent when its time has come, even while the
//! ones before it wait, so a slow version is not spared by its own slowness.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// How long one answer may take where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a load may not exceed where nothing else is said.
const LONGEST: Duration = Duration::from_secs(600);

/// What is to be sent. Without further words, 50 requests a second.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    address: String,
    head: String,
    rate: f64,
    lasting: Duration,
    requests: u64,
    patience: Duration,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// With this HTTP status, and gRPC status 0 or none.
    Status(u16),
    /// With HTTP 200 and this gRPC status.
    Grpc(u32),
    /// The connection was refused, closed, or nothing came in time.
    NoAnswer,
}

impl Outcome {
    pub(crate) fn failed(self) -> bool {
        match self {
            Self::Status(status) => status >= 500,
            Self::Grpc(_) | Self::NoAnswer => true,
        }
    }
}

/// What became of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// By version as the backend names it (nothing when no backend answered).
    pub(crate) counts: BTreeMap<(Option<String>, Outcome), u64>,
    /// When the first failed request ended.
    pub(crate) first_failure: Option<SystemTime>,
    /// When the last failed request ended.
    pub(crate) last_failure: Option<SystemTime>,
    /// When each version gave its last answer.
    pub(crate) last_answer: BTreeMap<String, SystemTime>,
}

impl Report {
    /// All requests that ended.
    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The requests that a version answered, failed ones included.
    pub(crate) fn answered(&self, version: &str) -> u64 {
        self.sum(|of, _| of == Some(version))
    }

    /// The failed requests, whoever answered them.
    pub(crate) fn failed(&self) -> u64 {
        self.sum(|_, outcome| outcome.failed())
    }

    /// The requests of a version that ended so.
    pub(crate) fn count(&self, version: &str, outcome: Outcome) -> u64 {
        self.sum(|of, ended| of == Some(version) && ended == outcome)
    }

    fn sum(&self, counts: impl Fn(Option<&str>, Outcome) -> bool) -> u64 {
        self.counts
            .iter()
            .filter(|((version, outcome), _)| counts(version.as_deref(), *outcome))
            .map(|(_, count)| count)
            .sum()
    }

    fn add(&mut self, version: Option<String>, outcome: Outcome) {
        let now = SystemTime::now();
        if outcome.failed() {
            self.first_failure.get_or_insert(now);
            self.last_failure = Some(now);
        }
        if let Some(version) = &version {
            self.last_answer.insert(version.clone(), now);
        }
        *self.counts.entry((version, outcome)).or_default() += 1;
    }
}

impl Load {
    pub(crate) fn new(address: &str, host: &str) -> Self {
        Self {
            address: address.to_owned(),
            head: format!("GET / HTTP/1.1\r\nhost: {host}\r\n"),
            rate: 50.0,
            lasting: LONGEST,
            requests: u64::MAX,
            patience: PATIENCE,
        }
    }

    /// Requests a second.
    pub(crate) fn rate(self, rate: f64) -> Self {
        Self { rate, ..self }
    }

    /// Nothing is sent after this time.
    pub(crate) fn lasting(self, lasting: Duration) -> Self {
        Self { lasting, ..self }
    }

    /// No more than these are sent.
    pub(crate) fn requests(self, requests: u64) -> Self {
        Self { requests, ..self }
    }

    /// How long each answer may take.
    pub(crate) fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// One more header in each request.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Requests that proxies take for gRPC.
    pub(crate) fn grpc(mut self) -> Self {
        self.head = self.head.replacen("GET / ", "POST /stack.Reviews/Get ", 1);
        self.header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("content-length", "0")
    }

    /// Starts to send.
    pub(crate) fn start(self) -> Running {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(send(self, shared.clone()));
        Running { shared, task }
    }

    /// One user who sends such a request after the other and keeps the cookie that is set.
    pub(crate) fn user(self) -> User {
        User {
            head: self.head,
            address: self.address,
            cookie: None,
        }
    }

    /// Sends all of it and waits for the answers.
    pub(crate) async fn run(self) -> Report {
        self.start().report().await
    }
}

/// A user with a browser.
pub(crate) struct User {
    address: String,
    head: String,
    /// `NAME=VALUE`, as it was set last.
    pub(crate) cookie: Option<String>,
}

impl User {
    /// Sends so many requests, each on a connection of its own, and says which versions answered.
    pub(crate) async fn ask(&mut self, requests: u64) -> BTreeMap<String, u64> {
        let mut versions = BTreeMap::new();
        for _ in 0..requests {
            let cookie = self.cookie.as_ref();
            let cookie = cookie.map(|pair| format!("cookie: theme=dark; {pair}\r\n"));
            let request = format!("{}{}\r\n", self.head, cookie.unwrap_or_default());
            let stream = TcpStream::connect(&self.address).await.expect("it listens");
            let mut connection = BufReader::new(stream);
            let sent = connection.write_all(request.as_bytes()).await;
            sent.expect("it is open");
            let head = Head::read(&mut connection).await.expect("an answer");
            if head.cookie.is_some() {
                self.cookie = head.cookie;
            }
            *versions
                .entry(head.version.unwrap_or_default())
                .or_default() += 1;
        }
        versions
    }
}

/// A load that is being sent. It ends when it is dropped.
pub(crate) struct Running {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Running {
    /// What became of it so far.
    pub(crate) fn so_far(&self) -> Report {
        self.shared.report().clone()
    }

    /// Waits for the end that the load was given.
    pub(crate) async fn report(mut self) -> Report {
        (&mut self.task).await.expect("sending does not panic");
        self.so_far()
    }

    /// Sends no more, waits for the answers that are due.
    pub(crate) async fn stop(self) -> Report {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.report().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Shared {
    report: Mutex<Report>,
    idle: Mutex<Vec<BufReader<TcpStream>>>,
    stopped: AtomicBool,
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().expect("no holder of this lock panics")
    }

    fn idle(&self) -> MutexGuard<'_, Vec<BufReader<TcpStream>>> {
        self.idle.lock().expect("no holder of this lock panics")
    }
}

async fn send(load: Load, shared: Arc<Shared>) {
    let begin = Instant::now();
    let request: Arc<str> = format!("{}\r\n", load.head).into();
    let mut waiting = JoinSet::new();
    for number in 0..load.requests {
        let due = Duration::from_secs_f64(number as f64 / load.rate);
        if due >= load.lasting {
            break;
        }
        tokio::time::sleep_until(begin + due).await;
        if shared.stopped.load(Ordering::Relaxed) {
            break;
        }
        let (address, request, shared) = (load.address.clone(), request.clone(), shared.clone());
        waiting.spawn(async move {
            let exchange =
                tokio::time::timeout(load.patience, exchange(&address, &request, &shared));
            let (version, outcome) = match exchange.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => (None, Outcome::NoAnswer),
            };
            shared.report().add(version, outcome);
        });
        while waiting.try_join_next().is_some() {}
    }
    waiting.join_all().await;
}

async fn exchange(
    address: &str,
    request: &str,
    shared: &Shared,
) -> io::Result<(Option<String>, Outcome)> {
    let kept = shared.idle().pop();
    let mut connection = match kept {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        }
    };
    connection.write_all(request.as_bytes()).await?;
    let head = Head::read(&mut connection).await?;
    let mut body = vec![0; head.length];
    connection.read_exact(&mut body).await?;
    if head.keeps {
        shared.idle().push(connection);
    }
    Ok((head.version, head.outcome))
}

struct Head {
    outcome: Outcome,
    version: Option<String>,
    cookie: Option<String>,
    length: usize,
    keeps: bool,
}

impl Head {
    /// Reads as much of HTTP/1.1 as Envoy sends: a length is always given, or the
    /// connection is not used again.
    async fn read(connection: &mut BufReader<TcpStream>) -> io::Result<Self> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let status = line.split(' ').nth(1).ok_or_else(bad)?;
        let status: u16 = status.parse().map_err(|_| bad())?;
        let mut head = Self {
            outcome: Outcome::Status(status),
            version: None,
            cookie: None,
            length: 0,
            keeps: false,
        };
        loop {
            line.clear();
            if connection.read_line(&mut line).await? == 0 {
                return Err(bad());
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                return Ok(head);
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    head.length = value.parse().map_err(|_| bad())?;
                    head.keeps = true;
                }
                "grpc-status" => match value.parse().map_err(|_| bad())? {
                    0 => {}
                    grpc => head.outcome = Outcome::Grpc(grpc),
                },
                "set-cookie" => head.cookie = value.split(';').next().map(str::to_owned),
                "x-version" => head.version = Some(value.to_owned()),
                _ => {}
            }
        }
    }
}

/// Opens connections one after the other, lets each say its version and echo one
/// line, and counts by version.
pub(crate) async fn connections(address: &str, count: u64) -> BTreeMap<Option<String>, u64> {
    let mut versions = BTreeMap::new();
    for _ in 0..count {
        let version = tokio::time::timeout(PATIENCE, converse(address)).await;
        let version = version.ok().and_then(Result::ok);
        *versions.entry(version).or_default() += 1;
    }
    versions
}

async fn converse(address: &str) -> io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let mut version = String::new();
    stream.read_line(&mut version).await?;
    stream.write_all(b"hello\n").await?;
    let mut echo = String::new();
    stream.read_line(&mut echo).await?;
    match echo.as_str() {
        "hello\n" => Ok(version.trim_end().to_owned()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
