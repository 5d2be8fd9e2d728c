//! The program itself, as a process, against the embedded world over loopback: what it prints where,
//! and how it ends.

mod dry_run;
mod formats;
mod harness;
mod output;
