//! A page of the documentation, and what it shows.

use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::fences::fences;

/// A page as it is read, from the top.
pub(crate) struct Page {
    name: &'static str,
    commands: std::vec::IntoIter<String>,
    pub(crate) yaml: Vec<String>,
    prose: String,
}

impl Page {
    pub(crate) fn open(name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let page = std::fs::read_to_string(path).expect("the page is there");
        let (blocks, prose) = fences(&page);
        let of = |wanted: &'static str| {
            let blocks = blocks.iter();
            blocks.filter_map(move |(language, text)| (language == wanted).then_some(text))
        };
        let lines = of("sh").flat_map(|block| {
            let block = block.replace("\\\n", " ");
            block.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        let commands: Vec<_> = lines.filter(|line| !line.trim().is_empty()).collect();
        Self {
            name,
            commands: commands.into_iter(),
            yaml: of("yaml").cloned().collect(),
            prose,
        }
    }

    /// The next command, which is this one: nothing that a page shows is passed over unseen.
    pub(crate) fn next(&mut self, begins: &str) -> String {
        let next = self.commands.next().unwrap_or_default();
        assert!(next.starts_with(begins), "{} has {next}", self.name);
        next
    }

    /// A command in the running text.
    pub(crate) fn says(&self, begins: &str) -> String {
        let span = Regex::new("`(kubectl[^`]*)`").expect("it is one");
        let mut spans = span
            .captures_iter(&self.prose)
            .map(|span| span[1].to_owned());
        let found = spans.find(|span| span.starts_with(begins));
        found.unwrap_or_else(|| panic!("{} does not say {begins}", self.name))
    }

    pub(crate) fn ends(mut self) {
        assert_eq!(self.commands.next(), None, "{} goes on", self.name);
    }
}

/// The YAML documents of a text with their kinds.
pub(crate) fn documents(yaml: &str) -> Vec<(String, String)> {
    let parts = yaml.split("---\n").filter(|part| part.contains("kind: "));
    parts
        .map(|part| {
            let object: Value = serde_saphyr::from_str(part).expect("it is YAML");
            (
                object["kind"].as_str().expect("a kind").to_owned(),
                part.to_owned(),
            )
        })
        .collect()
}

pub(crate) fn kinds(yaml: &str) -> Vec<String> {
    let mut kinds: Vec<_> = documents(yaml).into_iter().map(|(kind, _)| kind).collect();
    kinds.sort();
    kinds
}
