//! What is measured, and what the peers did in the same scene.

/// Requests a second.
pub(super) const RATE: f64 = 200.0;

/// For how many seconds requests flow before the rollout begins at least; a real one has more of a past.
const WATCHED: u64 = 30;

/// And for how many scrapes.
const SCRAPES_WATCHED: u64 = 6;

/// How old the canary's pods are at least when the rollout begins, in seconds: one more than the
/// warm-up.
pub(super) const AGE: u64 = 31;

/// One case.
pub(super) struct Case {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// In words.
    pub(super) what: &'static str,
    /// Share of stable's requests that fail.
    pub(super) stable: f64,
    /// Share of the canary's requests that fail.
    pub(super) canary: f64,
    /// Seconds between the scrapes of Prometheus.
    pub(super) scrape: u32,
    /// What `start` is told beside the address of Prometheus.
    pub(super) flags: &'static str,
    /// How often it is run.
    pub(super) runs: u64,
    /// What is wanted.
    pub(super) goal: &'static str,
    /// Flagger 1.44 and Argo Rollouts 1.9.1, measured on 2026-11-21 in the same scene on the same kind
    /// of stack, both tuned to their fastest (an interval of 10 s, one failed check; pauses of 30 s).
    pub(super) peers: &'static str,
}

impl Case {
    /// For how many seconds requests flow before the rollout begins.
    pub(super) fn watched(&self) -> u64 {
        WATCHED.max(SCRAPES_WATCHED * u64::from(self.scrape))
    }

    /// Seconds between readings of the counters, wherever they are read.
    pub(super) fn cadence(&self) -> u32 {
        match self.flags.contains("--sample pods") {
            true => 1,
            false => self.scrape,
        }
    }
}

/// All of them.
pub(super) const CASES: [Case; 9] = [
    Case {
        name: "fails-100",
        what: "canary fails 100 %",
        stable: 0.0,
        canary: 1.0,
        scrape: 1,
        flags: "",
        runs: 5,
        goal: "5 s, 8 failed",
        peers: "Flagger 20 s, 49 failed; Argo Rollouts 9 s, 25",
    },
    Case {
        name: "fails-20",
        what: "canary fails 20 %",
        stable: 0.0,
        canary: 0.2,
        scrape: 1,
        flags: "",
        runs: 5,
        goal: "11 s, 4 failed",
        peers: "Flagger 20 s, 9 failed; Argo Rollouts 11 s, 4",
    },
    Case {
        name: "fails-2",
        what: "canary fails 2 %",
        stable: 0.0,
        canary: 0.02,
        scrape: 1,
        flags: "",
        runs: 5,
        goal: "rolled back",
        peers: "Flagger 30 s, 10 failed, having gone on to 10 %; Argo Rollouts gave up on 1 failed of 52",
    },
    Case {
        name: "healthy",
        what: "each fails 0.5 % by chance",
        stable: 0.005,
        canary: 0.005,
        scrape: 1,
        flags: "",
        runs: 10,
        goal: "10 of 10 promoted",
        peers: "Flagger rolled back 1 of 8, promoted the others in 65 to 66 s; Argo Rollouts 1 of 3, 91 to 93 s",
    },
    Case {
        name: "healthy-quick",
        what: "the same, quickest preset",
        stable: 0.005,
        canary: 0.005,
        scrape: 1,
        flags: "--preset quicker",
        runs: 10,
        goal: "10 of 10 promoted, 35 s",
        peers: "as above",
    },
    Case {
        name: "fails-100-15s",
        what: "canary fails 100 %, scraped every 15 s",
        stable: 0.0,
        canary: 1.0,
        scrape: 15,
        flags: "",
        runs: 5,
        goal: "rolled back",
        peers: "not measured",
    },
    Case {
        name: "fails-100-15s-pods",
        what: "canary fails 100 %, scraped every 15 s",
        stable: 0.0,
        canary: 1.0,
        scrape: 15,
        flags: "--sample pods",
        runs: 5,
        goal: "3 s, 8 failed",
        peers: "not measured",
    },
    Case {
        name: "fails-100-30s",
        what: "canary fails 100 %, scraped every 30 s",
        stable: 0.0,
        canary: 1.0,
        scrape: 30,
        flags: "",
        runs: 5,
        goal: "rolled back",
        peers: "not measured",
    },
    Case {
        name: "fails-100-30s-pods",
        what: "canary fails 100 %, scraped every 30 s",
        stable: 0.0,
        canary: 1.0,
        scrape: 30,
        flags: "--sample pods",
        runs: 5,
        goal: "3 s, 8 failed",
        peers: "not measured",
    },
];
