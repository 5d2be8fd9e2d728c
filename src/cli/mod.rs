//! The command line: what may be typed, where output goes, and the one table of exit codes.

mod arguments;
mod before_step;
mod command_kind;
mod command_line;
mod completion;
mod conclusion;
mod dispatch;
mod execution;
mod exit;
mod help;
mod ineffective_flag;
mod manifest;
mod on_end;
mod printer;
mod prometheus_access;
mod publisher;
mod screen;
mod user_config;
mod watch_output;

pub use arguments::{Cli, Command};
pub use dispatch::run;
pub use exit::Exit;
pub use help::documented;
