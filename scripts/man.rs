//! Writes the man pages of all commands into the folder that is named: scripts/man.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| std::io::Error::other("usage: man FOLDER"))?;
    clap_mangen::generate_to(kubectl_canary::cli::documented(), folder)
}
