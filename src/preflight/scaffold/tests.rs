use super::*;
use serde_json::json;

/// Service `reviews` of `shop` with one Deployment, and what else a test puts there.
struct Shop {
    vs: Option<VirtualService>,
    service: Service,
    rules: Vec<Value>,
    deployments: Vec<Value>,
    scalers: Vec<HorizontalPodAutoscaler>,
}

fn deployment(name: &str, labels: Value, image: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": name, "uid": "7", "resourceVersion": "12", "generation": 3,
            "labels": {"app": "reviews", "team": "red", "app.kubernetes.io/managed-by": "Helm", "argocd.argoproj.io/instance": "shop"},
            "annotations": {"deployment.kubernetes.io/revision": "4", "kubectl.kubernetes.io/last-applied-configuration": "{}", "owner": "red"},
        },
        "spec": {
            "replicas": 3, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "creationTimestamp": null, "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}},
                "spec": {
                    "containers": [{
                        "name": "app", "image": image, "imagePullPolicy": "IfNotPresent", "resources": {},
                        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                    }],
                    "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
                    "securityContext": {}, "terminationGracePeriodSeconds": 30,
                },
            },
        },
        "status": {"readyReplicas": 3},
    })
}

fn object(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": kind,
        "metadata": {
            "namespace": "shop", "name": "reviews", "uid": "1", "labels": {"istio.io/rev": "canary"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
        },
        "spec": spec,
    })
}

impl Shop {
    fn of(labels: Value) -> Self {
        let service = json!({
            "metadata": {"namespace": "shop", "name": "reviews"},
            "spec": {"selector": {"app": "reviews"}},
        });
        Self {
            vs: None,
            service: serde_json::from_value(service).unwrap(),
            rules: Vec::new(),
            deployments: vec![deployment("reviews-v1", labels, "host:5000/reviews:1.0")],
            scalers: Vec::new(),
        }
    }

    /// With the subset v1, and a route to it.
    fn routed(labels: Value) -> Self {
        let mut shop = Self::of(labels);
        shop.rules = vec![object(
            "DestinationRule",
            json!({"host": "reviews", "subsets": [{
                "name": "v1", "labels": {"version": "v1"},
                "trafficPolicy": {"connectionPool": {"http": {"maxRetries": 2}}},
            }]}),
        )];
        shop.route(json!([{"name": "primary", "timeout": "5s", "route": [{"destination": {"host": "reviews", "subset": "v1"}}]}]));
        shop
    }

    fn route(&mut self, http: Value) {
        let spec = json!({"hosts": ["reviews"], "http": http});
        self.vs = Some(VirtualService::new(object("VirtualService", spec)).unwrap());
    }

    fn propose(&self, wanted: &WantedCanary) -> Result<Proposal, ScaffoldError> {
        let ground = Ground {
            vs: self.vs.as_ref(),
            service: &self.service,
            host: Host::resolve("reviews", "shop"),
            rules: &self.rules,
            deployments: &self.deployments,
            autoscalers: &self.scalers,
        };
        scaffold(&ground, wanted)
    }

    fn items(&self, wanted: &WantedCanary) -> Vec<Value> {
        let list = self.propose(wanted).unwrap().list();
        list["items"].as_array().unwrap().clone()
    }

    fn refusal(&self, wanted: &WantedCanary) -> String {
        self.propose(wanted).unwrap_err().to_string()
    }
}

fn wanted() -> WantedCanary {
    WantedCanary {
        image: "host:5000/reviews:2.0".into(),
        ..WantedCanary::default()
    }
}

fn v1() -> Value {
    json!({"app": "reviews", "version": "v1"})
}

#[test]
fn what_a_next_version_lacks_is_printed_in_the_shapes_of_stable() {
    let mut shop = Shop::routed(v1());
    shop.scalers = serde_json::from_value(json!([
        {"metadata": {"name": "reviews-v1"}, "spec": {"minReplicas": 3, "maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "reviews-v1"}}},
        {"metadata": {"name": "other"}, "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"}}},
    ]))
    .unwrap();
    insta::assert_snapshot!(shop.propose(&wanted()).unwrap(), @r#"
    # at the end, once the canary's pods are ready: kubectl canary start reviews -n shop --canary v2
    apiVersion: networking.istio.io/v1beta1
    kind: DestinationRule
    metadata:
      labels:
        istio.io/rev: canary
      name: reviews
      namespace: shop
    spec:
      host: reviews
      subsets:
      - labels:
          version: v1
        name: v1
        trafficPolicy:
          connectionPool:
            http:
              maxRetries: 2
      - labels:
          version: v2
        name: v2
        trafficPolicy:
          connectionPool:
            http:
              maxRetries: 2
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata:
      annotations:
        owner: red
      labels:
        app: reviews
        team: red
      name: reviews-v2
      namespace: shop
    spec:
      replicas: 3
      selector:
        matchLabels:
          app: reviews
          version: v2
      template:
        metadata:
          labels:
            app: reviews
            version: v2
        spec:
          containers:
          - image: host:5000/reviews:2.0
            name: app
            ports:
            - containerPort: 8080
    ---
    apiVersion: autoscaling/v2
    kind: HorizontalPodAutoscaler
    metadata:
      name: reviews-v2
      namespace: shop
    spec:
      maxReplicas: 9
      minReplicas: 3
      scaleTargetRef:
        apiVersion: apps/v1
        kind: Deployment
        name: reviews-v2
    ---
    apiVersion: networking.istio.io/v1beta1
    kind: VirtualService
    metadata:
      labels:
        istio.io/rev: canary
      name: reviews
      namespace: shop
    spec:
      hosts:
      - reviews
      http:
      - name: primary
        route:
        - destination:
            host: reviews
            subset: v1
          weight: 100
        - destination:
            host: reviews
            subset: v2
          weight: 0
        timeout: 5s
    "#);
}

#[test]
fn what_is_there_is_not_printed_again() {
    let mut shop = Shop::routed(v1());
    for item in shop.items(&wanted()) {
        match item["kind"].as_str().unwrap() {
            "Deployment" => shop.deployments.push(item),
            "DestinationRule" => shop.rules = vec![item],
            _ => shop.route(item["spec"]["http"].clone()),
        }
    }
    assert_eq!(shop.items(&wanted()), Vec::<Value>::new());
    let text = shop.propose(&wanted()).unwrap().to_string();
    assert!(
        text.ends_with(
            "# nothing is missing (try: kubectl canary start reviews -n shop --canary v2)"
        ),
        "{text}"
    );
    let other = WantedCanary {
        image: "host:5000/reviews:2.1".into(),
        ..wanted()
    };
    assert_eq!(
        shop.refusal(&other),
        "deployment reviews-v2 is version v2 already, with image host:5000/reviews:2.0 (try: kubectl set image deployment/reviews-v2 app=host:5000/reviews:2.1, or another --version)"
    );
}

/// A route to a subset costs requests while a proxy does not know it.
#[test]
fn a_route_that_names_no_subset_comes_after_the_subsets() {
    let mut shop = Shop::of(v1());
    shop.route(json!([{"route": [{"destination": {"host": "reviews"}}]}]));
    let items = shop.items(&wanted());
    assert_eq!(items.len(), 1, "the canary's pods would get requests");
    assert_eq!(
        items[0]["spec"]["subsets"],
        json!([{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}])
    );
    let text = shop.propose(&wanted()).unwrap().to_string();
    assert!(
        text.contains("'|v1|reviews.shop.svc.cluster.local'"),
        "{text}"
    );
    shop.rules = vec![items[0].clone()];
    let items = shop.items(&wanted());
    assert_eq!(items.len(), 1, "the canary's pods would still get requests");
    assert_eq!(
        items[0]["spec"]["http"],
        json!([{"route": [
            {"destination": {"host": "reviews", "subset": "v1"}, "weight": 100},
            {"destination": {"host": "reviews", "subset": "v2"}, "weight": 0},
        ]}])
    );
    let routed = items[0]["spec"]["http"].clone();
    shop.vs = None;
    let items = shop.items(&wanted());
    assert_eq!(
        items.len(),
        1,
        "without any route there is one to be had, too"
    );
    assert_eq!(items[0]["spec"]["hosts"], json!(["reviews"]));
    assert_eq!(items[0]["spec"]["http"], routed);
    shop.route(routed);
    let items = shop.items(&wanted());
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["kind"], "Deployment");
}

#[test]
fn pods_without_a_version_are_given_one_first() {
    let mut shop = Shop::of(json!({"app": "reviews"}));
    shop.deployments[0]["metadata"]["name"] = json!("reviews");
    shop.route(json!([{"route": [{"destination": {"host": "reviews"}}]}]));
    let text = shop.propose(&wanted()).unwrap().to_string();
    assert!(
        text.starts_with(r#"# no label tells stable's pods from others; this one does, and replaces them one after the other: kubectl patch deployment reviews -n shop -p '{"spec":{"template":{"metadata":{"labels":{"version":"v1"}}}}}'"#),
        "{text}"
    );
    let items = shop.items(&wanted());
    assert_eq!(items.len(), 1);
    shop.rules = items;
    assert_eq!(
        shop.items(&wanted()),
        Vec::<Value>::new(),
        "no pod is in the subset yet"
    );
    let label = &mut shop.deployments[0]["spec"]["template"]["metadata"]["labels"];
    label["version"] = json!("v1");
    shop.route(shop.items(&wanted())[0]["spec"]["http"].clone());
    let items = shop.items(&wanted());
    assert_eq!(items[0]["metadata"]["name"], "reviews-v2");
    assert_eq!(
        items[0]["spec"]["selector"]["matchLabels"],
        json!({"app": "reviews", "version": "v2"})
    );
}

#[test]
fn what_cannot_be_told_is_asked_for() {
    let shop = Shop::routed(v1());
    let version = |version: &str| WantedCanary {
        version: Some(version.into()),
        ..wanted()
    };
    assert_eq!(
        shop.refusal(&version("v1")),
        "version v1 is stable's (try: another --version)"
    );
    assert_eq!(
        shop.refusal(&version("a/b")),
        "\"a/b\" is no label value, which has letters, digits, '-', '_' and '.' (try: --version v2)"
    );
    let mut digest = Shop::routed(v1());
    let labels = json!({"app": "reviews", "version": "blue"});
    digest.deployments = vec![deployment("reviews-blue", labels, "reviews:1.0")];
    digest.rules[0]["spec"]["subsets"][0]["labels"]["version"] = json!("blue");
    let image = WantedCanary {
        image: "reviews@sha256:77".into(),
        ..WantedCanary::default()
    };
    assert_eq!(
        digest.refusal(&image),
        "it cannot be told what comes after version blue (try: --version NAME)"
    );

    let mut two = Shop::routed(v1());
    two.deployments.push(deployment("batch", v1(), "batch:1"));
    assert_eq!(
        two.refusal(&wanted()),
        "app=reviews,version=v1 is carried by the pods of reviews-v1, batch (try: --deployment reviews-v1)"
    );
    let named = WantedCanary {
        deployment: Some("reviews-v1".into()),
        ..wanted()
    };
    assert_eq!(two.items(&named).len(), 3);

    let mut two = Shop::routed(v1());
    let beside = json!({"name": "log", "image": "log:1"});
    let containers = &mut two.deployments[0]["spec"]["template"]["spec"]["containers"];
    containers.as_array_mut().unwrap().push(beside);
    assert_eq!(
        two.refusal(&wanted()),
        "deployment reviews-v1 has the containers app, log (try: --container app)"
    );

    let mut narrow = Shop::of(v1());
    let selector = narrow
        .service
        .spec
        .as_mut()
        .unwrap()
        .selector
        .as_mut()
        .unwrap();
    selector.insert("version".into(), "v1".into());
    assert_eq!(
        narrow.refusal(&wanted()),
        "the Service selects version=v1, so it would never send to another version (try: take version out of its selector)"
    );

    let mut split = Shop::routed(v1());
    let to = |subset: &str, weight: i64| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight});
    split.route(json!([{"name": "primary", "route": [to("v1", 90), to("v0", 10)]}]));
    assert_eq!(
        split.refusal(&wanted()),
        "http[primary] sends to v1 and v0 at once (try: kubectl canary promote or abort before the next rollout)"
    );
    split.route(json!([{"name": "a", "match": [{"uri": {"prefix": "/a"}}], "route": [to("v1", 100)]}, {"name": "b", "route": [to("v0", 100)]}]));
    assert_eq!(
        split.refusal(&wanted()),
        "the routes send to v1 and v0 (try: --route a or --route b)"
    );
}
