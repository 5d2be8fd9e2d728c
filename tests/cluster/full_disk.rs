//! A disk that fills up under a driver that writes its events, its record and its summary there.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::app::App;
use crate::stack::Stack;

/// A small file system of its own, which only this process and its children see: `scripts/cluster run` gives
/// them mounts of their own. It ends with this value.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        let words = ["-t", "tmpfs", "-o", "size=64k", "tmpfs"];
        let mounted = Command::new("mount")
            .args(words)
            .arg(folder.path())
            .status();
        assert!(mounted.is_ok_and(|status| status.success()));
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves no room.
    fn fill(&self) {
        let file = File::create(self.path().join("filling"));
        let mut file = file.expect("the folder is ours");
        for size in [4096, 1] {
            while file.write_all(&vec![b'.'; size]).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.path())
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.path().display());
        }
    }
}

#[tokio::test]
#[ignore = "needs the real stack: scripts/test --cluster"]
async fn a_disk_that_fills_up_costs_what_is_written_there_and_nothing_else() {
    let stack = Stack::open().await;
    let app = App::start(&stack, "full-disk").await;
    let before = app.spec().await;
    let _load = app.load().rate(200.0).start();
    let disk = Disk::mount();
    let rollout = app.rollout("--steps 20:60s,100");
    let mut driver = rollout.writing_to(disk.path()).launch();
    driver.until_flowing_at("20").await;
    disk.fill();
    app.behave("v2", json!({"errors": 0.5})).await;
    let ended = driver.end().await;
    assert_eq!(ended.code, Some(10), "{}", ended.stderr);
    app.is_restored_to(&before).await;
    let events = format!("events could not be written to {}", disk.path().display());
    for said in [
        &events[..],
        "no space left on device",
        "--summary: cannot write",
    ] {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
    app.finish().await;
}
