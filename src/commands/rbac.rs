//! `rbac`: what a rollout needs to be allowed, ready to apply.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::rollout_args::plan_file;
use crate::error::CommandError;
use crate::metrics::{
    DEFAULT_ADDRESS, PrometheusAccess, PrometheusAddress, PrometheusFlags, ServiceAddress,
    take_user,
};
use crate::plan::SampleFrom;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The name of the objects, unless a service account has another.
const NAME: &str = "kubectl-canary";

/// What `start` does in the VirtualService's namespace: group, resource, verbs.
const RULES: [(&str, &str, &[&str]); 12] = [
    (
        "networking.istio.io",
        "virtualservices",
        &["get", "list", "watch", "patch"],
    ),
    ("networking.istio.io", "destinationrules", &["list"]),
    ("networking.istio.io", "serviceentries", &["list"]),
    ("", "services", &["get"]),
    ("", "pods", &["list", "watch"]),
    ("", "namespaces", &["get"]),
    ("gateway.networking.k8s.io", "gateways", &["get"]),
    ("autoscaling", "horizontalpodautoscalers", &["list"]),
    (
        "coordination.k8s.io",
        "leases",
        &["get", "create", "update"],
    ),
    ("security.istio.io", "peerauthentications", &["list"]),
    // For `kubectl describe`; without it none are written.
    ("events.k8s.io", "events", &["create", "patch"]),
    // The copy of the record; --keep-record local does without.
    ("", "configmaps", &["get", "create", "update"]),
];

/// What `start --detach` does besides, on behalf of its caller.
const DETACHING: [(&str, &str, &[&str]); 2] = [
    ("", "serviceaccounts", &["get"]),
    ("batch", "jobs", &["get", "create"]),
];

/// What `--sample pods` reads besides.
const SAMPLING: [(&str, &str, &[&str]); 1] = [("", "pods/proxy", &["get"])];

/// What a port-forward to a Service takes: it is a GET, for which Kubernetes wants `create` too since 1.35.
const FORWARDING: [(&str, &str, &[&str]); 3] = [
    ("", "services", &["get"]),
    ("", "pods", &["list"]),
    ("", "pods/portforward", &["get", "create"]),
];

/// What the preflight looks at in all namespaces, where that is allowed.
const AROUND: [&str; 3] = ["virtualservices", "destinationrules", "serviceentries"];

/// What `rbac` takes.
#[derive(Args, Clone, Debug)]
pub struct Rbac {
    /// Who gets the permissions: `serviceaccount:NAME`, `user:NAME` or `group:NAME`.
    #[arg(
        long,
        value_name = "WHO",
        default_value = "serviceaccount:kubectl-canary"
    )]
    pub subject: RoleSubject,
    /// Prometheus: a URL (needs no permissions), or NAMESPACE/SERVICE:PORT, which is asked through the API
    /// server's proxy, and with a login by port-forward [default: that of the plan file, else of the user's own
    /// file for the context, else istio-system/prometheus:9090].
    #[arg(
        long,
        value_name = "URL",
        env = "KUBECTL_CANARY_PROMETHEUS_URL",
        hide_env_values = true
    )]
    pub prometheus: Option<String>,
    /// The plan file of the rollout, for its address of Prometheus and its namespace. `-` reads from standard
    /// input.
    #[arg(short, long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// How the rollout logs in at Prometheus.
    #[command(flatten)]
    pub access: PrometheusFlags,
    /// Include the permissions for `start --sample`.
    #[arg(long, value_name = "WHAT")]
    pub sample: Option<SampleFrom>,
    /// Include the permissions for `start --detach`.
    #[arg(long)]
    pub detach: bool,
    /// Include the permissions to find conflicts, and Prometheus, in all namespaces.
    #[arg(long)]
    pub cluster_wide: bool,
    /// The namespace given by flag, which wins over the plan file's.
    #[arg(skip)]
    pub namespace: Option<String>,
    /// The address in the user's own file for this context.
    #[arg(skip)]
    pub default_address: Option<String>,
}

/// Who is to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSubject {
    kind: &'static str,
    name: String,
}

impl FromStr for RoleSubject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once(':') {
            Some(("serviceaccount", name)) => ("ServiceAccount", name),
            Some(("user", name)) => ("User", name),
            Some(("group", name)) => ("Group", name),
            _ => ("", ""),
        };
        if name.is_empty() {
            return Err("expected serviceaccount:NAME, user:NAME or group:NAME".into());
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

/// The objects that allow a rollout in `namespace`, as one that `kubectl apply -f -` takes. With `access` it logs
/// in at Prometheus.
///
/// # Errors
/// If the plan file, the address of Prometheus or the login there cannot be used.
pub fn rbac(
    args: &Rbac,
    namespace: &str,
    access: &PrometheusAccess,
) -> Result<Value, CommandError> {
    let plan = args.filename.as_deref().map(plan_file).transpose()?;
    let (metadata, spec) = plan.map(|plan| (plan.metadata, plan.spec)).unzip();
    let of_plan = metadata.and_then(|metadata| metadata.namespace);
    let named = args.namespace.as_ref().or(of_plan.as_ref());
    let namespace = named.map_or(namespace, String::as_str);
    let mut address = args.prometheus.clone();
    address = address.or(spec.and_then(|spec| spec.prometheus));
    address = address.or(args.default_address.clone());
    let _ = take_user(&mut address);
    let text = address.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned());
    let address: PrometheusAddress = text
        .parse()
        .map_err(|error| CommandError::Usage(format!("--prometheus: {error}")))?;
    let mut items = Vec::new();
    let is_account = args.subject.kind == "ServiceAccount";
    if is_account {
        items.push(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": args.subject.name, "namespace": namespace},
        }));
    }
    let detaching: &[_] = if args.detach { &DETACHING } else { &[] };
    let sampling: &[_] = match args.sample {
        Some(SampleFrom::Pods) => &SAMPLING,
        None => &[],
    };
    let rules = RULES
        .iter()
        .chain(detaching)
        .chain(sampling)
        .map(|(group, resource, verbs)| {
            let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
            if *resource == "namespaces" {
                rule["resourceNames"] = json!([namespace]);
            }
            rule
        });
    items.extend(grant(
        args,
        Some(namespace),
        namespace,
        &json!(rules.collect::<Vec<_>>()),
    ));
    if let PrometheusAddress::Service(service) = address {
        let forwarded = access.at(&text).takes_port_forward();
        let forwarded = forwarded.map_err(|error| CommandError::Usage(error.to_string()))?;
        let rules = match forwarded {
            true => forwarding(&service),
            false => proxying(&service),
        };
        items.extend(grant(args, Some(&service.namespace), namespace, &rules));
    }
    if args.cluster_wide {
        let rules = json!([
            {"apiGroups": ["networking.istio.io"], "resources": AROUND, "verbs": ["list"]},
            // Where nobody says where Prometheus is, it is looked for.
            {"apiGroups": [""], "resources": ["services"], "verbs": ["list"]},
            // The mesh config, which says where the mesh's own rules are and what is exported to whom.
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["istio"], "verbs": ["get"]},
        ]);
        items.extend(grant(args, None, namespace, &rules));
    }
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": items}))
}

/// What the API server's proxy to a Service takes.
fn proxying(service: &ServiceAddress) -> Value {
    json!([{
        "apiGroups": [""],
        "resources": ["services/proxy"],
        "resourceNames": [service.proxied()],
        "verbs": ["get"],
    }])
}

/// What a port-forward to a pod of a Service takes. Which pods those are is not known before.
fn forwarding(service: &ServiceAddress) -> Value {
    let rules = FORWARDING.iter().map(|(group, resource, verbs)| {
        let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
        if *resource == "services" {
            rule["resourceNames"] = json!([service.name]);
        }
        rule
    });
    json!(rules.collect::<Vec<_>>())
}

/// Who is bound.
fn subject(args: &Rbac, home: &str) -> Value {
    match args.subject.kind {
        "ServiceAccount" => {
            json!({"kind": "ServiceAccount", "name": args.subject.name, "namespace": home})
        }
        kind => json!({"apiGroup": GROUP, "kind": kind, "name": args.subject.name}),
    }
}

/// A Role in `namespace`, or a ClusterRole without one, and its binding to the subject, whose own
/// namespace is `home`.
fn grant(args: &Rbac, namespace: Option<&str>, home: &str, rules: &Value) -> [Value; 2] {
    let name = match (args.subject.kind, namespace) {
        ("ServiceAccount", Some(namespace)) if namespace == home => args.subject.name.clone(),
        // Rollouts of several namespaces meet in that of Prometheus, and in the cluster.
        ("ServiceAccount", _) => format!("{}-{home}", args.subject.name),
        (_, Some(namespace)) if namespace != home => format!("{NAME}-{home}"),
        _ => NAME.to_owned(),
    };
    let scope = if namespace.is_some() { "" } else { "Cluster" };
    let object = |kind: &str| {
        let mut metadata = json!({"name": name});
        if let Some(namespace) = namespace {
            metadata["namespace"] = namespace.into();
        }
        json!({
            "apiVersion": format!("{GROUP}/v1"),
            "kind": format!("{scope}{kind}"),
            "metadata": metadata,
        })
    };
    let (mut role, mut binding) = (object("Role"), object("RoleBinding"));
    role["rules"] = rules.clone();
    binding["roleRef"] = json!({"apiGroup": GROUP, "kind": role["kind"], "name": name});
    binding["subjects"] = json!([subject(args, home)]);
    [role, binding]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subject: &str, prometheus: &str) -> Vec<Value> {
        let access = PrometheusAccess::default();
        let list = rbac(&args(subject, prometheus), "shop", &access).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    fn args(subject: &str, prometheus: &str) -> Rbac {
        Rbac {
            subject: subject.parse().unwrap(),
            prometheus: Some(prometheus.into()),
            filename: None,
            access: PrometheusFlags::default(),
            sample: None,
            detach: false,
            cluster_wide: false,
            namespace: None,
            default_address: None,
        }
    }

    fn kinds(items: &[Value]) -> Vec<String> {
        let named = |item: &Value| {
            let at = |path: &str| item.pointer(path).unwrap().as_str().unwrap().to_owned();
            format!(
                "{} {}/{}",
                at("/kind"),
                at("/metadata/namespace"),
                at("/metadata/name")
            )
        };
        items.iter().map(named).collect()
    }

    #[test]
    fn an_account_gets_a_role_here_and_one_where_prometheus_is() {
        let items = of("serviceaccount:rollouts", "monitoring/https:prom:web");
        assert_eq!(
            kinds(&items),
            [
                "ServiceAccount shop/rollouts",
                "Role shop/rollouts",
                "RoleBinding shop/rollouts",
                "Role monitoring/rollouts-shop",
                "RoleBinding monitoring/rollouts-shop",
            ]
        );
        assert_eq!(
            items[3]["rules"][0]["resourceNames"],
            json!(["https:prom:web"])
        );
        assert_eq!(items[4]["subjects"][0]["namespace"], "shop");
    }

    #[test]
    fn a_group_needs_no_account_and_a_url_no_role() {
        let items = of("group:developers", "http://prometheus:9090");
        assert_eq!(
            kinds(&items),
            [
                "Role shop/kubectl-canary",
                "RoleBinding shop/kubectl-canary"
            ]
        );
        assert_eq!(items[1]["subjects"][0]["kind"], "Group");
    }

    #[test]
    fn what_is_in_the_way_elsewhere_is_seen_with_a_role_of_the_cluster() {
        let args = Rbac {
            cluster_wide: true,
            ..args("user:ada", "http://prometheus:9090")
        };
        let list = rbac(&args, "shop", &PrometheusAccess::default()).unwrap();
        let [.., role, binding] = list["items"].as_array().unwrap().as_slice() else {
            panic!("{list}");
        };
        assert_eq!(role["kind"], "ClusterRole");
        assert_eq!(role["rules"][0]["resources"], json!(AROUND));
        assert_eq!(role["rules"][0]["verbs"], json!(["list"]));
        assert_eq!(role["rules"][1]["resources"], json!(["services"]));
        assert_eq!(role["rules"][1]["verbs"], json!(["list"]));
        assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
        assert_eq!(binding["subjects"][0]["name"], "ada");
    }

    #[test]
    fn the_documentation_names_every_right() {
        let rights = include_str!("../../docs/permissions.md");
        let rules = RULES.iter().chain(&DETACHING).chain(&SAMPLING);
        for (_, resource, verbs) in rules.chain(&FORWARDING) {
            assert!(rights.contains(&format!("`{resource}`")), "{resource}");
            for verb in *verbs {
                assert!(rights.contains(&format!("`{verb}`")), "{verb}");
            }
        }
    }

    #[test]
    fn pods_are_read_only_by_who_asks_for_that() {
        let rights = |sample| {
            let args = Rbac {
                sample,
                ..args("user:ada", "http://prometheus:9090")
            };
            let access = PrometheusAccess::default();
            rbac(&args, "shop", &access).unwrap().to_string()
        };
        assert!(!rights(None).contains("pods/proxy"));
        let rule = r#"{"apiGroups":[""],"resources":["pods/proxy"],"verbs":["get"]}"#;
        assert!(rights(Some(SampleFrom::Pods)).contains(rule));
    }

    #[test]
    fn who_is_meant_has_to_be_said_whole() {
        for text in ["rollouts", "user:", "pod:x"] {
            assert!(text.parse::<RoleSubject>().is_err(), "{text}");
        }
    }
}
