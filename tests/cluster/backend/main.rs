//! Answers for every pod of the real stack.
//!
//! kwok's pods run nothing. Their addresses are all local to the stack's network
//! namespace, so this one process listens on every address, and the address a
//! connection was accepted on says which pod was meant. How a version behaves
//! (its share of errors, its latency, how it fails) is set over a control port,
//! for one namespace and version at a time, so tests do not meet.

mod behaviour;
mod connections;
mod control;
mod echo;
mod http;
mod orders;
mod pods;
mod stats;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::net::TcpListener;

use crate::world::World;

/// Serves every pod of the stack.
#[derive(Parser)]
struct Args {
    /// Kubeconfig of a user who may list and watch pods.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Where pods serve HTTP.
    #[arg(long, default_value = "0.0.0.0:8080")]
    http: SocketAddr,
    /// Where pods echo TCP.
    #[arg(long, default_value = "0.0.0.0:9000")]
    tcp: SocketAddr,
    /// Where pods show what their sidecar would have counted.
    #[arg(long, default_value = "0.0.0.0:15090")]
    stats: SocketAddr,
    /// Where behaviours are set and counts are read.
    #[arg(long, default_value = "127.0.0.1:18090")]
    control: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stack-backend: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // A second provider would be a bug of this file alone, and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let world = World::default();
    let client = pods::connect(&args.kubeconfig).await?;
    let http = TcpListener::bind(args.http).await?;
    let tcp = TcpListener::bind(args.tcp).await?;
    let stats = TcpListener::bind(args.stats).await?;
    let control = TcpListener::bind(args.control).await?;
    tokio::join!(
        pods::follow(client, world.clone()),
        http::serve(http, world.clone()),
        echo::serve(tcp, world.clone()),
        stats::serve(stats, world.clone()),
        control::serve(control, world),
    );
    Ok(())
}
