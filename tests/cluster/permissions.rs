//! A user who may not do everything.

use serde_json::{Value, json};

use crate::app::App;
use crate::detached;
use crate::stack::Stack;

/// Grants rules to the group `developers`, in the application's namespace.
async fn grant(app: &App, rules: Value) {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "rollout", "namespace": app.namespace},
        "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "rollout", "namespace": app.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "rollout"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "developers"}],
    });
    for object in [role, binding] {
        app.stack.apply(&object).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn the_preflight_names_the_permission_that_is_missing() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "rights").await;
    let before = app.spec().await;
    let words = format!("--prometheus {}", stack.description.prometheus.url);

    let nothing = app.rollout(&words).by_dev().run().await;
    assert_eq!(nothing.code, Some(4));
    assert!(
        nothing.stderr.contains("get virtualservice"),
        "{}",
        nothing.stderr
    );

    let reading = json!([
        {"apiGroups": ["networking.istio.io"], "resources": ["virtualservices", "destinationrules"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", "list"]},
    ]);
    grant(&app, reading).await;
    let reader = app.rollout(&words).by_dev().run().await;
    assert_eq!(reader.code, Some(4));
    let refusal = format!(
        "not allowed to patch virtualservices in namespace {}",
        app.namespace
    );
    assert!(reader.stderr.contains(&refusal), "{}", reader.stderr);

    assert_eq!(app.spec().await, before);
    assert_eq!(app.annotation("rollout").await, None);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn the_printed_role_is_enough() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "role").await;
    detached::grant(&app, "--subject group:developers").await;
    let _load = app.load().rate(200.0).start();
    let words = format!(
        "--steps 50,100 --prometheus {}",
        stack.description.prometheus.service
    );
    let ended = app.rollout(&words).by_dev().run().await;
    assert_eq!(ended.code, Some(0));
    let warned = |line: &&str| line.contains("warning") && line.contains("forbidden");
    let warning = ended.stderr.lines().find(warned);
    assert_eq!(warning, None, "{}", ended.stderr);
    app.finish().await;
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn the_printed_role_for_a_login_is_enough_for_a_port_forward() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "forward").await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    // Prometheus here asks nobody; what matters is that the API server's proxy would drop it.
    std::fs::write(&token, "open-sesame-4715").unwrap();
    let prometheus = format!(
        "--prometheus {} --prometheus-token-file {}",
        stack.description.prometheus.service,
        token.display()
    );
    detached::grant(&app, &format!("--subject group:developers {prometheus}")).await;
    let _load = app.load().rate(200.0).start();
    let words = format!("--steps 50,100 {prometheus}");
    let ended = app.rollout(&words).by_dev().run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    app.finish().await;
}
