//! The rules that send testers and sticky users to the canary, each above the route whose requests it takes.

use serde_json::{Value, json};

use super::difference::RouteDifference;
use super::route::Route;
use super::split::SplitError;
use super::virtual_service::VirtualService;
use crate::plan::{HeaderValue, Testers};

/// The rules of one run that send to the canary alone.
#[derive(Clone, Debug, PartialEq)]
pub struct CanaryRules {
    name: String,
    /// The rules, each with the position of the route it stands above when it is not there yet.
    wanted: Vec<(usize, Value)>,
}

/// Whose requests a rule takes: those with a header of this value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeaderMatch {
    /// In small letters.
    pub header: String,
    pub value: HeaderValue,
}

impl From<&Testers> for HeaderMatch {
    fn from(testers: &Testers) -> Self {
        Self {
            header: testers.header.clone(),
            value: testers.value.clone(),
        }
    }
}

impl CanaryRules {
    pub(super) fn new(run: &str, wanted: Vec<(usize, Value)>) -> Self {
        Self {
            name: name_of(run),
            wanted,
        }
    }

    /// The rule above `route`: what the route does, for those of its requests that have one of these headers,
    /// and to the canary alone. `copies` says whether it mirrors as the route does.
    pub(super) fn rule(
        route: &Value,
        run: &str,
        wanted: &[HeaderMatch],
        canary: &Value,
        copies: bool,
    ) -> Value {
        let mut rule = route.clone();
        if let Some(fields) = rule.as_object_mut() {
            if !copies {
                for mirror in ["mirror", "mirrors", "mirrorPercentage"] {
                    fields.remove(mirror);
                }
            }
            let blocks = fields.get("match").and_then(Value::as_array).cloned();
            let mut blocks = blocks.unwrap_or_default();
            if blocks.is_empty() {
                blocks.push(json!({}));
            }
            let of_each = blocks.iter().flat_map(|block| {
                wanted.iter().map(move |HeaderMatch { header, value }| {
                    let mut block = block.clone();
                    block["headers"][header] = match value {
                        HeaderValue::Exact(value) => json!({"exact": value}),
                        HeaderValue::Regex(regex) => json!({"regex": regex}),
                    };
                    block
                })
            });
            let blocks: Vec<_> = of_each.collect();
            fields.insert("name".into(), name_of(run).into());
            fields.insert("match".into(), blocks.into());
            fields.insert("route".into(), json!([canary]));
        }
        rule
    }

    /// Whether a route could have testers taken out of it.
    ///
    /// # Errors
    /// If it looks at the same header itself.
    pub(super) fn check(
        vs: &VirtualService,
        route: &Route,
        testers: &Testers,
    ) -> Result<(), SplitError> {
        let blocks = vs.rule(route.at).get("match").and_then(Value::as_array);
        let same = blocks.into_iter().flatten().any(|block| {
            let headers = block.get("headers").and_then(Value::as_object);
            headers.is_some_and(|headers| {
                headers
                    .keys()
                    .any(|name| name.eq_ignore_ascii_case(&testers.header))
            })
        });
        if same {
            return Err(SplitError::MatchesHeader {
                route: route.to_string(),
                header: testers.header.clone(),
            });
        }
        Ok(())
    }

    /// The positions of this run's rules, in order.
    pub(super) fn places(&self, vs: &VirtualService) -> Vec<usize> {
        let rules = vs.spec().get("http").and_then(Value::as_array);
        let rules = rules.into_iter().flatten().enumerate();
        rules
            .filter(|(_, rule)| rule.get("name").and_then(Value::as_str) == Some(&self.name))
            .map(|(index, _)| index)
            .collect()
    }

    /// The rules, each with the position of the route it belongs above.
    pub(super) fn wanted(&self) -> &[(usize, Value)] {
        &self.wanted
    }

    /// The name that all of them have.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the rules of `vs` are not those that are wanted, as far as the choice of a version goes: what a
    /// route does besides, its copy follows with the next write.
    pub(super) fn difference(&self, vs: &VirtualService) -> Option<RouteDifference> {
        let chooses = |found: &Value, wanted: &Value| {
            found["match"] == wanted["match"] && destinations(found) == destinations(wanted)
        };
        (!self.are_found(vs, chooses)).then(|| RouteDifference::CanaryRules {
            name: self.name.clone(),
        })
    }

    /// Whether the rules of `vs` are the wanted ones, with all that they do.
    pub(super) fn are_there(&self, vs: &VirtualService) -> bool {
        self.are_found(vs, |found, wanted| found == wanted)
    }

    fn are_found(&self, vs: &VirtualService, alike: impl Fn(&Value, &Value) -> bool) -> bool {
        let rules = &vs.spec()["http"];
        let found = self.places(vs);
        let mut pairs = found.iter().zip(&self.wanted);
        found.len() == self.wanted.len()
            && pairs.all(|(place, (_, wanted))| alike(&rules[*place], wanted))
    }
}

fn destinations(rule: &Value) -> Vec<Option<&Value>> {
    let targets = rule.get("route").and_then(Value::as_array);
    let targets = targets.into_iter().flatten();
    targets.map(|target| target.get("destination")).collect()
}

fn name_of(run: &str) -> String {
    format!("kubectl-canary-{run}")
}
