//! Snapshots from a scripted peer: broken ones, and files that cannot be written.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use etcdex_proto::etcdserverpb::SnapshotResponse;
use sha2::{Digest, Sha256};

use super::peer::{Asked, Peers, framed, headers, serve};
use crate::{Client, ErrorKind};

/// A database of two chunks with its checksum, as etcd sends it.
fn parts() -> Vec<SnapshotResponse> {
    let (first, second) = (vec![7; 3_000], vec![8; 1_000]);
    let digest = Sha256::new().chain_update(&first).chain_update(&second);
    let part = |blob: Vec<u8>, remaining_bytes| SnapshotResponse {
        blob: blob.into(),
        remaining_bytes,
        version: "3.6.0".to_owned(),
        ..SnapshotResponse::default()
    };
    vec![
        part(first, 1_000),
        part(second, 0),
        part(digest.finalize().to_vec(), 0),
    ]
}

/// A client of a peer that sends these parts and then a status of OK.
async fn client(parts: Vec<SnapshotResponse>) -> Client {
    let body: BytesMut = parts.iter().flat_map(framed).collect();
    let body = body.freeze();
    let peers = Peers::one(move |_, stream| {
        let body = body.clone();
        serve(stream, move |asked| {
            let body: Bytes = body.clone();
            async move { asked.answer(body) }
        })
    });
    peers.client().await
}

/// Names of the entries of the folder.
fn inside(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the file exists");
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("a readable entry");
    let names = entries.map(|entry| name(entry).file_name().to_string_lossy().into_owned());
    names.collect()
}

#[tokio::test]
async fn a_complete_snapshot_is_written_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("etcd.db");
    std::fs::write(&path, "an older one").expect("the file is written");
    let client = client(parts()).await;

    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    let save = client.maintenance().snapshot_to(&path);
    let save = save.on_progress(move |progress| {
        let mut told = teller.lock().expect("no panic");
        told.push((progress.received, progress.remaining));
    });
    let saved = save.await.expect("the snapshot is complete");
    assert_eq!(saved.size, 4_032);
    assert_eq!(saved.version.as_deref(), Some("3.6.0"));
    let told = told.lock().expect("no panic");
    assert_eq!(*told, [(3_000, 1_000), (4_000, 0), (4_032, 0)]);

    let whole: Vec<u8> = parts().iter().flat_map(|part| part.blob.clone()).collect();
    assert!(std::fs::read(&path).expect("the file exists") == whole);
    assert_eq!(inside(folder.path()), ["etcd.db"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path)
            .expect("the file exists")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_broken_snapshot_leaves_the_old_file() {
    let mut flipped = parts();
    flipped[1].blob = vec![9; 1_000].into();
    let mut cut = parts();
    cut.truncate(1);
    let mut unsealed = parts();
    unsealed.truncate(2);
    let mut hole = parts();
    hole.remove(1);
    for (parts, kind) in [
        (flipped, ErrorKind::Corrupt),
        (cut, ErrorKind::Protocol),
        (unsealed, ErrorKind::Protocol),
        (hole, ErrorKind::Protocol),
        (Vec::new(), ErrorKind::Protocol),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("etcd.db");
        std::fs::write(&path, "an older one").expect("the file is written");
        let save = client(parts).await.maintenance().snapshot_to(&path);
        let error = save.await.expect_err("the snapshot is broken");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with("snapshot: "), "{error}");
        assert_eq!(inside(folder.path()), ["etcd.db"], "{error}");
        let kept = std::fs::read(&path).expect("the file exists");
        assert_eq!(kept, b"an older one", "{error}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_an_error_with_a_cause() {
    let folder = tempfile::tempdir().expect("a folder");
    let client = client(parts()).await;
    for path in [folder.path().join("none/etcd.db"), folder.path().into()] {
        let error = client.maintenance().snapshot_to(&path).await;
        let error = error.expect_err("the path is in no folder, or is one");
        assert_eq!(error.kind(), ErrorKind::File, "{error}");
        let cause = std::error::Error::source(&error).expect("the error has a source");
        assert!(cause.is::<std::io::Error>(), "{cause}");
        let text = error.to_string();
        assert!(
            text.contains("No such file") || text.contains("a folder"),
            "{text}"
        );
        assert!(inside(folder.path()).is_empty());
    }
    let error = client.maintenance().snapshot_to("..").await;
    let error = error.expect_err("the path has no file name");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert_eq!(error.attempts(), 0, "{error}");
}

/// A target that is not a regular file stays as it is, and no byte is transferred.
#[cfg(unix)]
#[tokio::test]
async fn only_a_regular_file_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let client = client(parts()).await;
    for path in [socket.as_path(), folder.path(), Path::new("/dev/null")] {
        let error = client.maintenance().snapshot_to(path).await;
        let error = error.expect_err("the target is no regular file");
        assert_eq!(error.kind(), ErrorKind::File, "{error}");
        assert_eq!(error.attempts(), 0, "{error}");
        assert_eq!(inside(folder.path()), ["socket"]);
    }

    // The new file replaces a link. The file that the link points to stays.
    let (old, link) = (folder.path().join("old"), folder.path().join("link"));
    std::fs::write(&old, "an older one").expect("the file is written");
    std::os::unix::fs::symlink(&old, &link).expect("a link");
    let saved = client.maintenance().snapshot_to(&link).await;
    assert!(saved.expect("the file is written").folder_synced);
    let kept = std::fs::read(&old).expect("the file exists");
    assert_eq!(kept, b"an older one");
    assert!(link.symlink_metadata().expect("the file exists").is_file());
}

/// Before the first chunk, the request is repeated like a read. After it, another attempt would send
/// a different copy.
#[tokio::test]
async fn a_snapshot_is_repeated_only_before_the_first_chunk() {
    for (whole, attempts) in [(false, 2), (true, 1)] {
        let asked_for = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked_for);
        let peers = Peers::one(move |_, stream| {
            let count = Arc::clone(&count);
            serve(stream, move |mut asked| {
                let first = count.fetch_add(1, Ordering::Relaxed) == 0;
                async move {
                    let unavailable =
                        headers(&[("grpc-status", "14"), ("grpc-message", "not just now")]);
                    if whole {
                        let _ = asked.try_answer(framed(&parts()[0]), unavailable);
                    } else if first {
                        asked.fail("14", "not just now");
                    } else {
                        let body: BytesMut = parts().iter().flat_map(framed).collect();
                        asked.answer(body.freeze());
                    }
                }
            })
        });
        let mut snapshot = peers.client().await.maintenance().snapshot();
        let mut chunks = 0;
        let end = loop {
            match snapshot.try_next().await {
                Ok(Some(_)) => chunks += 1,
                Ok(None) => break None,
                Err(error) => break Some(error.kind()),
            }
        };
        let expected = if whole {
            (1, Some(ErrorKind::Unavailable))
        } else {
            (3, None)
        };
        assert_eq!((chunks, end), expected);
        assert_eq!(asked_for.load(Ordering::Relaxed), attempts);
    }
}

/// A snapshot from two endpoints, of which one never sends the first chunk. In each round, the
/// client chooses at random which endpoint to ask first.
async fn beside_a_good_one(wrong: fn(Asked)) -> (Client, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let peers = Peers::one(move |_, stream| {
        let counter = Arc::clone(&counter);
        serve(stream, move |asked| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move { wrong(asked) }
        })
    });
    let peers = peers.and("http://well:1", |_, stream| {
        serve(stream, |asked| async move {
            let body: BytesMut = parts().iter().flat_map(framed).collect();
            asked.answer(body.freeze());
        })
    });
    (peers.client().await, count)
}

async fn read(client: &Client) -> Result<u64, crate::Error> {
    let mut snapshot = client.maintenance().snapshot();
    while snapshot.try_next().await?.is_some() {}
    Ok(snapshot.received())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_serve_is_left_before_the_first_chunk() {
    let wrong: [fn(Asked); 3] = [
        |asked| asked.fail("14", "not just now"),
        |mut asked| asked.reply.send_reset(h2::Reason::REFUSED_STREAM),
        |asked| asked.fail("9", "etcdserver: rpc not supported for learner"),
    ];
    for wrong in wrong {
        for seed in 0..6 {
            fastrand::seed(seed);
            let (client, count) = beside_a_good_one(wrong).await;
            let size = read(&client).await.expect("the other endpoint serves");
            assert_eq!(size, 4_032);
            assert!(count.load(Ordering::Relaxed) <= 1);
        }
    }
}

/// The peer accepts the request and never answers.
#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_is_left_within_the_time_of_a_call() {
    for seed in 0..6 {
        fastrand::seed(seed);
        let (client, _) = beside_a_good_one(std::mem::forget).await;
        let start = tokio::time::Instant::now();
        read(&client).await.expect("the other endpoint serves");
        assert!(start.elapsed() < Duration::from_secs(5), "seed {seed}");
    }
}

/// A new attempt resets neither the time-out nor the number of attempts.
#[tokio::test(start_paused = true)]
async fn attempts_for_the_first_chunk_end_with_the_time_of_a_call() {
    let wrong: [fn(Asked); 2] = [
        |asked| asked.fail("14", "not just now"),
        |mut asked| asked.reply.send_reset(h2::Reason::REFUSED_STREAM),
    ];
    for wrong in wrong {
        let count = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let peers = Peers::one(move |_, stream| {
            let counter = Arc::clone(&counter);
            serve(stream, move |asked| {
                counter.fetch_add(1, Ordering::Relaxed);
                async move { wrong(asked) }
            })
        });
        let start = tokio::time::Instant::now();
        let error = read(&peers.client().await)
            .await
            .expect_err("no chunk comes");
        assert!(start.elapsed() <= Duration::from_secs(5), "{error}");
        assert!(count.load(Ordering::Relaxed) <= 11, "{error}");
        assert_eq!(error.attempts(), count.load(Ordering::Relaxed), "{error}");
        assert!(!error.to_string().contains("applied"), "{error}");
    }
}
