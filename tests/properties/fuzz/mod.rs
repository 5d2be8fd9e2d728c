//! Whatever stands in the documents that the program reads: arbitrary bytes, and valid ones with something
//! wrong in them. It never panics, ends in time with one of its exit codes, prints nothing that a terminal
//! would obey, and never a secret.
//!
//! More cases: `FUZZ_CASES=10000 cargo test --test properties fuzz`.

mod mutation;
mod program;

use kubectl_canary::istio::{VirtualService, select_versions};
use kubectl_canary::plan::PlanFile;
use kubectl_canary::rollout::{LastRollout, Rollout};
use proptest::prelude::*;
use serde_json::json;

use crate::seed::cases;
use mutation::mutation;
use program::{Document, PLAN_FILE, Ran, SECRET, state, with};

/// So many cases, unless the environment asks for more.
fn fuzz_cases(few: u32) -> ProptestConfig {
    let asked = std::env::var("FUZZ_CASES").ok();
    let asked = asked.map(|text| text.parse().expect("FUZZ_CASES is a number"));
    cases(asked.unwrap_or(few))
}

/// What the cluster and Prometheus answer.
fn answered() -> impl Strategy<Value = Document> {
    prop::sample::select(vec![
        Document::VirtualService,
        Document::DestinationRules,
        Document::State,
        Document::LastRollout,
        Document::Prometheus,
    ])
}

fn command() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "status reviews",
        "status reviews -o json",
        "status reviews -o yaml",
        "list",
        "list -o wide",
        "plan reviews",
        "plan -f PLAN -o json",
        "plan -f PLAN",
        "start -f PLAN --no-wait",
        "start reviews --no-wait --steps 10,100",
        "abort reviews --timeout 1s",
        "pause reviews",
        "promote reviews",
        "promote reviews --full",
        "analyze reviews",
        "analyze reviews --since 1m -o json",
    ])
}

/// What has to hold of a run, whatever it read.
fn check(ran: &Ran) -> Result<(), TestCaseError> {
    let Some(code) = ran.code else {
        return Err(TestCaseError::fail(format!(
            "it did not end by itself:\n{}{}",
            ran.stdout, ran.stderr
        )));
    };
    let known = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 20];
    prop_assert!(known.contains(&code), "exit code {}\n{}", code, ran.stderr);
    for text in [&ran.stdout, &ran.stderr] {
        prop_assert!(!text.contains("panicked"), "{}", text);
        prop_assert!(!text.contains(SECRET), "a secret is printed: {}", text);
        let obeyed = text.chars().find(|char| is_obeyed(*char));
        prop_assert!(obeyed.is_none(), "{:?} is printed: {:?}", obeyed, text);
    }
    Ok(())
}

/// Whether a terminal does something else than to show it.
fn is_obeyed(char: char) -> bool {
    let reorders = matches!(
        char,
        '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    char != '\n' && (char.is_control() || reorders)
}

proptest! {
    #![proptest_config(fuzz_cases(64))]

    #[test]
    fn no_answer_breaks_the_program(
        document in answered(),
        mutation in mutation(),
        command in command(),
    ) {
        check(&with(document, &mutation, command))?;
    }

    #[test]
    fn no_kubeconfig_breaks_the_program(mutation in mutation(), command in command()) {
        check(&with(Document::Kubeconfig, &mutation, command))?;
    }

    #[test]
    fn no_plan_file_breaks_the_program(
        mutation in mutation(),
        command in prop::sample::select(vec!["plan -f PLAN", "plan -f PLAN -o json", "start -f PLAN --no-wait"]),
    ) {
        check(&with(Document::PlanFile, &mutation, command))?;
    }
}

proptest! {
    #![proptest_config(fuzz_cases(2048))]

    #[test]
    fn no_record_on_an_object_breaks_its_reader(mutation in mutation(), which in any::<bool>()) {
        let valid = state(if which { "rollout" } else { "last" });
        let text = String::from_utf8_lossy(&mutation.of(valid.as_bytes())).into_owned();
        let vs = VirtualService::new(json!({
            "metadata": {"name": "reviews", "namespace": "shop", "uid": "1", "annotations": {
                "kubectl-canary.dev/rollout": text, "kubectl-canary.dev/last": text,
            }},
            "spec": {"http": [{"route": [{"destination": {"host": "reviews"}}]}]},
        })).unwrap();
        let _ = Rollout::read(&vs).map_err(|error| error.to_string());
        let _ = LastRollout::read(&vs).map_err(|error| error.to_string());
    }

    #[test]
    fn no_plan_file_breaks_its_parser(mutation in mutation()) {
        let text = String::from_utf8_lossy(&mutation.of(PLAN_FILE.as_bytes())).into_owned();
        let _ = PlanFile::parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn no_object_breaks_what_reads_its_routes(object in crate::route_kinds::virtual_service(), mutation in mutation()) {
        let bytes = mutation.of(object.to_string().as_bytes());
        if let Ok(object) = serde_json::from_slice(&bytes)
            && let Ok(vs) = VirtualService::new(object)
        {
            let _ = select_versions(&vs, None, None, &[], &[]).map_err(|error| error.to_string());
            let _ = Rollout::read(&vs);
        }
    }
}
