//! Ctrl-C, SIGTERM and SIGHUP, as a queue that is read wherever something is waited for.

use std::time::Duration;

use tokio::sync::mpsc;

/// How long a write that is under way may still take once a signal has come: knowing what became of
/// it is better than guessing.
pub const LAST_ANSWER: Duration = Duration::from_secs(2);

/// What the process was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as pipelines send it on cancel.
    Terminate,
    /// SIGHUP: the terminal was closed, or the connection to it was lost.
    HangUp,
}

impl Signal {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        }
    }

    /// The exit code of a process that this signal ended before it had done anything.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::HangUp => 129,
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
        let mut kinds = vec![
            (SignalKind::interrupt(), Signal::Interrupt),
            (SignalKind::terminate(), Signal::Terminate),
        ];
        if !hangup_is_ignored() {
            kinds.push((SignalKind::hangup(), Signal::HangUp));
        }
        for (kind, meaning) in kinds {
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

/// Whether this process was started so that it outlives its terminal, as `nohup` does it.
///
/// To be asked before signals are listened to.
#[cfg(target_os = "linux")]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores_hangup(&status)
}

/// Reads it from the set of ignored signals, in which SIGHUP, the first of all, is the lowest bit.
#[cfg(target_os = "linux")]
fn ignores_hangup(status: &str) -> bool {
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    ignored.is_some_and(|set| set & 1 == 1)
}

/// Whether this process was started so that it outlives its terminal, as `nohup` does it.
///
/// What is ignored is handed on to a child, so a shell that survives its own SIGHUP tells.
#[cfg(all(unix, not(target_os = "linux")))]
fn hangup_is_ignored() -> bool {
    let mut shell = std::process::Command::new("/bin/sh");
    let survived = shell.args(["-c", "kill -HUP $$"]).status();
    survived.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_hangup_that_nohup_ignores_is_read_from_the_set_of_ignored_signals() {
        for (set, expected) in [
            ("0000000000001000", false),
            ("0000000000000001", true),
            ("0000000000001001", true),
            ("nonsense", false),
        ] {
            let status = format!("SigBlk:\t0000000000000001\nSigIgn:\t{set}\nSigCgt:\t0\n");
            assert_eq!(super::ignores_hangup(&status), expected, "{set}");
        }
        assert!(!super::ignores_hangup(""));
    }
}
