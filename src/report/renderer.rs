//! What shows events to a person.

use crate::rollout::Observer;

/// Shows events, and other text among them.
pub(crate) trait Renderer: Observer {
    /// Shows text below what was shown so far; it may have several lines.
    fn print(&mut self, text: &str);
}
