//! To which namespaces an object is exported: `exportTo`.

use std::collections::BTreeSet;

use serde_json::Value;

/// The namespaces whose proxies see an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Export {
    /// All of them.
    Everywhere,
    /// These; none at all where it says `~`.
    To(BTreeSet<String>),
}

impl Export {
    /// What a list says that stands in an object of the namespace `home`.
    ///
    /// As istiod reads it: beside `*` nothing else counts, and beside `~` no namespace does.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>, home: &str) -> Self {
        let names: BTreeSet<&str> = names.into_iter().collect();
        if names.is_empty() || names.contains("*") {
            return Self::Everywhere;
        }
        if names.contains("~") {
            return Self::To(BTreeSet::new());
        }
        let named = names.into_iter().map(|name| match name {
            "." => home.to_owned(),
            name => name.to_owned(),
        });
        Self::To(named.collect())
    }

    /// What `spec.exportTo` of an object of Istio's says.
    pub fn of_object(object: &Value) -> Self {
        let names = object.pointer("/spec/exportTo").and_then(Value::as_array);
        let home = object.pointer("/metadata/namespace");
        Self::of(
            names.into_iter().flatten().filter_map(Value::as_str),
            home.and_then(Value::as_str).unwrap_or_default(),
        )
    }

    /// Whether every namespace sees it.
    pub fn is_everywhere(&self) -> bool {
        *self == Self::Everywhere
    }

    /// Whether no namespace sees it.
    pub fn is_nowhere(&self) -> bool {
        matches!(self, Self::To(namespaces) if namespaces.is_empty())
    }

    /// Whether a namespace sees it.
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::To(namespaces) => namespaces.contains(namespace),
        }
    }

    /// Whether every namespace that sees `other` sees it, too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everywhere, _) => true,
            (Self::To(_), Self::Everywhere) => false,
            (Self::To(own), Self::To(other)) => own.is_superset(other),
        }
    }

    /// Whether some namespace sees both.
    pub fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::To(own), Self::To(other)) => !own.is_disjoint(other),
            (Self::To(some), Self::Everywhere) | (Self::Everywhere, Self::To(some)) => {
                !some.is_empty()
            }
            (Self::Everywhere, Self::Everywhere) => true,
        }
    }

    /// The namespaces, where it is not exported to all.
    pub fn namespaces(&self) -> Vec<&str> {
        match self {
            Self::Everywhere => Vec::new(),
            Self::To(namespaces) => namespaces.iter().map(String::as_str).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(names: &[&str]) -> Export {
        Export::of(names.iter().copied(), "shop")
    }

    #[test]
    fn a_list_is_read_as_istiod_reads_it() {
        for names in [&[][..], &["*"], &["*", "~"], &["web", "*"]] {
            assert!(export(names).is_everywhere(), "{names:?}");
        }
        for names in [&["~"][..], &["~", "."]] {
            assert!(export(names).is_nowhere(), "{names:?}");
        }
        assert_eq!(export(&["."]), export(&["shop"]));
        assert_eq!(export(&[".", "web"]).namespaces(), ["shop", "web"]);
        assert!(export(&[".", "web"]).reaches("web") && !export(&["."]).reaches("web"));
    }

    #[test]
    fn two_exports_are_compared_by_the_namespaces_that_see_them() {
        assert!(export(&["*"]).covers(&export(&["."])) && !export(&["."]).covers(&export(&["*"])));
        assert!(export(&[".", "web"]).covers(&export(&["web"])));
        assert!(export(&["."]).meets(&export(&["*"])) && !export(&["~"]).meets(&export(&["*"])));
        assert!(!export(&["."]).meets(&export(&["web"])));
    }
}
