//! Routes that hand their requests on to another VirtualService, which is then the one to change.

use std::fmt;

use serde_json::Value;

use super::route::Route;
use super::virtual_service::VirtualService;

/// The VirtualService that a route hands its requests on to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delegate {
    /// Its namespace: the root's, where the route does not say.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Delegate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A delegate to work on in the root's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Which object.
    pub delegate: Delegate,
    /// The root's routes that lead there.
    pub through: Vec<String>,
    /// The names asked for that the root does not have: they are the delegate's to know.
    pub routes: Vec<String>,
}

/// Why it is unclear which object is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelegateError {
    /// The routes lead to several objects.
    #[error(
        "the routes of virtualservice {object} delegate to {delegates} (try: --route with one of {choices}, or the same command on one of them)"
    )]
    Several {
        /// `namespace/name`.
        object: String,
        /// The delegates.
        delegates: String,
        /// The root's routes.
        choices: String,
    },
    /// Some of the routes asked for delegate, others do not.
    #[error(
        "{delegating} of virtualservice {object} delegates to {delegate} and {own} does not, but a rollout patches one object (try: --route with one of the two)"
    )]
    Mixed {
        /// `namespace/name`.
        object: String,
        /// A route that delegates.
        delegating: String,
        /// Where to.
        delegate: String,
        /// A route that does not.
        own: String,
    },
}

impl VirtualService {
    /// Its routes that delegate, and where to.
    pub fn delegates(&self) -> Vec<(&Route, Delegate)> {
        let delegating = self.routes().iter().filter(|route| route.delegates);
        delegating
            .filter_map(|route| Some((route, self.delegate(route)?)))
            .collect()
    }

    fn delegate(&self, route: &Route) -> Option<Delegate> {
        let reference = self.rule(route.at).get("delegate")?;
        let text = |key: &str| reference.get(key).and_then(Value::as_str);
        let namespace = text("namespace").filter(|namespace| !namespace.is_empty());
        Some(Delegate {
            namespace: namespace.unwrap_or(self.namespace()).to_owned(),
            name: text("name")?.to_owned(),
        })
    }
}

/// The delegate that is meant by `routes` of `vs`; `None` if it is `vs` itself.
///
/// Without names it is a delegate only if the root has no destinations of its own.
///
/// # Errors
/// If more than one object could be meant.
pub fn delegate_of(
    vs: &VirtualService,
    routes: &[String],
) -> Result<Option<Handover>, DelegateError> {
    let delegating = vs.delegates();
    let has_own = vs.routes().iter().any(|route| !route.targets.is_empty());
    let is_asked = |route: &Route| routes.iter().any(|asked| route.is_called(asked));
    let asked: Vec<_> = delegating
        .iter()
        .filter(|(route, _)| is_asked(route))
        .collect();
    let own = vs
        .routes()
        .iter()
        .find(|route| !route.delegates && is_asked(route));
    let unknown: Vec<_> = routes
        .iter()
        .filter(|asked| !vs.routes().iter().any(|route| route.is_called(asked)))
        .cloned()
        .collect();
    let through = match (asked.first(), own) {
        (Some((route, delegate)), Some(own)) => {
            return Err(DelegateError::Mixed {
                object: vs.full_name(),
                delegating: route.to_string(),
                delegate: delegate.to_string(),
                own: own.to_string(),
            });
        }
        (Some(_), None) => asked,
        (None, Some(_)) => return Ok(None),
        (None, None) if has_own => return Ok(None),
        (None, None) => delegating.iter().collect(),
    };
    let mut delegates: Vec<_> = through.iter().map(|(_, delegate)| delegate).collect();
    delegates.sort();
    delegates.dedup();
    let names = || through.iter().map(|(route, _)| route.to_string());
    match delegates.as_slice() {
        [] => Ok(None),
        [delegate] => Ok(Some(Handover {
            delegate: (*delegate).clone(),
            through: names().collect(),
            routes: unknown,
        })),
        several => {
            let several: Vec<_> = several.iter().map(ToString::to_string).collect();
            let choices = through.iter().map(|(route, _)| route.word());
            Err(DelegateError::Several {
                object: vs.full_name(),
                delegates: several.join(" and "),
                choices: choices.collect::<Vec<_>>().join(", "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn root(http: Value) -> VirtualService {
        VirtualService::new(json!({
            "metadata": {"name": "root", "namespace": "shop", "uid": "1"},
            "spec": {"hosts": ["shop.example.com"], "http": http},
        }))
        .unwrap()
    }

    fn rules() -> Value {
        json!([
            {"name": "reviews", "delegate": {"name": "reviews"}},
            {"name": "ratings", "delegate": {"name": "routes", "namespace": "ratings"}},
            {"name": "rest", "route": [{"destination": {"host": "front"}}]},
        ])
    }

    fn found(http: Value, routes: &[&str]) -> Result<String, String> {
        let routes: Vec<_> = routes.iter().map(ToString::to_string).collect();
        match delegate_of(&root(http), &routes) {
            Ok(None) => Ok("the root".into()),
            Ok(Some(handover)) => Ok(format!(
                "{} through {} for {:?}",
                handover.delegate,
                handover.through.join(", "),
                handover.routes
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_object_that_is_meant_is_found_from_the_root() {
        for (http, routes, expected) in [
            (rules(), vec![], "the root"),
            (
                rules(),
                vec!["reviews"],
                "shop/reviews through http[reviews] for []",
            ),
            (
                rules(),
                vec!["http[1]"],
                "ratings/routes through http[ratings] for []",
            ),
            (rules(), vec!["rest"], "the root"),
            (rules(), vec!["nobody"], "the root"),
            (
                json!([{"delegate": {"name": "a", "namespace": ""}}, {"delegate": {"name": "a"}}, {"redirect": {"uri": "/"}}]),
                vec![],
                "shop/a through http[0], http[1] for []",
            ),
            (
                json!([{"name": "only", "delegate": {"name": "a"}}]),
                vec!["primary"],
                "shop/a through http[only] for [\"primary\"]",
            ),
            (json!([{"redirect": {"uri": "/"}}]), vec![], "the root"),
        ] {
            assert_eq!(found(http, &routes).unwrap(), expected, "{routes:?}");
        }
    }

    #[test]
    fn several_objects_are_refused_with_the_choices() {
        let two = json!([
            {"name": "x", "delegate": {"name": "a"}},
            {"delegate": {"name": "b", "namespace": "other"}},
        ]);
        assert_eq!(
            found(two, &[]).unwrap_err(),
            "the routes of virtualservice shop/root delegate to other/b and shop/a (try: --route with one of x, 'http[1]', or the same command on one of them)"
        );
        assert_eq!(
            found(rules(), &["reviews", "rest"]).unwrap_err(),
            "http[reviews] of virtualservice shop/root delegates to shop/reviews and http[rest] does not, but a rollout patches one object (try: --route with one of the two)"
        );
    }
}
