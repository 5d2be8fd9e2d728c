//! What Istio's mesh config says that the routes and rules of a mesh are read by.

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::destination::Host;
use super::export::Export;
use super::virtual_service::VirtualService;

/// Where rules for the whole mesh are, unless the mesh config says otherwise.
pub(crate) const ROOT: &str = "istio-system";

/// Where a Service says to which namespaces it is exported.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// A mesh config; the default is what Istio goes by without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshConfig {
    root: Option<String>,
    routes_exported_to: Vec<String>,
    rules_exported_to: Vec<String>,
    services_exported_to: Vec<String>,
    /// One for each host of the cluster that it writes out.
    domains: Vec<String>,
}

impl MeshConfig {
    /// Reads the `mesh` key of its ConfigMap.
    ///
    /// # Errors
    /// If it is no YAML.
    pub fn read(yaml: &str) -> Result<Self, serde_saphyr::Error> {
        let config: Value = serde_saphyr::from_str(yaml)?;
        let list = |key: &str| {
            let names = config.get(key).and_then(Value::as_array);
            let names = names.into_iter().flatten().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        };
        let root = config.get("rootNamespace").and_then(Value::as_str);
        let mut domains = Vec::new();
        collect_domains(&config, &mut domains);
        Ok(Self {
            root: root.filter(|root| !root.is_empty()).map(str::to_owned),
            routes_exported_to: list("defaultVirtualServiceExportTo"),
            rules_exported_to: list("defaultDestinationRuleExportTo"),
            services_exported_to: list("defaultServiceExportTo"),
            domains,
        })
    }

    /// The root namespace.
    pub fn root(&self) -> &str {
        self.root.as_deref().unwrap_or(ROOT)
    }

    /// The domains of the cluster's own hosts in it. `trustDomain` is none: it names who signs certificates.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(String::as_str)
    }

    /// Where a VirtualService says that it is exported to.
    pub fn route_export_field(&self) -> &'static str {
        match self.routes_exported_to.is_empty() {
            true => "spec.exportTo",
            false => "spec.exportTo, or the mesh config's defaultVirtualServiceExportTo",
        }
    }

    /// Where a DestinationRule says that it is exported to.
    pub fn rule_export_field(&self) -> &'static str {
        match self.rules_exported_to.is_empty() {
            true => "spec.exportTo",
            false => "spec.exportTo, or the mesh config's defaultDestinationRuleExportTo",
        }
    }

    /// To whom a Service is exported, and where that stands.
    pub(crate) fn service_export(&self, service: &Service) -> (Export, &'static str) {
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        let annotations = service.metadata.annotations.as_ref();
        let own = annotations.and_then(|all| all.get(EXPORT_TO));
        let own = own.filter(|own| !own.trim().is_empty());
        match own {
            Some(own) => (
                Export::of(own.split(',').map(str::trim), home),
                "annotation networking.istio.io/exportTo",
            ),
            None => {
                let default = self.services_exported_to.iter().map(String::as_str);
                (
                    Export::of(default, home),
                    "the mesh config's defaultServiceExportTo",
                )
            }
        }
    }

    /// The VirtualService as Istio reads it, to be judged and never to be written.
    #[must_use]
    pub fn fill_route(&self, vs: VirtualService) -> VirtualService {
        match exported(vs.raw(), &self.routes_exported_to) {
            Some(raw) => vs.with_raw(raw),
            None => vs,
        }
    }

    /// The same of a DestinationRule.
    #[must_use]
    pub fn fill_rule(&self, rule: Value) -> Value {
        exported(&rule, &self.rules_exported_to).unwrap_or(rule)
    }
}

/// The object with the default, where it has no `exportTo` of its own.
fn exported(object: &Value, default: &[String]) -> Option<Value> {
    let own = object.pointer("/spec/exportTo").and_then(Value::as_array);
    if default.is_empty() || own.is_some_and(|own| !own.is_empty()) {
        return None;
    }
    let mut object = object.clone();
    object.get_mut("spec")?["exportTo"] = json!(default);
    Some(object)
}

fn collect_domains(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            // `tracing.zipkin.svc.cluster.local:9411`, `http://…/path`, `outbound|80||…`.
            let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
            let words = text.split(|letter| !is_of_name(letter));
            for word in words.filter(|word| word.contains('.')) {
                found.extend(Host::resolve(word, "").domain().map(str::to_owned));
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect_domains(value, found)),
        Value::Object(map) => map.values().for_each(|value| collect_domains(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_words_of_its_own_it_is_istios_default() {
        let usual = "defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\ntrustDomain: td1.example\n";
        assert_eq!(MeshConfig::read(usual).unwrap(), MeshConfig::default());
        assert_eq!(MeshConfig::read("").unwrap(), MeshConfig::default());
        assert_eq!(MeshConfig::default().root(), "istio-system");
        assert!(MeshConfig::read("a: [").is_err());
    }

    #[test]
    fn hosts_anywhere_in_it_tell_the_domain() {
        let config = MeshConfig::read(
            "rootNamespace: mesh-root\nextensionProviders:\n- name: otel\n  opentelemetry: {service: otel.obs.svc.corp.internal, port: 4317}\n- zipkin: {address: 'http://zipkin.obs.svc.corp.internal:9411/x'}\n",
        )
        .unwrap();
        assert_eq!(config.root(), "mesh-root");
        let domains: Vec<_> = config.domains().collect();
        assert_eq!(domains, ["corp.internal", "corp.internal"]);
    }

    #[test]
    fn a_default_counts_where_an_object_says_nothing() {
        let config = MeshConfig::read("defaultDestinationRuleExportTo: ['.']").unwrap();
        let rule =
            |spec: Value| config.fill_rule(json!({"spec": spec}))["spec"]["exportTo"].clone();
        assert_eq!(rule(json!({"host": "reviews"})), json!(["."]));
        assert_eq!(rule(json!({"exportTo": []})), json!(["."]));
        assert_eq!(rule(json!({"exportTo": ["*"]})), json!(["*"]));
        let usual = MeshConfig::default();
        assert_eq!(usual.fill_rule(json!({"spec": {}})), json!({"spec": {}}));
    }
}
