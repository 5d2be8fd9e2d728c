//! Ctrl-C and SIGTERM, as a queue that is read wherever something is waited for.

use tokio::sync::mpsc;

/// What the process was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as pipelines send it on cancel.
    Terminate,
}

impl Signal {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
        }
    }

    /// The exit code of a process that this signal ended before it had done anything.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// The signals of this process in order.
pub struct Signals {
    queue: mpsc::UnboundedReceiver<Signal>,
    put_back: Option<Signal>,
    // Kept so that a queue without a source waits for ever instead of ending.
    _source: Option<mpsc::UnboundedSender<Signal>>,
}

impl Signals {
    /// The signals that the system sends to this process.
    ///
    /// # Errors
    /// If the system does not let us listen.
    #[cfg(unix)]
    pub fn of_process() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (tell, queue) = mpsc::unbounded_channel();
        for (kind, meaning) in [
            (SignalKind::interrupt(), Signal::Interrupt),
            (SignalKind::terminate(), Signal::Terminate),
        ] {
            let mut source = signal(kind)?;
            let tell = tell.clone();
            tokio::spawn(async move {
                while source.recv().await.is_some() && tell.send(meaning).is_ok() {}
            });
        }
        Ok(Self {
            queue,
            put_back: None,
            _source: Some(tell),
        })
    }

    /// The signals that the system sends to this process.
    ///
    /// # Errors
    /// If the system does not let us listen.
    #[cfg(not(unix))]
    pub fn of_process() -> std::io::Result<Self> {
        let (tell, queue) = mpsc::unbounded_channel();
        let source = tell.clone();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() && source.send(Signal::Interrupt).is_ok() {}
        });
        Ok(Self {
            queue,
            put_back: None,
            _source: Some(tell),
        })
    }

    /// Signals from within the process: tests, and the demo.
    pub fn from_queue(queue: mpsc::UnboundedReceiver<Signal>) -> Self {
        Self {
            queue,
            put_back: None,
            _source: None,
        }
    }

    /// No signals at all.
    pub fn none() -> Self {
        let (tell, queue) = mpsc::unbounded_channel();
        Self {
            queue,
            put_back: None,
            _source: Some(tell),
        }
    }

    /// A signal that is there already.
    pub fn pending(&mut self) -> Option<Signal> {
        self.put_back.take().or_else(|| self.queue.try_recv().ok())
    }

    /// Hands a signal back that came too early to be followed; it is the next again.
    pub fn put_back(&mut self, signal: Signal) {
        self.put_back = Some(signal);
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        if let Some(signal) = self.put_back.take() {
            return signal;
        }
        match self.queue.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}
