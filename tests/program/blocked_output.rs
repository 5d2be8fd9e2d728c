//! Nobody reads what the program writes: it drives, rolls back and obeys signals all the same.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::harness::{Ran, Shop, ended};

/// For a rollout of a few seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// From a signal to the end of the process, while nothing is read.
const PROMISED: Duration = Duration::from_secs(7);

/// Writes until there is no room.
pub(crate) fn fill(file: impl AsFd) {
    let flags = fcntl_getfl(&file).unwrap();
    fcntl_setfl(&file, flags | OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        while rustix::io::write(&file, &vec![b'.'; size]).is_ok() {}
    }
    fcntl_setfl(&file, flags).unwrap();
}

/// A pipe that is full, as that of a log collector which has stopped reading.
pub(crate) fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = pipe().unwrap();
    fill(&writer);
    (reader, writer)
}

/// A named pipe that is full and open for reading.
fn full_fifo(path: &Path) -> File {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let fifo = File::options().read(true).write(true).open(path).unwrap();
    fill(&fifo);
    fifo
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let id = child.id().unwrap().try_into().unwrap();
    kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
}

/// A terminal, and what its keyboard and screen are connected to.
pub(crate) fn terminal() -> (File, OwnedFd) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap();
    let terminal = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let size = Winsize {
        ws_row: 40,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    (controller.into(), terminal)
}

/// Reads a screen until the word stands there, then types Ctrl-S and reads no more.
fn stop_at(mut screen: File, word: &'static str) -> tokio::task::JoinHandle<(File, String)> {
    tokio::task::spawn_blocking(move || {
        let mut shown = String::new();
        let mut part = [0; 4096];
        while !shown.contains(word) {
            let read = screen.read(&mut part).unwrap();
            shown.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        screen.write_all(b"\x13").unwrap();
        (screen, shown)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_canary_is_rolled_back_while_nobody_reads_stderr() {
    let shop = Shop::open().await;
    let before = shop.reviews()["spec"].clone();
    shop.break_canary();
    let (_unread, stderr) = full_pipe();
    let child = shop
        .program("start reviews", &shop.brief())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let ran = ended(child, LIMIT).await;
    assert_eq!(ran.code, 10);
    assert_eq!(
        ran.stdout,
        "virtualservice.networking.istio.io/reviews rolled back: the canary was worse than stable\n"
    );
    assert_eq!(shop.reviews()["spec"], before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_comes_back_gets_the_final_lines() {
    let shop = Shop::open().await;
    shop.break_canary();
    let (mut unread, stderr) = full_pipe();
    let child = shop
        .program("start reviews", &shop.brief())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    shop.until_canary_has(1).await;
    shop.until_canary_has(0).await;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        unread.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(ended(child, LIMIT).await.code, 10);
    let text = read.await.unwrap();
    for word in ["plan ", "step 1/4", "rolled back", "reason "] {
        assert!(text.contains(word), "{word} is missing in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_are_obeyed_while_nobody_reads_stderr() {
    for name in [Signal::TERM, Signal::INT] {
        let shop = Shop::open().await;
        let before = shop.reviews()["spec"].clone();
        let (_unread, stderr) = full_pipe();
        let child = shop
            .program("start reviews --steps 20:60s,100", &shop.brief())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        shop.until_canary_has(20).await;
        // Long enough for a look or two.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let sent = Instant::now();
        signal(&child, name);
        shop.until_canary_has(0).await;
        assert!(
            sent.elapsed() < Duration::from_secs(2),
            "{name:?}: {:?}",
            sent.elapsed()
        );
        assert_eq!(ended(child, PROMISED).await.code, 11, "{name:?}");
        assert_eq!(shop.reviews()["spec"], before, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_s_at_the_live_view_stops_the_picture_and_nothing_else() {
    let shop = Shop::open().await;
    let before = shop.reviews()["spec"].clone();
    let (screen, terminal) = terminal();
    let child = shop
        .program("start reviews --steps 20:60s,100", &shop.brief())
        .env("TERM", "xterm-256color")
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let stopped = stop_at(screen, "step 1/2");
    let (_stopped, shown) = tokio::time::timeout(LIMIT, stopped).await.unwrap().unwrap();
    assert!(shown.contains("\x1b["), "no live view: {shown}");
    // Whatever draws by itself has run into it by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    shop.break_canary();
    assert_eq!(ended(child, LIMIT).await.code, 10);
    assert_eq!(shop.reviews()["spec"], before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_is_obeyed_while_ctrl_s_holds_the_terminal() {
    let shop = Shop::open().await;
    let before = shop.reviews()["spec"].clone();
    let (screen, terminal) = terminal();
    let child = shop
        .program("start reviews --steps 20:60s,100", &shop.brief())
        .env("TERM", "xterm-256color")
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let stopped = stop_at(screen, "step 1/2");
    let _stopped = tokio::time::timeout(LIMIT, stopped).await.unwrap().unwrap();
    shop.until_canary_has(20).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    signal(&child, Signal::TERM);
    assert_eq!(ended(child, PROMISED).await.code, 11);
    assert_eq!(shop.reviews()["spec"], before);
}

/// A rollout of a broken canary with this flag and file: rolled back with the exit code that says so.
async fn rolled_back_writing(flag: &str, path: &Path) -> Ran {
    let shop = Shop::open().await;
    let before = shop.reviews()["spec"].clone();
    shop.break_canary();
    let mut flags = shop.brief();
    flags.extend([flag.to_owned(), path.display().to_string()]);
    let child = shop
        .program("start reviews", &flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ran = ended(child, LIMIT).await;
    let shown = path.display();
    assert_eq!(ran.code, 10, "{shown}: {}", ran.stderr);
    assert_eq!(shop.reviews()["spec"], before, "{shown}");
    ran
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_for_events_that_takes_none_costs_events_and_their_number_is_said() {
    for kind in ["a stalled file", "a full disk"] {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("events");
        let _fifo = full_fifo(&fifo);
        let (path, why) = match kind {
            "a full disk" => (Path::new("/dev/full"), "no space left on device"),
            _ => (fifo.as_path(), "it took none for 2s"),
        };
        let ran = rolled_back_writing("--events", path).await;
        assert!(ran.stderr.contains("rolled back"), "{kind}: {}", ran.stderr);
        let warning = ran.stderr.lines().last().unwrap();
        let rest = warning
            .strip_prefix("warning: ")
            .unwrap_or_else(|| panic!("{kind}: {}", ran.stderr));
        let (lost, rest) = rest.split_once(" of ").unwrap();
        let (all, rest) = rest.split_once(' ').unwrap();
        assert_eq!(lost, all, "{warning}");
        assert!(lost.parse::<u64>().unwrap() > 5, "{warning}");
        let expected = format!("events could not be written to {}: {why}", path.display());
        assert!(rest.starts_with(&expected), "{warning}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_that_cannot_be_written_costs_the_summary_and_the_exit_code_stays() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("summary");
    let _fifo = full_fifo(&fifo);
    let stalled = (fifo.as_path(), "it took nothing for 2s");
    for (path, why) in [stalled, (Path::new("/dev/full"), "no space left on device")] {
        let ran = rolled_back_writing("--summary", path).await;
        let warning = format!("warning: --summary: cannot write {}: {why}", path.display());
        assert!(ran.stderr.contains(&warning), "{why}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_nobody_reads_does_not_keep_the_program() {
    let shop = Shop::open().await;
    shop.break_canary();
    let (_unread, stdout) = full_pipe();
    let child = shop
        .program("start reviews -o json", &shop.brief())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ran = ended(child, LIMIT).await;
    assert_eq!(ran.code, 10, "{}", ran.stderr);
    let expected = "warning: the result could not be printed: stdout was not read for 2s\n";
    assert!(ran.stderr.ends_with(expected), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_nobody_reads_ends_with_the_rollout() {
    let shop = Shop::open().await;
    let ran = shop
        .run("start reviews --no-wait --steps 20,100", &shop.brief())
        .await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for format in ["", " -o json"] {
        let (_unread, stdout) = full_pipe();
        let child = shop
            .program(&format!("status reviews --watch{format}"), &[])
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if format.is_empty() {
            signal(&child, Signal::TERM);
            let ran = ended(child, PROMISED).await;
            assert_eq!(ran.code, 143, "{}", ran.stderr);
        } else {
            assert_eq!(shop.run("abort reviews", &[]).await.code, 0);
            let ran = ended(child, PROMISED).await;
            assert_eq!(ran.code, 11, "{}", ran.stderr);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_ends_while_nobody_reads_it() {
    let shop = Shop::open().await;
    let (_unread, stderr) = full_pipe();
    let child = shop
        .program("demo", &[])
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap();
    assert_eq!(ended(child, Duration::from_secs(90)).await.code, 0);
}

/// A pager stops reading until somebody turns the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_waits_for_its_reader_but_not_longer_than_a_signal() {
    let shop = Shop::open().await;
    let plan = || {
        let (reader, stdout) = full_pipe();
        let child = shop
            .program("plan reviews -o json", &shop.brief())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        (reader, child)
    };
    let (_unread, stopped) = plan();
    let (mut reader, mut child) = plan();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(child.try_wait().unwrap(), None, "it did not wait");
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let ran = ended(child, LIMIT).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let text = read.await.unwrap();
    let plan: Value = serde_json::from_str(text.trim_start_matches('.')).unwrap();
    assert_eq!(plan["version"], json!(1));

    signal(&stopped, Signal::TERM);
    let ran = ended(stopped, PROMISED).await;
    assert_eq!(ran.code, 143, "{}", ran.stderr);
}
