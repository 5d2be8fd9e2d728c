//! Who may do what: everybody everything, unless a test says otherwise.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// One thing a user tries to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessAttempt<'a> {
    pub user: &'a str,
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: Option<&'a str>,
    pub namespace: Option<&'a str>,
    pub name: Option<&'a str>,
}

impl AccessAttempt<'_> {
    /// `resource` or `resource/subresource`, as RBAC writes it.
    pub(crate) fn full_resource(&self) -> String {
        match self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.resource),
            None => self.resource.to_owned(),
        }
    }

    /// `resource.group`, as the start of a refusal calls it.
    pub(crate) fn qualified_resource(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

/// A right that is taken away; what is `None` stands for all.
#[derive(Clone, Debug, Default)]
pub struct Denial {
    user: Option<String>,
    verb: Option<String>,
    resource: Option<String>,
    everywhere: bool,
}

impl Denial {
    /// Denies this verb (`get`, `patch`, `create` and so on) on this resource (`virtualservices`, `services/proxy`).
    pub fn of(verb: &str, resource: &str) -> Self {
        Self {
            user: None,
            verb: Some(verb.to_owned()),
            resource: Some(resource.to_owned()),
            everywhere: false,
        }
    }

    /// Only for all namespaces at once, as for a user with a Role and no ClusterRole.
    #[must_use]
    pub fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    /// Denies everything on this resource.
    pub fn of_resource(resource: &str) -> Self {
        Self {
            resource: Some(resource.to_owned()),
            ..Self::default()
        }
    }

    /// Only for this user.
    #[must_use]
    pub fn for_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    fn covers(&self, attempt: &AccessAttempt<'_>) -> bool {
        let matches = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        matches(&self.user, attempt.user)
            && matches(&self.verb, attempt.verb)
            && matches(&self.resource, &attempt.full_resource())
            && (!self.everywhere || attempt.namespace.is_none())
    }
}

/// The rights that were taken away, and the tokens that are no longer accepted.
#[derive(Debug, Default)]
pub(crate) struct Access {
    denials: Vec<Denial>,
    revoked: BTreeSet<String>,
}

impl Access {
    pub(crate) fn deny(&mut self, denial: Denial) {
        self.denials.push(denial);
    }

    pub(crate) fn revoke(&mut self, token: &str) {
        self.revoked.insert(token.to_owned());
    }

    pub(crate) fn accept(&mut self, token: &str) {
        self.revoked.remove(token);
    }

    pub(crate) fn is_revoked(&self, token: &str) -> bool {
        self.revoked.contains(token)
    }

    pub(crate) fn restore(&mut self) {
        self.denials.clear();
    }

    pub(crate) fn allows(&self, attempt: &AccessAttempt<'_>) -> bool {
        !self.denials.iter().any(|denial| denial.covers(attempt))
    }

    /// Answers a SelfSubjectAccessReview.
    pub(crate) fn review(&self, user: &str, mut review: Value) -> Value {
        let attributes = review["spec"]["resourceAttributes"].clone();
        let text = |field: &str| attributes[field].as_str().filter(|text| !text.is_empty());
        let attempt = AccessAttempt {
            user,
            verb: text("verb").unwrap_or_default(),
            group: text("group").unwrap_or_default(),
            resource: text("resource").unwrap_or_default(),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        };
        review["status"] = json!({"allowed": self.allows(&attempt)});
        review
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_covers_only_what_it_names() {
        let mut access = Access::default();
        access.deny(Denial::of("patch", "virtualservices").for_user("eve"));
        let mut attempt = AccessAttempt {
            user: "eve",
            verb: "patch",
            group: "networking.istio.io",
            resource: "virtualservices",
            subresource: None,
            namespace: Some("shop"),
            name: Some("reviews"),
        };
        assert!(!access.allows(&attempt));
        attempt.verb = "get";
        assert!(access.allows(&attempt));
        attempt.verb = "patch";
        attempt.user = "ann";
        assert!(access.allows(&attempt));
    }
}
