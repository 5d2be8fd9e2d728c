//! A Prometheus beside the stack's own that scrapes the same, less often.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::stack::Stack;

/// Where it answers; the stack's own has 9090.
const ADDRESS: &str = "127.0.0.1:9095";

const READY_WITHIN: Duration = Duration::from_secs(20);

/// It ends with this value.
pub(super) struct Scraper {
    /// What to give to `--prometheus`.
    pub(super) url: String,
    _process: Option<(Child, TempDir)>,
}

impl Scraper {
    /// One that scrapes every so many seconds; for one second that is the stack's own.
    pub(super) async fn start(stack: &Stack, seconds: u32) -> Self {
        let own = stack.description.prometheus.url.clone();
        if seconds == 1 {
            return Self {
                url: own,
                _process: None,
            };
        }
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let file = folder.path().join("prometheus.yml");
        let every_second = include_str!("../../../tests/cluster/stack/prometheus/prometheus.yml");
        let seldom = every_second.replacen(
            "scrape_interval: 1s,",
            &format!("scrape_interval: {seconds}s,"),
            1,
        );
        assert_ne!(every_second, seldom, "the interval is written otherwise");
        std::fs::write(&file, seldom).expect("the folder is ours");
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().display()))
            .arg(format!("--web.listen-address={ADDRESS}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the stack has a prometheus");
        let url = format!("http://{ADDRESS}");
        let begun = Instant::now();
        while !is_ready(&url).await {
            assert!(begun.elapsed() < READY_WITHIN, "{url} is not ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self {
            url,
            _process: Some((process, folder)),
        }
    }
}

async fn is_ready(url: &str) -> bool {
    let answer = reqwest::get(format!("{url}/-/ready")).await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
