//! What pages share: one file with its own style, for a light or a dark screen, and no script.

use std::fmt;

use super::chart::html;

const STYLE: &str = "
:root { color-scheme: light dark; --text: #1c2127; --quiet: #67707b; --grid: #e3e7ec; --back: #ffffff;
  --stable: #2f6fde; --canary: #d9730d; --good: #187a41; --bad: #c93434; --caution: #965a00; --grey: #98a2ae; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8ee; --quiet: #9aa4b1; --grid: #2c333d;
  --back: #14181d; --stable: #6ea3ff; --canary: #ffa657; --good: #4cc38a; --bad: #ff6b6b; --caution: #e3b341; --grey: #77818d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 760px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
dt { color: var(--quiet); float: left; width: 6rem; } dd { margin: 0 0 0 6rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: right; padding: .2rem .9rem .2rem 0; font-variant-numeric: tabular-nums; white-space: nowrap; }
th { color: var(--quiet); font-weight: normal; } tr > :first-child { text-align: left; }
figure { margin: 1.2rem 0; } figcaption b { margin-right: .8rem; }
figcaption span { color: var(--quiet); margin-right: .8rem; white-space: nowrap; }
i { display: inline-block; width: .7em; height: .7em; border-radius: 2px; margin-right: .3em; }
svg { width: 100%; height: auto; } svg line, path { vector-effect: non-scaling-stroke; }
svg text { font-size: 8px; fill: var(--quiet); paint-order: stroke; stroke: var(--back); stroke-width: 2px; }
path { fill: none; stroke-width: 1.6; stroke-linejoin: round; } path.stable { stroke-width: 3.4; }
.bad { color: var(--bad); } .good { color: var(--good); } .caution { color: var(--caution); }
.headline { font-size: 1.15rem; font-weight: 600; } .wide { overflow-x: auto; }
ol { padding-left: 2rem; } li { margin: .25rem 0; overflow-wrap: anywhere; } li::marker, time { color: var(--quiet); }
.spot { fill: transparent; } .spot:hover { fill: var(--grid); fill-opacity: .5; }
.mark line { stroke: var(--quiet); stroke-width: 1.2; stroke-dasharray: 2 3; }
.mark.bad line { stroke: var(--bad); } .mark.good line { stroke: var(--good); } .mark.caution line { stroke: var(--caution); }
@media (max-width: 620px) { svg text { font-size: 10px; } }
@media (max-width: 480px) { dt { float: none; } dd { margin: 0 0 .4rem; } body { margin: 1rem auto; } svg text { font-size: 13px; }
  table { font-size: .8rem; } th, td { padding-right: .6rem; } }
@media print { body { max-width: none; } figure, li { break-inside: avoid; } }
.grid { stroke: var(--grid); } .rule { stroke: var(--bad); stroke-dasharray: 4 4; }
path.stable { stroke: var(--stable); } circle.stable { fill: var(--stable); } i.stable { background: var(--stable); }
path.canary { stroke: var(--canary); } circle.canary { fill: var(--canary); } i.canary { background: var(--canary); }
rect.good { fill: var(--good); } i.good { background: var(--good); }
rect.bad { fill: var(--bad); } i.bad { background: var(--bad); }
rect.grey { fill: var(--grey); } i.grey { background: var(--grey); }
";

/// A page around its body.
pub(super) struct Page<'a, T> {
    /// What it is about.
    pub title: &'a str,
    pub body: T,
}

impl<T: fmt::Display> fmt::Display for Page<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>kubectl canary: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{}</body>\n</html>",
            html(self.title),
            self.body
        )
    }
}

/// A list of names and what belongs to them.
pub(super) fn definitions(of: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut list = String::from("<dl>\n");
    for (name, text) in of {
        list += &format!("<dt>{name}</dt><dd>{}</dd>\n", html(&text));
    }
    list + "</dl>\n"
}
