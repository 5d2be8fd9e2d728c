//! `schema`: the JSON schemas of all that programs read.

use std::fmt::Write;

use clap::Args;

use crate::report::Document;

/// What `schema` takes.
#[derive(Args, Clone, Copy, Debug)]
pub struct SchemaArgs {
    /// The document; if omitted, all of them by name.
    #[arg(value_name = "DOCUMENT", hide_possible_values = true)]
    pub document: Option<Document>,
}

/// The JSON schema of a document, or a line on each.
pub fn schema(args: SchemaArgs) -> String {
    if let Some(document) = args.document {
        return format!("{:#}", serde_json::Value::from(document.schema()));
    }
    let mut lines = String::new();
    for document in Document::ALL {
        let (name, description) = (document.name(), document.description());
        let _ = writeln!(lines, "{name:<15}{description}");
    }
    lines.trim_end().to_owned()
}
