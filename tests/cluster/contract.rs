//! The sandbox's contract, held against the real API server: what the sandbox
//! invented fails here.

#[path = "../contract/behaviours/mod.rs"]
mod behaviours;

use serde_json::json;

use crate::stack::Stack;

/// The behaviours make their own objects in it and remove them.
const NAMESPACE: &str = "contract";

macro_rules! on_the_real_server {
    ($topic:ident $behaviour:ident) => {
        #[tokio::test]
        #[ignore = "needs the real stack: scripts/test --cluster"]
        async fn $behaviour() {
            let stack = Stack::open().await;
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}
            });
            stack.apply(&namespace).await.expect("a namespace can be made");
            behaviours::$topic::$behaviour(stack.client.clone(), NAMESPACE).await;
        }
    };
}

behaviours::each!(on_the_real_server);
