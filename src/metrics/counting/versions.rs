//! Istio's request metrics: what to ask, and which version a series belongs to.
//!
//! Pure code over labels. One query asks for both versions, so that both are read at the same time, and it
//! names only the service: a dead canary's requests carry no version at all, and would be lost to any
//! narrower selector.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::unit::Unit;
use crate::metrics::source::Labels;
use crate::plan::{FailureRule, LabelName, ScopeLabel};
use crate::verdict::BesideWeights;

/// What Istio's documentation calls the operation of a request that it is classified by.
const USUAL_OPERATION_LABEL: &str = "request_operation";

/// A Service, as the labels `destination_service_name` and `destination_service_namespace` name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// One version, as it was found from the route, the subset and the pods.
///
/// A series belongs to it if its destination is one of `services` or `hosts`, and its workload is one of
/// `workloads`. Without known workloads, or where a series has lost that label, its version must be one of
/// `versions`; without those the service alone decides, which is right for a route with two hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSelector {
    /// The Services its destinations name.
    pub services: BTreeSet<ServiceKey>,
    /// Hosts of its destinations that are no Services, as `destination_service` names them.
    pub hosts: BTreeSet<String>,
    /// Workloads behind it, as `destination_workload` names them.
    pub workloads: BTreeSet<String>,
    /// Values of the pods' label `version`, as `destination_version` names them, or where that label is
    /// missing `destination_canonical_revision`.
    pub versions: BTreeSet<String>,
}

/// The two versions that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    stable: VersionSelector,
    canary: VersionSelector,
    counted: Unit,
    read_from: ReadFrom,
    /// Whose reports are asked for; `None` for both sides'.
    side: Option<Reporter>,
    scope: Vec<ScopeLabel>,
    beside: BesideWeights,
    failures: FailureRule,
    operation_label: Option<LabelName>,
    speaks_grpc: bool,
}

/// Whose reports of the two versions are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReadFrom {
    /// The callers', where they report: what users get.
    #[default]
    Callers,
    /// The versions' own proxies alone, which see what is mirrored to them as well.
    Callees,
}

/// Why two versions cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetsError {
    /// A version without any destination.
    #[error("the {0} version has neither a service nor a host to count")]
    Nowhere(&'static str),
    /// Nothing separates the two.
    #[error(
        "nothing in the metrics tells canary from stable (try: a label version on the pods that differs, \
         or one Deployment for each version)"
    )]
    Indistinguishable,
    /// A workload or a label that both versions have.
    #[error("{0:?} belongs to both versions (try: subsets whose labels select different pods)")]
    Shared(String),
}

/// Which side of a connection a proxy reports from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reporter {
    /// The caller's proxy, a gateway or a waypoint: what users see.
    Source,
    /// The callee's proxy. It says nothing about requests that never arrived.
    Destination,
}

impl Reporter {
    /// The matcher of what this side reports, with a comma before it.
    pub(super) fn matcher(self) -> &'static str {
        match self {
            Self::Source => ",reporter=~\"source|waypoint\"",
            Self::Destination => ",reporter=\"destination\"",
        }
    }
}

/// Which version a series is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeriesOwner {
    /// The stable version.
    Stable,
    /// The canary.
    Canary,
    /// The service of both, but no upstream was reached that could have had a version.
    Unknown,
}

impl VersionSelector {
    /// Whether the destination is one of this version's, whatever its workload.
    fn serves(&self, labels: &Labels) -> bool {
        let name = label(labels, "destination_service_name");
        let namespace = label(labels, "destination_service_namespace");
        let host = label(labels, "destination_service");
        self.hosts.contains(host)
            || self.services.iter().any(|service| {
                (service.name == name && service.namespace == namespace)
                    || host
                        .strip_prefix(service.name.as_str())
                        .and_then(|rest| rest.strip_prefix('.'))
                        .and_then(|rest| rest.strip_prefix(service.namespace.as_str()))
                        .is_some_and(|rest| rest.starts_with(".svc."))
            })
    }

    fn claims(&self, labels: &Labels) -> bool {
        let workload = label(labels, "destination_workload");
        self.serves(labels)
            && match (self.workloads.is_empty(), self.versions.is_empty()) {
                (false, true) => self.workloads.contains(workload),
                (false, false) if !workload.is_empty() => self.workloads.contains(workload),
                (_, false) => self.versions.contains(version(labels)),
                (true, true) => true,
            }
    }

    /// Whether the caller's proxy meant this destination by the host it was asked for, in any spelling that
    /// resolves to it.
    ///
    /// Where no cluster was found for a request (`NR`, `NC`) Istio's filter has nothing but `:authority` to
    /// name the service by, with the namespace `unknown`.
    fn is_asked_for(&self, labels: &Labels) -> bool {
        let host = label(labels, "destination_service");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        self.services.iter().any(|service| {
            match host.strip_prefix(service.name.as_str()) {
                // A short name is looked up where the caller is.
                Some("") => label(labels, "source_workload_namespace") == service.namespace,
                Some(rest) => {
                    let namespace = rest.strip_prefix('.');
                    namespace == Some(service.namespace.as_str())
                        || namespace == Some(&format!("{}.svc", service.namespace))
                }
                None => false,
            }
        })
    }

    /// Whether a request that reached no upstream was for this version's destination.
    fn was_meant(&self, labels: &Labels) -> bool {
        let nowhere = matches!(
            label(labels, "destination_service_namespace"),
            "unknown" | ""
        );
        self.serves(labels) || nowhere && self.is_asked_for(labels)
    }

    fn shares_destinations(&self, other: &Self) -> bool {
        !self.services.is_disjoint(&other.services) || !self.hosts.is_disjoint(&other.hosts)
    }
}

impl Targets {
    /// Two versions that the metrics can tell apart.
    ///
    /// # Errors
    /// [`TargetsError`] if a version has no destination, or if a series could belong to both. Guessing
    /// would count one version's failures for the other.
    pub fn new(
        mut stable: VersionSelector,
        mut canary: VersionSelector,
    ) -> Result<Self, TargetsError> {
        for (name, version) in [("stable", &stable), ("canary", &canary)] {
            if version.services.is_empty() && version.hosts.is_empty() {
                return Err(TargetsError::Nowhere(name));
            }
        }
        if stable.shares_destinations(&canary) {
            let by_workload = !stable.workloads.is_empty() && !canary.workloads.is_empty();
            let by_version = !stable.versions.is_empty() && !canary.versions.is_empty();
            let (ours, theirs) = match (by_workload, by_version) {
                (true, _) => (&stable.workloads, &canary.workloads),
                (false, true) => (&stable.versions, &canary.versions),
                (false, false) => return Err(TargetsError::Indistinguishable),
            };
            if let Some(both) = ours.intersection(theirs).next() {
                return Err(TargetsError::Shared(both.clone()));
            }
            // A label that does not tell them apart is no fall-back either.
            if by_workload && !stable.versions.is_disjoint(&canary.versions) {
                stable.versions.clear();
                canary.versions.clear();
            }
            // With workloads of one version only, the rule must be the same for both.
            if !by_workload {
                stable.workloads.clear();
                canary.workloads.clear();
            }
        }
        Ok(Self {
            stable,
            canary,
            counted: Unit::default(),
            read_from: ReadFrom::default(),
            side: None,
            scope: Vec::new(),
            beside: BesideWeights::default(),
            failures: FailureRule::default(),
            operation_label: None,
            speaks_grpc: false,
        })
    }

    /// The same, compared in another unit than requests.
    #[must_use]
    pub fn counting(self, counted: Unit) -> Self {
        Self { counted, ..self }
    }

    /// The same, of the series with these labels alone.
    #[must_use]
    pub fn within(self, scope: &[ScopeLabel]) -> Self {
        Self {
            scope: scope.to_vec(),
            ..self
        }
    }

    /// The same of versions that are known to speak gRPC, or not known to.
    #[must_use]
    pub fn speaking_grpc(self, speaks_grpc: bool) -> Self {
        Self {
            speaks_grpc,
            ..self
        }
    }

    /// Whether both versions are known to speak gRPC.
    pub(super) fn speaks_grpc(&self) -> bool {
        self.speaks_grpc
    }

    /// The same, with this label for the operation of a request; `None` for the one that Istio's documentation has.
    #[must_use]
    pub fn by_operation(self, operation_label: Option<LabelName>) -> Self {
        Self {
            operation_label,
            ..self
        }
    }

    /// The label that names the operation of a request.
    pub(super) fn operation_label(&self) -> &str {
        let named = self.operation_label.as_ref();
        named.map_or(USUAL_OPERATION_LABEL, LabelName::as_str)
    }

    /// The same, where these count as failed.
    #[must_use]
    pub fn failing_by(self, failures: FailureRule) -> Self {
        Self { failures, ..self }
    }

    /// Stable, then canary.
    pub(crate) fn selectors(&self) -> [&VersionSelector; 2] {
        [&self.stable, &self.canary]
    }

    /// What counts as failed.
    pub(super) fn failures(&self) -> &FailureRule {
        &self.failures
    }

    /// The same where the versions get requests beside the weights.
    #[must_use]
    pub fn beside(self, beside: BesideWeights) -> Self {
        Self { beside, ..self }
    }

    /// What sends to the versions beside the weights.
    pub(super) fn beside_weights(&self) -> BesideWeights {
        self.beside
    }

    /// What settles whose series of a store they are.
    pub(super) fn scope(&self) -> &[ScopeLabel] {
        &self.scope
    }

    /// The same as the versions' own proxies see them, copies of requests included.
    ///
    /// The proxy that mirrors a request does not report the copy; the one that receives it does
    /// (`reporter="destination"`), and as any other request, since it names the service after its own
    /// cluster and not after the host that Envoy marks with `-shadow`.
    #[must_use]
    pub fn seen_by_callees(self) -> Self {
        Self {
            read_from: ReadFrom::Callees,
            ..self
        }
    }

    /// The same, of what one side reports alone where it is given.
    #[must_use]
    pub(super) fn of_side(self, side: Option<Reporter>) -> Self {
        Self { side, ..self }
    }

    /// The same, whoever reports.
    #[must_use]
    pub(super) fn of_both_sides(self) -> Self {
        Self {
            read_from: ReadFrom::Callers,
            ..self
        }
    }

    /// The unit in which they are compared.
    pub fn counted(&self) -> Unit {
        self.counted
    }

    /// The raw samples of `metric` for both versions over the last `range`; `more` are further matchers,
    /// each of which starts with a comma.
    ///
    /// A range selector without any function: the counters come as they were scraped, with their
    /// timestamps. `rate()` and `increase()` lose what a series held at its first scrape and invent
    /// fractions of requests at both ends.
    pub(super) fn query(&self, metric: &str, more: &str, range: SignedDuration) -> String {
        let side = self.side.map_or("", Reporter::matcher);
        let seconds = range.as_secs().max(1);
        format!(
            "{}[{seconds}s]",
            self.selector(metric, &format!("{more}{side}"))
        )
    }

    /// The series of `metric` for both versions.
    pub(super) fn selector(&self, metric: &str, more: &str) -> String {
        let versions = [&self.stable, &self.canary];
        let services: BTreeSet<&ServiceKey> = versions
            .iter()
            .flat_map(|version| &version.services)
            .collect();
        let hosts: BTreeSet<&String> = versions.iter().flat_map(|version| &version.hosts).collect();
        let matchers = if hosts.is_empty() {
            let names: BTreeSet<&str> = services.iter().map(|s| s.name.as_str()).collect();
            let spaces: BTreeSet<&str> = services.iter().map(|s| s.namespace.as_str()).collect();
            // Up to Istio 1.22 a request without an upstream has the namespace `unknown`, and in every
            // version one without a cluster, whose name is then the host that was asked for.
            format!(
                "destination_service_name=~\"({})([.:].*)?\",destination_service_namespace=~\"{}|unknown\"",
                quoted(&alternatives(names)),
                quoted(&alternatives(spaces)),
            )
        } else {
            // One selector must hold both kinds, and only this label knows hosts outside the cluster.
            let services = services.iter().map(|service| {
                let name = literal(&format!("{}.{}.svc.", service.name, service.namespace));
                format!("{name}.*")
            });
            let hosts = hosts.iter().map(|host| literal(host));
            let all: Vec<String> = services.chain(hosts).collect();
            format!("destination_service=~\"{}\"", quoted(&all.join("|")))
        };
        let scope = self.scope.iter().filter_map(|label| {
            let value = label.value.as_deref()?;
            Some(format!(",{}=\"{}\"", label.name, quoted(value)))
        });
        let scope = scope.collect::<String>();
        format!("{metric}{{{matchers}{scope}{more}}}")
    }

    /// The names of the versions' Services.
    pub(crate) fn service_names(&self) -> BTreeSet<&str> {
        let versions = [&self.stable, &self.canary];
        let services = versions.iter().flat_map(|version| &version.services);
        services.map(|service| service.name.as_str()).collect()
    }

    /// What is counted of Services called the same but for upper and lower case, or of this one, by name.
    pub(crate) fn alike(&self, metric: &str, or: &str) -> String {
        let names = quoted(&alternatives(self.service_names()));
        format!(
            "count by (destination_service_name) ({metric}{{destination_service_name=~\"(?i:{names})|{or}\"}})"
        )
    }

    /// Which version a series is counted for, and who reports it; `None` if it is not counted.
    ///
    /// Not counted are mirrored requests where they are marked as such (no user gets their answers; Envoy adds
    /// `-shadow` to the host), injected aborts (`FI`: no version answered), other versions, and series whose
    /// reporter is not known. A request that was delayed on purpose (`DI`) was answered by its version.
    pub fn owner(&self, labels: &Labels) -> Option<(Reporter, SeriesOwner)> {
        let reporter = match label(labels, "reporter") {
            "source" | "waypoint" => Reporter::Source,
            "destination" => Reporter::Destination,
            _ => return None,
        };
        let set_aside = match self.read_from {
            ReadFrom::Callers => self.is_mirrored(labels),
            ReadFrom::Callees => reporter != Reporter::Destination,
        };
        if set_aside || is_injected(labels) {
            return None;
        }
        let owner = match (self.stable.claims(labels), self.canary.claims(labels)) {
            (true, false) => SeriesOwner::Stable,
            (false, true) => SeriesOwner::Canary,
            (true, true) => return None,
            (false, false) => self.unreached(labels)?,
        };
        Some((reporter, owner))
    }

    /// Whether a series is of requests to the versions' own destination that neither of them answered, as far
    /// as its names tell.
    pub(super) fn is_unclaimed(&self, labels: &Labels) -> bool {
        let versions = [&self.stable, &self.canary];
        versions.iter().any(|version| version.serves(labels))
            && !versions.iter().any(|version| version.claims(labels))
            && self.unreached(labels).is_none()
            && !self.is_mirrored(labels)
    }

    /// What the metrics are expected to call the two versions.
    pub(super) fn names(&self) -> Vec<String> {
        let versions = [&self.stable, &self.canary];
        let by_workload = versions.iter().any(|version| !version.workloads.is_empty());
        let names = versions.iter().flat_map(|version| match by_workload {
            true => &version.workloads,
            false => &version.versions,
        });
        names.cloned().collect()
    }

    /// Which version requests belong to that reached no upstream and so have no workload.
    fn unreached(&self, labels: &Labels) -> Option<SeriesOwner> {
        let is_unreached = match label(labels, "destination_workload") {
            "unknown" => true,
            // Istio gives requests without an upstream the revision `latest`.
            "" => matches!(version(labels), "" | "latest"),
            _ => false,
        };
        match (self.stable.was_meant(labels), self.canary.was_meant(labels)) {
            _ if !is_unreached => None,
            (true, true) => Some(SeriesOwner::Unknown),
            // With two hosts the host itself says where the request should have gone.
            (true, false) => Some(SeriesOwner::Stable),
            (false, true) => Some(SeriesOwner::Canary),
            (false, false) => None,
        }
    }

    fn is_mirrored(&self, labels: &Labels) -> bool {
        let host = label(labels, "destination_service");
        let named = |version: &VersionSelector| version.hosts.contains(host);
        host.split(':')
            .next()
            .is_some_and(|host| host.ends_with("-shadow"))
            && !named(&self.stable)
            && !named(&self.canary)
    }
}

fn is_injected(labels: &Labels) -> bool {
    label(labels, "response_flags")
        .split(',')
        .any(|flag| flag == "FI")
}

/// The version of the pods that answered, by the first label that says it.
pub(super) fn version(labels: &Labels) -> &str {
    let said = |name| match label(labels, name) {
        "unknown" => "",
        version => version,
    };
    match said("destination_version") {
        "" => said("destination_canonical_revision"),
        version => version,
    }
}

pub(crate) fn label<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.get(name).map_or("", String::as_str)
}

/// A regular expression that matches exactly these texts.
pub(super) fn alternatives<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(literal).collect::<Vec<_>>().join("|")
}

/// A regular expression (RE2) that matches exactly this text.
fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// The text inside a PromQL string in double quotes.
pub(crate) fn quoted(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
#[path = "versions_tests.rs"]
mod tests;
