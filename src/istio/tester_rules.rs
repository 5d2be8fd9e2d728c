//! The rules that send testers to the canary, each above the route whose requests it takes.

use serde_json::{Value, json};

use super::difference::RouteDifference;
use super::route::Route;
use super::split::SplitError;
use super::virtual_service::VirtualService;
use crate::plan::{HeaderValue, Testers};

/// The rules of one run for testers.
#[derive(Clone, Debug, PartialEq)]
pub struct TesterRules {
    name: String,
    /// The rules, each with the position of the route it stands above when it is not there yet.
    wanted: Vec<(usize, Value)>,
}

impl TesterRules {
    pub(super) fn new(run: &str, wanted: Vec<(usize, Value)>) -> Self {
        Self {
            name: name_of(run),
            wanted,
        }
    }

    /// The rule for testers above `route`: what the route does, for those of its requests that are
    /// testers', and to the canary alone.
    pub(super) fn rule(route: &Value, run: &str, testers: &Testers, canary: &Value) -> Value {
        let mut rule = route.clone();
        let condition = match &testers.value {
            HeaderValue::Exact(value) => json!({"exact": value}),
            HeaderValue::Regex(regex) => json!({"regex": regex}),
        };
        if let Some(fields) = rule.as_object_mut() {
            // A tester's request is answered once, by the canary.
            for mirror in ["mirror", "mirrors", "mirrorPercentage"] {
                fields.remove(mirror);
            }
            let blocks = fields.get("match").and_then(Value::as_array).cloned();
            let mut blocks = blocks.unwrap_or_default();
            if blocks.is_empty() {
                blocks.push(json!({}));
            }
            for block in &mut blocks {
                block["headers"][&testers.header] = condition.clone();
            }
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

    /// Whether the rules of `vs` are not those that are wanted, as far as testers notice.
    pub(super) fn difference(&self, vs: &VirtualService) -> Option<RouteDifference> {
        let rules = &vs.spec()["http"];
        let found = self.places(vs);
        let alike = found.len() == self.wanted.len()
            && found.iter().zip(&self.wanted).all(|(place, (_, wanted))| {
                let found = &rules[*place];
                ["match", "route"]
                    .iter()
                    .all(|key| found[*key] == wanted[*key])
            });
        (!alike).then(|| RouteDifference::TesterRules {
            name: self.name.clone(),
        })
    }
}

fn name_of(run: &str) -> String {
    format!("kubectl-canary-{run}")
}
