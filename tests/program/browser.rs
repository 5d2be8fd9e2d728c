//! Pages as Chromium shows them, without a window: what is measured in each, and what it complains about.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

/// Names another browser.
const VARIABLE: &str = "KUBECTL_CANARY_CHROMIUM";
/// What its program is called, in the order of preference.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// How long it may take: a second where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(120);
/// A browser that hangs is no fault of a page.
const ATTEMPTS: usize = 2;
/// Pixels of the window, which pictures have as well.
const WINDOW: &str = "1000,1000";

/// What takes down in a page what goes wrong there, and lets it load nothing.
const WITNESS: &str = r#"<script>
window.complaints = [];
const complain = text => window.complaints.push(text);
addEventListener("error", event => complain(`error: ${event.message}`), true);
addEventListener("securitypolicyviolation", event => complain(`request: ${event.blockedURI}`));
for (const kind of ["error", "warn"]) console[kind] = text => complain(`${kind}: ${text}`);
</script>
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"/>
"#;

/// A screen that a page is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Light,
    Dark,
}

/// A page in a frame of its own.
pub struct Framed<'a> {
    pub name: &'a str,
    pub html: &'a str,
    /// In pixels of CSS. A window is never narrower than 500 of them, a frame is.
    pub width: u32,
}

/// What was measured in a frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    pub name: String,
    pub width: u32,
    /// How wide its content is.
    pub content: u32,
    pub is_dark: bool,
    pub complaints: Vec<String>,
    /// Elements that reach out of the frame.
    pub outside: Vec<String>,
    /// Texts beside the contrast to what is behind them, lowest first.
    pub contrasts: Vec<(f64, String)>,
    pub charts: Vec<MeasuredChart>,
}

/// What was measured in a chart.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredChart {
    pub title: String,
    /// The length of each curve, in units of the chart; of one that is a point, what is across it.
    pub curves: Vec<f64>,
    pub bars: usize,
    pub marks: Vec<MeasuredMark>,
    /// Texts to hover over.
    pub spots: Vec<String>,
    /// Texts that are cut off by the chart's edge.
    pub cut: Vec<String>,
    /// Pairs of texts that cover each other.
    pub covered: Vec<String>,
    /// Height of the smallest letters, in pixels of the screen.
    pub smallest: Option<f64>,
}

/// What was measured of a decision in a chart.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredMark {
    pub label: Option<String>,
    pub title: String,
    /// Of its line, in pixels of the screen.
    pub height: f64,
    /// Whether its line has a colour to be seen.
    pub is_drawn: bool,
}

/// The browser of this machine.
pub struct Browser(PathBuf);

/// A browser that runs, in a group of its own, which ends with this value at the latest.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // Its helpers outlive it for a while otherwise.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Browser {
    /// Finds it; nothing where there is none, which is said.
    ///
    /// # Panics
    /// Where there is none and a pipeline runs the tests: there it has to be installed.
    pub fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<_> = std::env::split_paths(&path).collect();
        let installed = NAMES.iter().find_map(|name| {
            let mut programs = folders.iter().map(|folder| folder.join(name));
            programs.find(|program| program.is_file())
        });
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let found = named.or(installed).map(Self);
        if found.is_none() {
            let advice = format!("(try: apt-get install chromium, or {VARIABLE}=PROGRAM)");
            assert!(
                std::env::var_os("CI").is_none(),
                "no Chromium to test pages in {advice}"
            );
            // The test's own output is shown only where it fails.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED: pages are not tested without Chromium {advice}\n"),
            );
        }
        found
    }

    /// Shows these pages beside each other, and measures each.
    pub fn measure(&self, pages: &[Framed<'_>], scheme: Scheme) -> Vec<Measured> {
        let page = frames(pages);
        let measured = (0..ATTEMPTS).find_map(|_| self.dump(&page, scheme));
        let measured = measured.expect("the browser measures pages in time");
        let measured = STANDARD.decode(measured).unwrap();
        serde_json::from_slice(&measured).unwrap_or_else(|error| {
            panic!("{error}: {:?}", String::from_utf8_lossy(&measured));
        })
    }

    /// What the page around the frames says in the end; nothing when the browser did not come as far.
    fn dump(&self, page: &str, scheme: Scheme) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("frames.html"), page).unwrap();
        let flag = |name: &str, value: &str| format!("--{name}={value}");
        let scheme = match scheme {
            Scheme::Dark => "preferredColorScheme=0",
            Scheme::Light => "preferredColorScheme=1",
        };
        let began = Instant::now();
        let mut command = Command::new(&self.0);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .args([
                "--headless",
                // As root there is none, and what it shows is ours.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                // They take no room on a phone.
                "--hide-scrollbars",
                // It does not wait by the clock, so a busy machine changes nothing.
                "--virtual-time-budget=10000",
                "--dump-dom",
            ])
            .arg(flag("window-size", WINDOW))
            .arg(flag("blink-settings", scheme))
            .arg(flag(
                "user-data-dir",
                &file("profile").display().to_string(),
            ))
            .arg(format!("file://{}", file("frames.html").display()))
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(file("dumped")).unwrap())
            .stderr(File::create(file("errors")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.0.display()));
        let mut running = Running(child);
        loop {
            let has_ended = running.0.try_wait().unwrap().is_some();
            let dumped = std::fs::read_to_string(file("dumped")).unwrap_or_default();
            // It may hang at its end, when all is written.
            if let Some(measured) = measured_in(&dumped) {
                return Some(measured.to_owned());
            }
            if has_ended || began.elapsed() > PATIENCE {
                let errors = std::fs::read(file("errors")).unwrap();
                eprintln!(
                    "{}: {dumped}{}",
                    self.0.display(),
                    String::from_utf8_lossy(&errors)
                );
                return None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn measured_in(dumped: &str) -> Option<&str> {
    let (_, measured) = dumped.split_once("<pre id=\"measured\">")?;
    let (measured, _) = measured.split_once("</pre>")?;
    Some(measured).filter(|measured| !measured.is_empty())
}

/// A page with these in frames, which measures them.
fn frames(pages: &[Framed<'_>]) -> String {
    let frame = |page: &Framed<'_>| {
        let html = page.html.replacen("<head>", &format!("<head>{WITNESS}"), 1);
        assert_ne!(html, page.html, "a page has a head");
        format!(
            "<iframe data-name=\"{}\" style=\"width: {}px; height: 4000px; border: 0\" srcdoc=\"{}\"></iframe>\n",
            page.name,
            page.width,
            html.replace('&', "&amp;").replace('"', "&quot;")
        )
    };
    let frames: String = pages.iter().map(frame).collect();
    let script = include_str!("measurement.js");
    format!(
        "<!DOCTYPE html>\n<html>\n<head><meta charset=\"utf-8\"/></head>\n<body>\n{frames}<pre id=\"measured\"></pre>\n<script>\n{script}</script>\n</body>\n</html>\n"
    )
}
