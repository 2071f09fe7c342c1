//! Snapshots of real servers, read by etcd's own tools:
//! <https://etcd.io/docs/v3.6/op-guide/recovery/>.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcdex::{Client, ErrorKind};
use etcdex_testkit::{Etcd, Proxy};
use serde_json::Value;

use crate::ctl::wait;
use crate::stage::{DEADLINE, connect, each_alone, tool};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Names of the entries of the folder.
fn inside(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let names = std::fs::read_dir(folder).unwrap().map(name);
    names.map(|name| name.into_string().unwrap()).collect()
}

/// Twenty megabytes: more than the flow control lets the server send at once.
async fn fill(client: &Client) {
    for number in 0..20_u8 {
        let value = vec![number; 1 << 20];
        client
            .put(format!("large/{number:02}"), value)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_saved_under_load_is_restored() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        fill(&client).await;
        let before = client.put("before", "v").await.unwrap().header.revision;
        let over = Arc::new(AtomicBool::new(false));
        let load = tokio::spawn({
            let (client, over) = (client.clone(), Arc::clone(&over));
            async move {
                let mut number = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    client.put("load", number.to_string()).await.unwrap();
                    number += 1;
                }
                number
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.db");
        let saved = client.maintenance().snapshot_to(&path).await.unwrap();
        over.store(true, Ordering::Relaxed);
        assert!(load.await.unwrap() > 0);

        assert_eq!(inside(folder.path()), ["etcd.db"]);
        assert_eq!(saved.size, std::fs::metadata(&path).unwrap().len());
        assert_eq!(saved.version.is_some(), etcd.version().is_at_least(3, 6));
        let status = ["snapshot", "status", text(&path), "--write-out=json"];
        let status: Value = serde_json::from_str(&tool(&etcd, &status).await).unwrap();
        assert_eq!(status["totalSize"].as_u64(), Some(saved.size - 32));
        assert!(status["revision"].as_i64().unwrap() >= before, "{status}");
        restored(&etcd, &path).await;
    })
    .await;
}

/// A new server with the snapshot has the data of the old one.
async fn restored(old: &Etcd, path: &Path) {
    let new = Etcd::start(old.binary()).await.unwrap();
    new.kill();
    std::fs::remove_dir_all(new.data_dir()).unwrap();
    let restore = [
        "snapshot",
        "restore",
        text(path),
        &format!("--data-dir={}", new.data_dir().display()),
        &format!("--name={}", new.name()),
        &format!("--initial-cluster={}={}", new.name(), new.peer_url()),
        &format!("--initial-advertise-peer-urls={}", new.peer_url()),
    ];
    tool(old, &restore).await;
    new.restart().await.unwrap();
    let client = connect(&new).await;
    assert_eq!(client.get("before").string().await.unwrap().unwrap(), "v");
    for number in 0..20_u8 {
        let value = client.get(format!("large/{number:02}")).bytes().await;
        assert!(value.unwrap().unwrap() == vec![number; 1 << 20]);
    }
    let told = new.etcdctl(["get", "before"]).await.unwrap();
    assert_eq!(told, "before\nv\n");
}

#[tokio::test]
async fn the_stream_is_the_file() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        client.put("k", "v").await.unwrap();
        let mut snapshot = client.maintenance().snapshot();
        assert_eq!((snapshot.received(), snapshot.remaining()), (0, None));
        let mut whole = Vec::new();
        while let Some(chunk) = snapshot.try_next().await.unwrap() {
            whole.extend_from_slice(&chunk);
            assert_eq!(snapshot.received(), whole.len() as u64);
        }
        assert_eq!(snapshot.remaining(), Some(0));
        let modern = etcd.version().is_at_least(3, 6);
        assert_eq!(snapshot.version().is_some(), modern);
        assert_eq!(snapshot.try_next().await.unwrap(), None);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.db");
        std::fs::write(&path, &whole).unwrap();
        let status = ["snapshot", "status", text(&path), "--write-out=json"];
        let status: Value = serde_json::from_str(&tool(&etcd, &status).await).unwrap();
        assert_eq!(status["totalSize"].as_u64(), Some(whole.len() as u64 - 32));
    })
    .await;
}

/// Failures in the middle of a transfer.
#[derive(Clone, Copy)]
enum Fault {
    Cut,
    Stall,
}

#[tokio::test]
async fn a_transfer_that_breaks_leaves_no_file() {
    each_alone(&[], |etcd| async move {
        fill(&connect(&etcd).await).await;
        for (fault, kind) in [
            (Fault::Cut, ErrorKind::Unavailable),
            (Fault::Stall, ErrorKind::Timeout),
        ] {
            let proxy = Arc::new(Proxy::start(etcd.client_address()).await.unwrap());
            let client = Client::connect(proxy.endpoint()).await.unwrap();
            let client = client.with_timeout(Duration::from_secs(3));
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("etcd.db");
            let breaks = Arc::clone(&proxy);
            let save = client.maintenance().snapshot_to(&path);
            let save = save.on_progress(move |progress| {
                assert!(progress.remaining > 0, "the transfer breaks before its end");
                match fault {
                    Fault::Cut => breaks.cut(),
                    Fault::Stall => breaks.stall(),
                }
            });
            let error = save.await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(inside(folder.path()).is_empty(), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_transfer_that_is_dropped_leaves_no_file() {
    each_alone(&[], |etcd| async move {
        let client = connect(&etcd).await;
        fill(&client).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.db");
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let save = client.maintenance().snapshot_to(&path);
        let save = save.on_progress(move |_| begun.send(()).unwrap());
        tokio::select! {
            biased;
            _ = begins.recv() => {}
            saved = save.into_future() => panic!("the save ended: {saved:?}"),
        }
        wait!(
            "the partial file is removed",
            inside(folder.path()).is_empty()
        );
        // The connection still works.
        let all = client.get("large/").prefix().count_only();
        let all = all.timeout(DEADLINE).await.unwrap();
        assert_eq!(all.count, 20);
    })
    .await;
}
