//! The program: a kubectl plugin.

use std::process::ExitCode;

use kubectl_canary::cli;

fn main() -> ExitCode {
    // Two TLS providers in one process would make the first client panic; this names the one.
    // Failing means that one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run().into()
}
