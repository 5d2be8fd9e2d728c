//! The user's own file: what it sets, what wins over it, and where its login goes.

use kubectl_canary::report::Document;
use serde_json::Value;

use crate::door::{Door, Refused};
use crate::harness::{Ran, Shop};

const TOKEN: &str = "open-sesame-4711";

/// A door that takes one token.
async fn door(shop: &Shop) -> Door {
    Door::open(shop, |knock| {
        let expected = format!("Bearer {TOKEN}");
        let challenge = vec![("www-authenticate", "Bearer".to_owned())];
        let refused = Refused(401, challenge, "Unauthorized".into());
        knock.wants("authorization", &expected, refused)
    })
    .await
}

/// Writes the file for the shop's context, with a token beside it.
fn configure(shop: &Shop, spec: &str, login: &str) {
    std::fs::write(shop.folder().join("token"), format!("{TOKEN}\n")).unwrap();
    let text = format!(
        "apiVersion: kubectl-canary.dev/v1\nkind: Config\ncontexts:\n- {{name: other, spec: {{preset: quicker}}}}\n- {{name: 's*box', spec: {spec}, login: {login}}}\n"
    );
    std::fs::write(shop.folder().join("config.yaml"), text).unwrap();
}

/// A command with that file, and without an address of its own unless `more` has one.
async fn run(shop: &Shop, line: &str, more: &[&str]) -> Ran {
    let more: Vec<_> = more.iter().map(|&word| word.to_owned()).collect();
    let mut program = shop.program(line, &more);
    program.env("KUBECTL_CANARY_CONFIG", shop.folder().join("config.yaml"));
    Shop::ran(program).await
}

fn plan_of(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

const PLAN: &str = "plan reviews --canary v2 --interval 500ms --warmup 0s -o json";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_sets_holds_until_something_nearer_says_otherwise() {
    let shop = Shop::open().await;
    let door = door(&shop).await;
    let url = door.url("127.0.0.1");
    configure(
        &shop,
        &format!("{{preset: quick, dwell: 7s, prometheus: '{url}'}}"),
        "{tokenFile: token}",
    );
    let view = plan_of(&run(&shop, PLAN, &[]).await);
    assert_eq!(view["prometheusFrom"], "config");
    assert_eq!(view["plan"]["prometheus"], url);
    assert_eq!(view["plan"]["judgement"]["preset"], "quick");
    assert!(!view.to_string().contains(TOKEN));

    let plan = "apiVersion: kubectl-canary.dev/v1\nkind: Rollout\nspec: {dwell: 9s}\n";
    let file = shop.folder().join("plan.yaml");
    std::fs::write(&file, plan).unwrap();
    let file = file.display().to_string();
    let nearer = run(&shop, PLAN, &["-f", &file, "--preset", "careful"]).await;
    let nearer = plan_of(&nearer);
    assert_eq!(
        nearer["plan"]["judgement"]["preset"], "careful",
        "a flag wins"
    );
    assert_eq!(nearer["plan"]["dwell"], "9s", "a plan file wins");
    assert_eq!(view["plan"]["dwell"], "7s");
}

/// Whoever can name another address does not get the login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_login_goes_to_its_own_address_alone() {
    let shop = Shop::open().await;
    let (mine, other) = (door(&shop).await, door(&shop).await);
    let (mine_url, other_url) = (mine.url("127.0.0.1"), other.url("127.0.0.1"));
    configure(
        &shop,
        &format!("{{prometheus: '{mine_url}'}}"),
        "{tokenFile: token}",
    );
    let elsewhere = run(&shop, PLAN, &["--prometheus", &other_url]).await;
    assert_eq!(elsewhere.code, 4, "{}", elsewhere.stderr);
    assert!(!other.knocks().is_empty());
    for knock in other.knocks() {
        assert_eq!(knock.header("authorization"), None);
    }
    let here = run(&shop, PLAN, &["--prometheus", &mine_url]).await;
    assert_eq!(plan_of(&here)["prometheusFrom"], "flag");

    // A rollout that stands on the object with that address is taken over with that login.
    let brief = [
        "--no-wait",
        "--steps",
        "20,100",
        "--interval",
        "500ms",
        "--warmup",
        "0s",
    ];
    let held = run(&shop, "start reviews --canary v2", &brief).await;
    assert_eq!(held.code, 0, "{}", held.stderr);
    let verdict = run(&shop, "analyze reviews", &[]).await;
    assert!([0, 12].contains(&verdict.code), "{}", verdict.stderr);
    assert!(!verdict.stderr.contains("401"), "{}", verdict.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_shows_what_holds_without_its_secrets() {
    let shop = Shop::open().await;
    configure(
        &shop,
        "{preset: quick, prometheus: 'https://ada:s3cr3t@prometheus.example.com/'}",
        "{headers: ['X-Scope-OrgID: shop']}",
    );
    let ran = run(&shop, "config", &[]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("sandbox, by s*box"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("s3cr3t"), "{}", ran.stdout);
    let json = run(&shop, "config -o json", &[]).await;
    let value: Value = serde_json::from_str(&json.stdout).unwrap();
    let schema = serde_json::to_value(Document::Config.schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(schema.is_valid(&value), "{value:#}");
    assert_eq!(value["login"], serde_json::json!(["headers", "password"]));

    std::fs::write(shop.folder().join("config.yaml"), "contexts: []").unwrap();
    let broken = run(&shop, PLAN, &[]).await;
    assert_eq!(broken.code, 2);
    assert!(
        broken.stderr.contains("error: config file ") && broken.stderr.contains("apiVersion"),
        "{}",
        broken.stderr
    );
    let unconcerned = run(&shop, "status reviews", &[]).await;
    assert_eq!(
        unconcerned.code, 0,
        "what asks no Prometheus reads no such file"
    );
}

/// Permissions are those for the address in use, whichever place it is from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_are_printed_for_the_address_in_use() {
    let shop = Shop::open().await;
    let rules = async |more: &[&str]| {
        let ran = run(&shop, "rbac -o json", more).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let list: Value = serde_json::from_str(&ran.stdout).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let roles = items.filter(|item| item["kind"] == "Role").skip(1);
        let shown: Vec<_> = roles
            .map(|role| {
                let rules = role["rules"].as_array().unwrap().iter();
                let rules: Vec<_> = rules
                    .map(|rule| format!("{}{}", rule["resources"], rule["verbs"]))
                    .collect();
                let namespace = role["metadata"]["namespace"].as_str().unwrap();
                format!("{namespace}: {}", rules.join(" "))
            })
            .collect();
        shown.join("; ")
    };
    let proxied = |namespace: &str| format!(r#"{namespace}: ["services/proxy"]["get"]"#);
    let forwarded = |namespace: &str| {
        format!(
            r#"{namespace}: ["services"]["get"] ["pods"]["list"] ["pods/portforward"]["get","create"]"#
        )
    };
    configure(&shop, "{prometheus: 'mon/prom:80'}", "{}");
    assert_eq!(rules(&[]).await, proxied("mon"), "the user's own file");
    let plan = "apiVersion: kubectl-canary.dev/v1\nkind: Rollout\nspec: {prometheus: 'metrics/thanos:9090'}\n";
    let file = shop.folder().join("plan.yaml");
    std::fs::write(&file, plan).unwrap();
    let file = file.display().to_string();
    assert_eq!(
        rules(&["-f", file.as_str()]).await,
        proxied("metrics"),
        "a plan file"
    );
    let flag = ["-f", file.as_str(), "--prometheus", "other/prom:80"];
    assert_eq!(rules(&flag).await, proxied("other"), "a flag");
    // A login does not pass the proxy.
    let token = shop.folder().join("token").display().to_string();
    let flags = ["--prometheus-token-file", token.as_str()];
    assert_eq!(rules(&flags).await, forwarded("mon"), "a login by flag");
    configure(&shop, "{prometheus: 'mon/prom:80'}", "{tokenFile: token}");
    assert_eq!(rules(&[]).await, forwarded("mon"), "a login in the file");
    let url = ["--prometheus", "https://prom.example.com"];
    assert_eq!(rules(&url).await, "", "a URL");
}
