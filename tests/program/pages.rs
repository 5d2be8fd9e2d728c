//! The pages of `report` and `simulate`, in a browser: on a desk and on a phone, on a light and a dark screen.
//!
//! `PAGES=FOLDER cargo test --test program pages` leaves them in a folder, to be looked at.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::browser::{Browser, Framed, Measured, MeasuredChart, Scheme};
use crate::harness::{Ran, Shop};

/// Widths of a window on a desk, of a small one and of a phone, in pixels of CSS.
const WIDTHS: [u32; 3] = [1200, 600, 390];
/// What WCAG 2 asks of text.
const LEGIBLE: f64 = 4.5;
/// Pixels of letters below which nobody reads them on a phone.
const SMALLEST: f64 = 9.0;
/// Units of a chart that are seen.
const SEEN: f64 = 1.0;
/// Looks at the metrics after which a rollout that goes on has curves.
const LOOKS: usize = 4;
/// How long a rollout may take to have them.
const PATIENCE: Duration = Duration::from_secs(120);

/// A page, and what must be on it.
struct Page {
    name: &'static str,
    html: String,
    /// Titles of charts with curves.
    curves: &'static [&'static str],
    /// Titles of charts with bars.
    bars: &'static [&'static str],
    /// How the titles of some decisions begin that are marked in each chart.
    marked: &'static [&'static str],
}

/// Charts of a run.
const OF_RUN: &[&str] = &[
    "canary weight",
    "requests per second",
    "failed requests",
    "regression evidence",
];

async fn page_of(shop: &Shop, line: &str) -> String {
    let ran = shop.run(line, &[]).await;
    assert_eq!(ran.code, 0, "{line}: {}", ran.stderr);
    ran.stdout
}

async fn ended(shop: &Shop, code: i32) -> Ran {
    let ran = shop
        .run("start reviews --steps 20,50,100", &shop.brief())
        .await;
    assert_eq!(ran.code, code, "{}", ran.stderr);
    ran
}

async fn healthy() -> Page {
    let shop = Shop::open().await;
    ended(&shop, 0).await;
    Page {
        name: "healthy",
        html: page_of(&shop, "report reviews -o html").await,
        curves: OF_RUN,
        bars: &[],
        marked: &["healthy", "promoted"],
    }
}

async fn regressed() -> Page {
    let shop = Shop::open().await;
    shop.break_canary();
    ended(&shop, 10).await;
    Page {
        name: "regressed",
        html: page_of(&shop, "report reviews -o html").await,
        curves: OF_RUN,
        bars: &[],
        marked: &["rolled back"],
    }
}

async fn running() -> Page {
    let shop = Shop::open().await;
    let driver = shop
        .spawn("start reviews --steps 20,50:10m,100", &shop.brief())
        .await;
    shop.until_canary_has(50).await;
    let looks = async || {
        let report = page_of(&shop, "report reviews -o json").await;
        let report: Value = serde_json::from_str(&report).unwrap();
        report["looks"].as_array().map_or(0, Vec::len)
    };
    let began = Instant::now();
    while looks().await < LOOKS {
        assert!(began.elapsed() < PATIENCE, "nothing is looked at");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let page = Page {
        name: "running",
        html: page_of(&shop, "report reviews -o html").await,
        curves: OF_RUN,
        bars: &[],
        marked: &["healthy"],
    };
    driver.signal("TERM").await;
    page
}

async fn simulated() -> Page {
    let shop = Shop::open().await;
    let line = "simulate --requests-per-second 200 --canary-errors 2% --runs 200 -o json --html";
    let file = shop.folder().join("simulated.html");
    let ran = shop.run(line, &[file.display().to_string()]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    Page {
        name: "simulated",
        html: std::fs::read_to_string(file).unwrap(),
        curves: &["canary weight", "failed requests", "regression evidence"],
        bars: &["total duration", "failed canary requests"],
        marked: &[],
    }
}

/// Leaves a page where somebody asked for it.
fn keep(page: &Page) {
    if let Some(folder) = std::env::var_os("PAGES").map(PathBuf::from) {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(page.name).with_extension("html"), &page.html).unwrap();
    }
}

/// What a reader would miss or stumble over, nothing where all is well.
fn faults(measured: &Measured, scheme: Scheme) -> Vec<String> {
    let mut faults = measured.complaints.clone();
    let mut expect = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    expect(
        measured.content <= measured.width && measured.outside.is_empty(),
        format!(
            "overflows: {} of {} pixels: {:?}",
            measured.content, measured.width, measured.outside
        ),
    );
    expect(
        measured.is_dark == (scheme == Scheme::Dark),
        format!("is not {scheme:?}"),
    );
    for (contrast, text) in &measured.contrasts {
        expect(
            *contrast >= LEGIBLE,
            format!("illegible: {contrast:.1}: {text}"),
        );
    }
    for chart in &measured.charts {
        for fault in chart_faults(chart) {
            expect(false, format!("{}: {fault}", chart.title));
        }
    }
    faults
}

fn chart_faults(chart: &MeasuredChart) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(chart.cut.iter().map(|text| format!("cut off: {text}")));
    faults.extend(
        chart
            .covered
            .iter()
            .map(|texts| format!("covered: {texts}")),
    );
    if let Some(size) = chart.smallest.filter(|size| *size < SMALLEST) {
        faults.push(format!("letters of {size:.1} pixels"));
    }
    for mark in &chart.marks {
        if mark.title.is_empty() || mark.height < 1.0 || !mark.is_drawn {
            faults.push(format!("a mark that shows nothing: {mark:?}"));
        }
    }
    faults
}

/// Whether all that is to be on the page is.
fn is_complete(page: &Page, measured: &Measured) {
    let name = page.name;
    let chart = |title: &str| {
        let found = measured.charts.iter().find(|chart| chart.title == title);
        found.unwrap_or_else(|| panic!("{name}: no chart of {title}: {:?}", measured.charts))
    };
    for title in page.curves {
        let chart = chart(title);
        let shown = chart.curves.iter().filter(|length| **length >= SEEN);
        assert!(
            shown.count() == chart.curves.len() && !chart.curves.is_empty(),
            "{name}: {title}: {:?}",
            chart.curves
        );
        for begins in page.marked {
            let mut marks = chart.marks.iter();
            assert!(
                marks.any(|mark| mark.title.starts_with(begins)),
                "{name}: {title}: no mark {begins}: {:?}",
                chart.marks
            );
        }
        assert_eq!(
            page.marked.is_empty(),
            chart.marks.is_empty(),
            "{name}: {title}: {:?}",
            chart.marks
        );
        // Numbers of decisions lead to the list below the charts.
        let numbers = chart.marks.iter().filter_map(|mark| mark.label.as_ref());
        let numbers: Vec<usize> = numbers.map(|label| label.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{name}: {title}: {numbers:?}");
        let has_spots = page.marked.is_empty() != chart.spots.is_empty();
        assert!(!has_spots, "{name}: {title}: {:?}", chart.spots);
    }
    for title in page.bars {
        assert!(chart(title).bars > 0, "{name}: {title}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_whole_and_legible_on_a_desk_and_on_a_phone() {
    let Some(browser) = Browser::find() else {
        return;
    };
    // One after the other: three busy shops at once are much for a machine on which all tests run at once.
    let pages = [
        healthy().await,
        regressed().await,
        running().await,
        simulated().await,
    ];
    pages.iter().for_each(keep);
    let shown = |page| WIDTHS.map(|width| (page, width));
    let shown: Vec<(&Page, u32)> = pages.iter().flat_map(shown).collect();
    let frames: Vec<_> = shown
        .iter()
        .map(|(page, width)| Framed {
            name: page.name,
            html: &page.html,
            width: *width,
        })
        .collect();
    let mut faulty = Vec::new();
    for scheme in [Scheme::Light, Scheme::Dark] {
        let measured = browser.measure(&frames, scheme);
        assert_eq!(measured.len(), shown.len());
        for ((page, width), measured) in shown.iter().zip(&measured) {
            assert_eq!(
                (measured.name.as_str(), measured.width),
                (page.name, *width)
            );
            is_complete(page, measured);
            let faults = faults(measured, scheme);
            let of = format!("{} at {width} pixels, {scheme:?}", page.name);
            faulty.extend(faults.into_iter().map(|fault| format!("{of}: {fault}")));
        }
    }
    assert!(faulty.is_empty(), "{}", faulty.join("\n"));
}

/// What the test above would not see is as good as not tested.
#[test]
fn a_page_that_is_broken_is_found_to_be() {
    let Some(browser) = Browser::find() else {
        return;
    };
    let page = |body: &str| {
        format!(
            "<!DOCTYPE html>\n<html>\n<head>\n<style>:root {{ color-scheme: light dark; }}</style></head>\n<body>{body}</body>\n</html>\n"
        )
    };
    let chart = |inner: &str| {
        page(&format!(
            "<figure><figcaption><b>chart</b></figcaption><svg viewBox=\"0 0 720 200\" width=\"100%\">{inner}</svg></figure>"
        ))
    };
    let text = |x: u32, text: &str| {
        format!("<text x=\"{x}\" y=\"100\" font-size=\"40\" fill=\"#555555\">{text}</text>")
    };
    let cases = [
        (page("<p>well</p>"), None),
        (chart(&text(100, "well")), None),
        (
            page("<div style=\"width: 500px\">wide</div>"),
            Some("overflows: 508 of 390"),
        ),
        (
            page("<table><tr><td style=\"min-width: 500px\">wide</td></tr></table>"),
            Some("overflows: "),
        ),
        (
            page(
                "<div style=\"overflow-x: auto\"><table><tr><td style=\"min-width: 500px\">wide</td></tr></table></div>",
            ),
            None,
        ),
        (page("<script>nothing()</script>"), Some("error: ")),
        (
            page("<script>console.error('it broke')</script>"),
            Some("error: it broke"),
        ),
        (
            page("<img src=\"http://192.0.2.1/x.png\" alt=\"\"/>"),
            Some("request: http://192.0.2.1/x.png"),
        ),
        (
            page("<script src=\"http://192.0.2.1/x.js\"></script>"),
            Some("request: http://192.0.2.1/x.js"),
        ),
        (
            page("<link rel=\"stylesheet\" href=\"http://192.0.2.1/x.css\"/>"),
            Some("request: http://192.0.2.1/x.css"),
        ),
        (
            page("<p style=\"color: #eeeeee; background: white\">pale</p>"),
            Some("illegible: 1.2: pale"),
        ),
        (
            chart(&text(700, "at the edge")),
            Some("chart: cut off: at the edge"),
        ),
        (
            chart(&(text(100, "one") + &text(120, "two"))),
            Some("chart: covered: one and two"),
        ),
        (
            chart("<text x=\"9\" y=\"100\" font-size=\"11\" fill=\"#555555\">tiny</text>"),
            Some("chart: letters of 4."),
        ),
        (
            chart(
                "<g class=\"mark\"><title>at</title><line x1=\"9\" x2=\"9\" y1=\"9\" y2=\"99\"/></g>",
            ),
            Some("chart: a mark that shows nothing: "),
        ),
    ];
    let frame = |html| Framed {
        name: "broken",
        html,
        width: 390,
    };
    let frames: Vec<_> = cases.iter().map(|(html, _)| frame(html)).collect();
    let measured = browser.measure(&frames, Scheme::Light);
    assert_eq!(measured.len(), cases.len());
    for ((html, fault), measured) in cases.iter().zip(&measured) {
        let found = faults(measured, Scheme::Light);
        match fault {
            None => assert!(found.is_empty(), "{html}: {found:?}"),
            Some(fault) => {
                let is_found = found.iter().any(|found| found.starts_with(fault));
                assert!(is_found, "{fault}: {html}: {found:?}");
            }
        }
    }
}
