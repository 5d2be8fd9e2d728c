//! The network between a driver and the API server: connections that are lost without a word.

use std::path::PathBuf;

use kube::config::Kubeconfig;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A forwarder of connections, which ends with this value.
pub(crate) struct Wire {
    folder: TempDir,
    lost: watch::Sender<u32>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Before the API server of this kubeconfig.
    pub(crate) async fn before(kubeconfig: &PathBuf) -> Self {
        let mut config = Kubeconfig::read_from(kubeconfig).expect("the stack has kubeconfigs");
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let cluster = config.clusters[0].cluster.as_mut().expect("it has one");
        let server: http::Uri = cluster
            .server
            .take()
            .expect("it has a server")
            .parse()
            .expect("a URL");
        let host = server.host().expect("it has a host").to_owned();
        let upstream = format!("{host}:{}", server.port_u16().unwrap_or(443));
        cluster.server = Some(format!("https://{address}"));
        cluster.tls_server_name.get_or_insert(host);
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let text = serde_json::to_string(&config).expect("a kubeconfig is plain data");
        std::fs::write(folder.path().join("kubeconfig"), text).expect("the folder is ours");
        let (lost, losing) = watch::channel(0);
        Self {
            folder,
            lost,
            task: tokio::spawn(forward(listener, upstream, losing)),
        }
    }

    /// A kubeconfig that leads through it.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// From now on nothing passes on the connections that there are; they stay open. New ones work.
    pub(crate) fn lose_connections(&self) {
        self.lost.send_modify(|times| *times += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(listener: TcpListener, upstream: String, losing: watch::Receiver<u32>) {
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = TcpStream::connect(&upstream).await else {
            continue;
        };
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        for (from, to) in [(near_read, far_write), (far_read, near_write)] {
            let mut losing = losing.clone();
            losing.mark_unchanged();
            tokio::spawn(pass(from, to, losing));
        }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut losing: watch::Receiver<u32>) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let read = tokio::select! {
            biased;
            _ = losing.changed() => break,
            read = from.read(&mut bytes) => read,
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(count) if to.write_all(&bytes[..count]).await.is_err() => return,
            Ok(_) => {}
        }
    }
    // Neither end learns of it: what comes is taken, and goes nowhere.
    while !matches!(from.read(&mut bytes).await, Ok(0) | Err(_)) {}
    drop(to);
}
