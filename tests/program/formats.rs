//! What programs read: every document is of its schema, and the schemas are those that are checked in.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use kubectl_canary::report::Document;
use kubectl_canary::rollout::{LAST, ROLLOUT};
use serde_json::Value;

use crate::harness::{Ran, Shop};

/// Set to write the schemas anew where they are checked in.
const UPDATE: &str = "UPDATE_SCHEMAS";

fn schema(document: Document) -> Value {
    serde_json::to_value(document.schema()).unwrap()
}

fn checked_in(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[track_caller]
fn assert_is(document: Document, value: &Value) {
    let schema = jsonschema::validator_for(&schema(document)).unwrap();
    let errors: Vec<_> = schema
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(errors, [""; 0], "{} {value:#}", document.name());
}

#[track_caller]
fn printed(document: Document, ran: &Ran) -> Value {
    let value: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr));
    assert_is(document, &value);
    assert_eq!(value["version"], 1, "{value:#}");
    value
}

#[test]
fn the_schemas_that_are_checked_in_are_those_of_the_program() {
    for &document in Document::ALL {
        let path = checked_in(&format!("docs/schemas/{}.json", document.name()));
        let now = format!("{:#}\n", schema(document));
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let before = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            before == now,
            "{} is out of date (try: {UPDATE}=1 cargo test --test program formats, and read the diff: a field that goes or changes needs a new version)",
            path.display()
        );
    }
    let files = std::fs::read_dir(checked_in("docs/schemas")).unwrap();
    assert_eq!(files.count(), Document::ALL.len(), "a schema of nothing");
}

/// A field that may be missing is one that a script has to ask for twice.
#[test]
fn what_commands_print_has_every_field_always() {
    fn optional(schema: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            let required: Vec<_> = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .collect();
            for name in properties.keys() {
                if !required.iter().any(|field| *field == name) {
                    found.push(format!("{at}/{name}"));
                }
            }
        }
        match schema {
            Value::Object(fields) => {
                for (key, value) in fields {
                    optional(value, &format!("{at}/{key}"), found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| optional(item, at, found)),
            _ => {}
        }
    }
    for &document in Document::ALL {
        // Files are written by people, and in the 12 KiB of the state what is absent is nothing.
        let of_people = [Document::PlanFile, Document::ConfigFile];
        if of_people.contains(&document) || document == Document::Rollout {
            continue;
        }
        let mut found = Vec::new();
        optional(&schema(document), "", &mut found);
        found.retain(|field| !OF_THE_STATE.iter().any(|of| field.contains(of)));
        assert_eq!(found, [""; 0], "{}", document.name());
    }
}

/// The plan, and the weights before a promotion, are written within other documents as in the state; options
/// as in a file.
const OF_THE_STATE: [&str; 6] = [
    "/Plan/",
    "/Judgement/",
    "/Destination/",
    "/RouteGroup/",
    "/Options/",
    "/MetricGuard/",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_each_command_prints_is_of_its_schema() {
    let shop = Shop::open().await;
    let brief = shop.brief();
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events.jsonl");
    let mut recorded = brief.clone();
    recorded.extend(["--events".into(), events.display().to_string()]);

    let plan = shop.run("plan reviews -o json", &brief).await;
    let plan = printed(Document::Plan, &plan);
    assert_eq!(plan["steps"][0]["exposure"]["kind"], "share");
    let idle = shop.run("status reviews -o json", &[]).await;
    let idle = printed(Document::Status, &idle);
    assert_eq!(
        (&idle["phase"], &idle["stable"]),
        (&"idle".into(), &Value::Null)
    );

    let held = shop
        .run("start reviews --no-wait --steps 20,100 -o json", &brief)
        .await;
    let held = printed(Document::Result, &held);
    assert_eq!(held["outcome"]["kind"], "step-set");
    assert_eq!(held["totalCounts"], Value::Null, "nobody has counted yet");
    let annotation = |key: &str| -> Value {
        let object = shop.reviews();
        let text = object["metadata"]["annotations"][key]
            .as_str()
            .unwrap_or("null");
        serde_json::from_str(text).unwrap()
    };
    assert_is(Document::Rollout, &annotation(ROLLOUT));
    assert_eq!(annotation(ROLLOUT)["step"], 1);
    let status = shop.run("status reviews -o json", &[]).await;
    let status = printed(Document::Status, &status);
    assert_eq!(
        (&status["step"], &status["stepCount"]),
        (&1.into(), &2.into())
    );
    assert_eq!(status["steps"].as_array().unwrap().len(), 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let analysis = shop.run("analyze reviews -o json", &[]).await;
    printed(Document::Analysis, &analysis);
    let aborted = shop.run("abort reviews -o json", &[]).await;
    let aborted = printed(Document::Result, &aborted);
    assert_eq!(aborted["outcome"]["kind"], "rolled-back");
    assert_eq!(aborted["outcome"]["cause"], "request");
    assert_is(Document::LastRollout, &annotation(LAST));

    shop.world
        .traffic()
        .version("shop", "reviews-v2")
        .fails(0.5);
    let rolled_back = shop.run("start reviews -o json", &recorded).await;
    let rolled_back = printed(Document::Result, &rolled_back);
    assert_eq!(rolled_back["outcome"]["cause"], "regression");
    assert!(rolled_back["totalCounts"]["canary"]["failures"].as_u64() > Some(0));
    for line in std::fs::read_to_string(events).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        assert_is(Document::Event, &event);
        assert_eq!(event["version"], 1);
    }
    let runs = shop.run("history reviews -o json", &[]).await;
    let runs = printed(Document::History, &runs);
    assert_eq!(runs["items"].as_array().unwrap().len(), 2, "{runs:#}");
    let report = shop.run("report reviews -o json", &[]).await;
    let report = printed(Document::Report, &report);
    assert_eq!(report["outcome"]["cause"], "regression");
    let list = shop.run("list -o json", &[]).await;
    let list = printed(Document::StatusList, &list);
    assert_eq!(list["items"][0]["last"]["canary"], "v2");
    let simulation = shop
        .run("simulate --runs 20 --canary-errors 50% -o json", &[])
        .await;
    let simulation = printed(Document::Simulation, &simulation);
    assert_eq!(simulation["summary"]["secondsToPromote"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_prints_every_schema() {
    let shop = Shop::open().await;
    let all = shop.run("schema", &[]).await;
    for &document in Document::ALL {
        let name = document.name();
        assert!(
            all.stdout.lines().any(|line| line.starts_with(&name)),
            "{}",
            all.stdout
        );
        let ran = shop.run("schema", &[name]).await;
        assert_eq!(
            serde_json::from_str::<Value>(&ran.stdout).unwrap(),
            schema(document)
        );
    }
    let ran = shop.run("schema plans", &[]).await;
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("plan-file"), "{}", ran.stderr);
}

/// In `docs/reference.md` a heading names a document, and the JSON below it is an example of it.
#[test]
fn the_examples_in_the_reference_are_of_their_schemas() {
    let text = std::fs::read_to_string(checked_in("docs/reference.md")).unwrap();
    let mut shown = Vec::new();
    let mut document = None;
    let mut example: Option<String> = None;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            let name = heading.trim_matches('`');
            document = Document::from_str(name, false).ok();
        } else if line == "```json" {
            example = Some(String::new());
        } else if line == "```" {
            if let (Some(json), Some(document)) = (example.take(), document) {
                let value = serde_json::from_str(&json)
                    .unwrap_or_else(|error| panic!("{}: {error}", document.name()));
                assert_is(document, &value);
                shown.push(document);
            }
        } else if let Some(example) = &mut example {
            example.push_str(line);
            example.push('\n');
        }
    }
    let missing: Vec<_> = Document::ALL
        .iter()
        .filter(|document| !shown.contains(document))
        .map(|document| document.name())
        .collect();
    assert_eq!(missing, [""; 0], "without an example in docs/reference.md");
}
