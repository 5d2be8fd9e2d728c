//! The program itself, as a process, against the embedded world over loopback: what it prints where,
//! and how it ends.

#[cfg(unix)]
mod blocked_output;
#[cfg(unix)]
mod browser;
#[cfg(unix)]
mod completion;
mod configuration;
mod credentials;
mod documentation;
mod door;
mod doors;
mod dry_run;
mod fences;
mod formats;
mod forwarded_doors;
mod harness;
mod history;
#[cfg(unix)]
mod hooks;
#[cfg(unix)]
mod live_view;
mod output;
#[cfg(unix)]
mod pages;
#[cfg(unix)]
mod picture;
#[cfg(target_os = "linux")]
mod pipelines;
mod publishing;
mod refusals;
mod secrets;
mod signals;
mod signed_queries;
mod unprepared_doors;
#[cfg(unix)]
mod unprinted_result;
