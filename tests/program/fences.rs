//! What stands between three backticks in a page of Markdown, and what does not.

/// A page's fenced blocks with their languages, and what is left of it.
pub fn fences(page: &str) -> (Vec<(String, String)>, String) {
    let (mut blocks, mut prose, mut open) = (Vec::new(), String::new(), None);
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => prose += &format!("{line}\n"),
        }
    }
    (blocks, prose)
}
