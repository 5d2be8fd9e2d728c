//! What README.md and docs/ say can be typed, linked to and applied.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser;
use kubectl_canary::cli::Cli;
use kubectl_canary::plan::{ConfigFile, PlanFile};
use kubectl_canary::sandbox::Deployment;
use regex::Regex;
use serde_json::{Value, json};

use crate::fences::fences;
use crate::harness::Shop;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and the pages of docs/, with their paths.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let mut paths: Vec<_> = docs.chain([root().join("README.md")]).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

/// The words of every command of ours in a page: in shell and in what holds shell, after a prompt in a
/// transcript, and between backticks.
fn commands(page: &str) -> Vec<Vec<String>> {
    let name = Regex::new(r"kubectl[ -]canary ").unwrap();
    let (blocks, prose) = fences(page);
    let mut texts = Vec::new();
    for (language, text) in blocks {
        for line in text.replace("\\\n", " ").lines() {
            let is_transcript = !matches!(language.as_str(), "sh" | "bash" | "yaml" | "groovy");
            let line = line.trim();
            let line = match is_transcript {
                true => line.strip_prefix("$ ").unwrap_or_default(),
                false if line.starts_with(['#', '/']) => "",
                false => line.split(" # ").next().unwrap_or_default(),
            };
            for found in name.find_iter(line) {
                let rest = &line[found.end()..];
                let quoted = line[..found.start()].matches('\'').count() % 2 == 1;
                let end = if quoted { rest.find('\'') } else { None };
                texts.push(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    let span = Regex::new(r"`kubectl[ -]canary ([^`]+)`").unwrap();
    texts.extend(span.captures_iter(&prose).map(|span| span[1].to_owned()));
    texts.iter().map(|text| words(text)).collect()
}

/// The words up to where the shell takes over.
fn words(text: &str) -> Vec<String> {
    let text = text.replace("$RUN_ID", "job-1");
    let mut words = Vec::new();
    for word in shlex::Shlex::new(&text) {
        let is_shell = word.starts_with(['|', '>', '&', '<']) || word.starts_with("2>");
        let ends = word.ends_with(';');
        if !is_shell {
            words.push(word.trim_end_matches(';').to_owned());
        }
        if is_shell || ends {
            break;
        }
    }
    words
}

#[test]
fn every_command_that_is_written_down_can_be_typed() {
    let mut seen = BTreeSet::new();
    for (path, page) in pages() {
        for words in commands(&page) {
            let line = std::iter::once("kubectl canary".to_owned()).chain(words.iter().cloned());
            if let Err(error) = Cli::try_parse_from(line)
                && error.use_stderr()
            {
                panic!("{}: {}: {error}", path.display(), words.join(" "));
            }
            seen.extend(words.into_iter().next());
        }
    }
    for command in [
        "plan", "start", "status", "promote", "abort", "undo", "resume", "list", "report", "rbac",
        "demo", "analyze", "simulate", "scaffold",
    ] {
        assert!(seen.contains(command), "no page shows {command}: {seen:?}");
    }
}

#[test]
fn commands_are_found_wherever_they_stand() {
    let page = "Run `kubectl canary demo`.\n\n```sh\n# kubectl canary comment\nx=1 kubectl canary list -A 2> >(tee log)  # all\nkubectl canary start a \\\n  --canary v2 || code=$?\nx # kubectl canary said\nkubectl-canary abort a; echo\n```\n\n```groovy\nsh 'exec kubectl canary status a'\n```\n\n```\n$ kubectl canary plan a\nnext     kubectl canary output b\n```\n";
    let found: Vec<_> = commands(page).iter().map(|words| words.join(" ")).collect();
    assert_eq!(
        found,
        [
            "list -A",
            "start a --canary v2",
            "abort a",
            "status a",
            "plan a",
            "demo"
        ]
    );
}

/// GitHub's name for a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars()
        .filter(|char| char.is_alphanumeric() || matches!(char, '-' | '_'))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let headings = |path: &Path| -> Vec<String> {
        let page = std::fs::read_to_string(path).unwrap();
        let (_, prose) = fences(&page);
        let lines = prose.lines().filter(|line| line.starts_with('#'));
        lines
            .map(|line| anchor(line.trim_start_matches('#')))
            .collect()
    };
    for (path, page) in pages() {
        let (_, prose) = fences(&page);
        for found in link.captures_iter(&prose) {
            let target = &found[1];
            if target.starts_with("https://") {
                continue;
            }
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(file.exists(), "{}: {target}", path.display());
            let known = part.is_empty() || headings(&file).iter().any(|heading| heading == part);
            assert!(known, "{}: no heading for {target}", path.display());
        }
    }
}

/// The YAML documents of a page.
fn documents(page: &str) -> Vec<(String, Value)> {
    let (blocks, _) = fences(page);
    let blocks = blocks
        .into_iter()
        .filter(|(language, _)| language == "yaml");
    blocks
        .flat_map(|(_, text)| {
            let parts: Vec<_> = text.split("---\n").map(str::to_owned).collect();
            parts
        })
        .map(|text| {
            let value = serde_saphyr::from_str(&text).unwrap_or_else(|error| {
                panic!("{text}: {error}");
            });
            (text, value)
        })
        .collect()
}

#[test]
fn every_file_of_options_that_is_shown_is_one() {
    let mut count = 0;
    for (path, page) in pages() {
        for (text, document) in documents(&page) {
            if document["apiVersion"] == "kubectl-canary.dev/v1" {
                count += 1;
                let parsed = match document["kind"].as_str() {
                    Some("Config") => ConfigFile::parse(&text).map(|_| ()),
                    _ => PlanFile::parse(&text).map(|_| ()),
                };
                parsed.unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display()));
            }
        }
    }
    assert!(count >= 2, "{count}");
}

/// The objects of README.md's first rollout, and its commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_rollout_of_the_readme_can_be_done() {
    let shop = Shop::open().await;
    let page = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut kinds = Vec::new();
    for (_, object) in documents(&page) {
        let kind = object["kind"].as_str().unwrap().to_owned();
        if kind != "Deployment" {
            shop.world.apply(object);
        }
        kinds.push(kind);
    }
    assert_eq!(kinds, ["Deployment", "DestinationRule", "VirtualService"]);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    for words in commands(&page) {
        let brief = match words[0].as_str() {
            "plan" | "start" => shop.brief(),
            _ => Vec::new(),
        };
        let expected = match words[0].as_str() {
            "demo" => continue,
            // It is promoted by then.
            "abort" if !words.contains(&"--ignore-not-found".to_owned()) => 1,
            _ => 0,
        };
        let ran = shop.run(&words.join(" "), &brief).await;
        assert_eq!(
            ran.code, expected,
            "{words:?}: {}{}",
            ran.stdout, ran.stderr
        );
        if words[0] == "start" {
            assert_eq!(shop.canary(), 100);
        }
    }
}

/// Everything the program can say, as far as it stands in the sources.
fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, into),
            false => *into += &std::fs::read_to_string(&path).unwrap(),
        }
    }
}

#[test]
fn every_symptom_is_something_that_the_program_says() {
    let mut said = String::new();
    sources(&root().join("src"), &mut said);
    let page = std::fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `"));
    let mut count = 0;
    for heading in headings {
        count += 1;
        let parts = heading.trim_end_matches('`').split('…');
        for part in parts.map(str::trim).filter(|part| part.len() > 3) {
            assert!(said.contains(part), "{heading}: nothing says {part:?}");
        }
    }
    assert!(count > 25, "{count}");
}

/// The commands of docs/tutorial.md that shift traffic, in its order, with what others do between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tutorial_leads_to_the_next_release() {
    let page = std::fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let written: Vec<_> = commands(&page)
        .iter()
        .map(|words| words.join(" "))
        .collect();
    let shop = Shop::open().await;
    for (_, object) in documents(&page) {
        let kind = object["kind"].as_str().unwrap_or_default();
        if matches!(kind, "DestinationRule" | "VirtualService") {
            shop.world.apply(object);
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let run = async |line: &str, more: &[String]| {
        assert!(written.contains(&line.to_owned()), "the page lacks {line}");
        let ran = shop.run(line, more).await;
        assert_eq!(ran.code, 0, "{line}: {}{}", ran.stdout, ran.stderr);
        ran.stdout
    };
    let weights = || -> Vec<(String, i64)> {
        let route = shop.reviews()["spec"]["http"][0]["route"].clone();
        let route = route.as_array().unwrap().iter();
        route
            .map(|to| {
                let subset = to["destination"]["subset"].as_str().unwrap();
                (subset.to_owned(), to["weight"].as_i64().unwrap_or(0))
            })
            .collect()
    };
    let at = |v1, v2| vec![("v1".to_owned(), v1), ("v2".to_owned(), v2)];
    let brief = shop.brief();
    run("plan reviews -n shop --canary v2", &brief).await;
    let start = "start reviews -n shop --canary v2";
    run(start, &brief).await;
    assert_eq!(weights(), at(0, 100));
    run("undo reviews -n shop", &[]).await;
    assert_eq!(weights(), at(100, 0));
    run(start, &brief).await;

    shop.world.set(|stage| {
        Deployment {
            namespace: "shop",
            name: "reviews-v3",
            app: "reviews",
            version: "v3",
            replicas: 3,
        }
        .put_on(stage);
    });
    shop.world
        .edit("destinationrules", "shop", "reviews", "kubectl", |rule| {
            let subset = json!({"name": "v3", "labels": {"version": "v3"}});
            rule["spec"]["subsets"].as_array_mut().unwrap().push(subset);
        });
    let next = "start reviews -n shop --canary v3 --add-destination";
    run(next, &brief).await;
    let mut expected = at(0, 0);
    expected.push(("v3".into(), 100));
    assert_eq!(weights(), expected);
}
