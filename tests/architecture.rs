//! What the sources import: the order of the modules, the pure folders, and a name for each type.
//!
//! Read as text, since the compiler lets everything import everything within one crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// The folders that decide: no client, no runtime, no clock, no environment.
const PURE: [&str; 7] = [
    "istio",
    "metrics/counting",
    "plan",
    "preflight",
    "rollout",
    "simulate",
    "verdict",
];

/// What a pure folder may take from the client's folder, and why.
const PLAIN_DATA: [(&str, &str); 3] = [
    (
        "CallError",
        "a failed call as data: kind, attempt and cause",
    ),
    ("ErrorKind", "part of it"),
    ("Permission", "a verb on a resource, requested by discovery"),
];

/// What makes code depend on more than its arguments.
const IMPURE: [(&str, &str); 8] = [
    ("a Kubernetes client", r"\bkube(_client|_runtime)?::"),
    (
        "an HTTP client or server",
        r"\b(reqwest|hyper|hyper_util|tower)::",
    ),
    (
        "an async runtime",
        r"\btokio::|\.await\b|\basync (fn|move)\b",
    ),
    (
        "the clock",
        r"\bcrate::clock\b|\b(Instant|Timestamp|Zoned|SystemTime)::now\b|\bSystemTime\b",
    ),
    ("the environment", r"\bstd::(env|process|net)\b"),
    ("files", r"\bstd::fs\b|\bFile::(open|create)\b"),
    (
        "the process' streams",
        r"\be?print(ln)?!|\bio::(stdin|stdout|stderr)\b",
    ),
    (
        "another folder that acts",
        r"\bcrate::(cli|commands|context|discovery|driver|error|sandbox|signals)\b",
    ),
];

/// Files of a pure folder that act, and why.
const NOT_PURE: [(&str, &str); 2] = [
    (
        "metrics/counting/collector.rs",
        "asks the source; what it does with the answers is pure",
    ),
    (
        "metrics/counting/reading.rs",
        "asks how many series there are before anything is counted",
    ),
];

/// Type names that stand for two things, and why both may stay.
const TWINS: [(&str, &str); 1] = [("Visitor", "serde's own word, private to a parser")];

/// Files that touch the process' streams, and why that keeps no driver waiting.
const STREAMS: [(&str, &str); 5] = [
    ("cli/command_line.rs", "asks what stdout is"),
    ("cli/dispatch.rs", "says that there are no threads"),
    ("cli/printer.rs", "the thread of stdout"),
    (
        "cli/screen.rs",
        "the thread of stderr; the progress of `simulate`",
    ),
    ("report/live.rs", "drawn on the thread of stderr"),
];

/// Files that import one another, and why that may stay.
const CIRCLES: [(&str, &str); 6] = [
    (
        "metrics::counting::counter_log, metrics::counting::interval_end",
        "a log and where it is cut",
    ),
    (
        "metrics::counting::unit, metrics::counting::versions",
        "what is counted, and of which version",
    ),
    (
        "report::simulation, report::simulation_page",
        "a view and its page",
    ),
    (
        "rollout::companion, rollout::state",
        "a state names companions",
    ),
    (
        "rollout::outcome, rollout::reason",
        "an outcome has a reason, a reason tells outcomes",
    ),
    (
        "sandbox::setup, sandbox::state, sandbox::workloads",
        "what is scheduled is a set-up of the state",
    ),
];

static USES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap());
static INLINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:crate|super)(?:::\w+)+").unwrap());

/// One source file, without its tests and comments.
struct Source {
    /// Relative to `src`, with slashes.
    path: String,
    code: String,
}

impl Source {
    /// `rollout/machine` for `rollout/machine.rs`, `rollout` for `rollout/mod.rs`.
    fn module(&self) -> &str {
        let path = self.path.strip_suffix(".rs").unwrap();
        path.strip_suffix("/mod").unwrap_or(path)
    }

    fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    fn top(&self) -> &str {
        self.module().split('/').next().unwrap()
    }

    /// Every path under `crate::` or `super::` that the code names, in `use` and elsewhere.
    fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        for tree in USES.captures_iter(&self.code) {
            expand("", &tree[1], &mut found);
        }
        let rest = USES.replace_all(&self.code, "");
        found.extend(INLINE.find_iter(&rest).map(|path| path.as_str().to_owned()));
        let parent: Vec<_> = match self.path.strip_suffix("/mod.rs") {
            Some(folder) => folder.split('/').collect(),
            None => self.module().split('/').collect(),
        };
        let absolute = found.into_iter().filter_map(|path| {
            let mut here = parent.clone();
            let mut rest = path.as_str();
            while let Some(shorter) = rest.strip_prefix("super::") {
                here.pop();
                rest = shorter;
            }
            if rest.len() < path.len() {
                Some(
                    here.into_iter()
                        .chain([rest])
                        .collect::<Vec<_>>()
                        .join("::"),
                )
            } else {
                rest.strip_prefix("crate::").map(str::to_owned)
            }
        });
        absolute.collect()
    }
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let name = tree.split_whitespace().next().unwrap_or_default();
        found.push(format!("{prefix}{name}"));
        return;
    };
    let inner = inner.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in inner.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&format!("{prefix}{head}"), &inner[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        expand(&format!("{prefix}{head}"), &inner[start..], found);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The code without comments and without items under `#[cfg(test)]`, and the modules among these that
/// are files of their own. Relies on the layout that rustfmt makes.
fn without_tests(text: &str) -> (String, Vec<String>) {
    let mut code = String::new();
    let mut test_modules = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("//") {
            continue;
        }
        if line.trim() != "#[cfg(test)]" {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let mut item = lines
            .by_ref()
            .skip_while(|line| line.trim_start().starts_with("#["));
        let first = item.next().unwrap_or_default();
        if let Some(module) = first
            .trim()
            .strip_suffix(';')
            .and_then(|item| item.rsplit_once("mod "))
        {
            test_modules.push(module.1.to_owned());
        } else if !first.ends_with(';') {
            let end = format!("{indent}}}");
            let _ = item.find(|line| line.starts_with(&end));
        }
    }
    (code, test_modules)
}

/// All of `src`, without what is compiled for tests alone.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    paths.sort();
    let mut sources = Vec::new();
    let mut tests = Vec::new();
    for path in paths {
        let relative = path
            .strip_prefix(&src)
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/");
        let (code, test_modules) = without_tests(&fs::read_to_string(&path).unwrap());
        let source = Source {
            path: relative,
            code,
        };
        let folder = source.folder();
        tests.extend(
            test_modules
                .iter()
                .map(|module| format!("{folder}/{module}")),
        );
        sources.push(source);
    }
    sources.retain(|source| {
        let module = source.module();
        !tests
            .iter()
            .any(|test| module == test || module.starts_with(&format!("{test}/")))
    });
    sources
}

/// The order as a page shows it: the first block of text with arrows.
fn shown_order(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let block = text
        .split("```text")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.contains('→'));
    let block = block.unwrap_or_else(|| panic!("{page} shows no import order"));
    let names = block.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_page_names_files_that_exist() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut paths = Vec::new();
    files(&root().join("src"), &mut paths);
    files(&root().join("tests"), &mut paths);
    for named in page.split('`').skip(1).step_by(2) {
        let is_file = named.ends_with(".rs");
        let found = paths.iter().any(|path| path.ends_with(named));
        assert!(!is_file || found, "docs/architecture.md names {named}");
    }
}

#[test]
fn modules_import_only_what_stands_after_them() {
    let order = shown_order("src/lib.rs");
    assert_eq!(order, shown_order("docs/architecture.md"));
    let place: BTreeMap<_, _> = order
        .iter()
        .enumerate()
        .map(|(place, name)| (name.as_str(), place))
        .collect();
    let mut upward = String::new();
    for source in sources() {
        let top = source.top();
        if matches!(top, "lib" | "main") {
            continue;
        }
        let from = place
            .get(top)
            .unwrap_or_else(|| panic!("{top} has no place in the order"));
        for path in source.paths() {
            let target = path.split("::").next().unwrap();
            if target != top && place.get(target).is_none_or(|to| to <= from) {
                writeln!(upward, "  src/{} imports {path}", source.path).unwrap();
            }
        }
    }
    assert!(upward.is_empty(), "against the order:\n{upward}");
}

#[test]
fn what_decides_knows_no_client_no_runtime_no_clock_and_no_environment() {
    let mut impure = String::new();
    for source in sources() {
        let is_pure = PURE
            .iter()
            .any(|folder| source.path.starts_with(&format!("{folder}/")));
        let acts = NOT_PURE.iter().any(|(path, _)| *path == source.path);
        if !is_pure || acts {
            continue;
        }
        for (what, pattern) in IMPURE {
            for found in Regex::new(pattern).unwrap().find_iter(&source.code) {
                writeln!(impure, "  src/{}: {what} ({})", source.path, found.as_str()).unwrap();
            }
        }
        for path in source.paths() {
            let Some(item) = path.strip_prefix("cluster::") else {
                continue;
            };
            if !PLAIN_DATA.iter().any(|(name, _)| *name == item) {
                writeln!(
                    impure,
                    "  src/{}: a Kubernetes client ({path})",
                    source.path
                )
                .unwrap();
            }
        }
    }
    assert!(impure.is_empty(), "pure folders use:\n{impure}");
}

#[test]
fn only_the_threads_of_output_write_to_the_process_streams() {
    let streams =
        Regex::new(r"\be?print(ln)?!|\bio::(stdout|stderr)\b|\bProgressDrawTarget::std").unwrap();
    let sources = sources();
    let touching = sources
        .iter()
        .filter(|source| streams.is_match(&source.code));
    let touching: BTreeSet<_> = touching.map(|source| source.path.as_str()).collect();
    let allowed: BTreeSet<_> = STREAMS.iter().map(|(path, _)| *path).collect();
    assert_eq!(touching, allowed);
}

#[test]
fn no_type_name_stands_for_two_things() {
    let definition =
        Regex::new(r"(?m)^ *(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union) (\w+)").unwrap();
    let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for found in definition.captures_iter(&source.code) {
            defined
                .entry(found[1].to_owned())
                .or_default()
                .push(source.path.clone());
        }
    }
    defined.retain(|_, places| places.len() > 1);
    let allowed: BTreeSet<_> = TWINS.iter().map(|(name, _)| *name).collect();
    let twins: BTreeSet<_> = defined.keys().map(String::as_str).collect();
    // Equal, so that a name which is no twin any more leaves the list.
    assert_eq!(twins, allowed, "defined more than once: {defined:#?}");
}

#[test]
fn no_files_of_one_folder_import_each_other_in_a_circle() {
    let sources = sources();
    let modules: BTreeSet<String> = sources
        .iter()
        .map(|source| source.module().replace('/', "::"))
        .collect();
    // What a folder hands on from its files: `rollout::Machine` is `rollout::machine`'s.
    let mut handed_on = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| source.path.ends_with("/mod.rs"))
    {
        let folder = source.module().replace('/', "::");
        for tree in USES.captures_iter(&source.code) {
            let mut items = Vec::new();
            expand("", &tree[1], &mut items);
            for item in items {
                let item = item.strip_prefix("self::").unwrap_or(&item).to_owned();
                if let Some((file, name)) = item.rsplit_once("::") {
                    handed_on.insert(format!("{folder}::{name}"), format!("{folder}::{file}"));
                }
            }
        }
    }
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| !source.path.ends_with("mod.rs"))
    {
        let from = source.module().replace('/', "::");
        let folder = source.folder().replace('/', "::");
        for path in source.paths() {
            let path = handed_on.get(&path).cloned().unwrap_or(path);
            let Some(rest) = path.strip_prefix(&format!("{folder}::")) else {
                continue;
            };
            let to = format!("{folder}::{}", rest.split("::").next().unwrap());
            if to != from && modules.contains(&to) {
                imports.entry(from.clone()).or_default().insert(to);
            }
        }
    }
    let reachable = |from: &String| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&String> = imports.get(from).into_iter().flatten().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(imports.get(next).into_iter().flatten());
            }
        }
        seen
    };
    let mut circles = BTreeSet::new();
    for file in imports.keys() {
        let from_here = reachable(file);
        if from_here.contains(file) {
            let circle: Vec<_> = from_here
                .into_iter()
                .filter(|other| reachable(other).contains(file))
                .cloned()
                .collect();
            circles.insert(circle.join(", "));
        }
    }
    let allowed: BTreeSet<_> = CIRCLES
        .iter()
        .map(|(circle, _)| (*circle).to_owned())
        .collect();
    // Equal, so that a circle which is broken leaves the list.
    assert_eq!(circles, allowed, "files that import one another");
}
