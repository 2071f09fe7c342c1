//! Starting servers, on each installed version.

use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use etcdex_testkit::{Binaries, Binary, Etcd, GrpcProxy, Version, until};
use tokio::time::timeout;

use crate::{is_alive, newest};

#[tokio::test]
async fn each_version_starts_and_stores_keys() {
    for binary in Binaries::for_tests().all() {
        let etcd = Etcd::start(binary).await.unwrap();
        assert_eq!(etcd.version(), binary.version());
        if binary.etcdctl().is_some() {
            etcd.etcdctl(["put", "fruit", "apple"]).await.unwrap();
            let told = etcd.etcdctl(["get", "fruit"]).await.unwrap();
            assert_eq!(told, "fruit\napple\n", "{}", etcd.version());
        }
        let metrics = etcd.metrics().await.unwrap();
        let version = format!(
            "etcd_server_version{{server_version=\"{}\"}}",
            etcd.version()
        );
        assert!(metrics.contains(&version), "{version}");
    }
}

#[tokio::test]
async fn the_grpc_proxy_of_each_version_forwards_requests() {
    for binary in Binaries::for_tests().all() {
        let etcd = Etcd::start(binary).await.unwrap();
        let proxy = GrpcProxy::start(&etcd).await.unwrap();
        let client = etcdex::Client::connect(proxy.endpoint()).await.unwrap();
        client.put("fruit", "plum").await.unwrap();
        let told = etcd.etcdctl(["get", "fruit"]).await.unwrap();
        assert_eq!(told, "fruit\nplum\n", "{}", etcd.version());
    }
}

#[tokio::test]
async fn drop_kills_and_removes() {
    let Some(binary) = newest() else { return };
    let etcd = Etcd::start(&binary).await.unwrap();
    let pid = etcd.pid().unwrap();
    let data = etcd.data_dir();
    assert!(is_alive(pid) && data.exists());
    drop(etcd);
    assert!(!is_alive(pid), "the process has ended");
    assert!(!data.exists(), "the data is removed");
}

#[tokio::test]
async fn a_panic_kills() {
    let Some(binary) = newest() else { return };
    let (tell, told) = std::sync::mpsc::channel();
    let task = tokio::spawn(async move {
        let etcd = Etcd::start(&binary).await.unwrap();
        tell.send(etcd.pid().unwrap()).unwrap();
        panic!("a failing test");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(!is_alive(told.recv().unwrap()));
}

#[tokio::test]
async fn a_restart_keeps_ports_and_data() {
    for binary in Binaries::for_tests().all() {
        let etcd = Etcd::start(binary).await.unwrap();
        let (pid, endpoint) = (etcd.pid(), etcd.endpoint());
        etcd.etcdctl(["put", "fruit", "pear"]).await.unwrap();
        etcd.restart().await.unwrap();
        assert_ne!(etcd.pid(), pid);
        assert_eq!(etcd.endpoint(), endpoint);
        let told = etcd.etcdctl(["get", "fruit"]).await.unwrap();
        assert_eq!(told, "fruit\npear\n", "{}", etcd.version());
    }
}

#[tokio::test]
async fn a_paused_server_is_silent_until_it_is_resumed() {
    let Some(binary) = newest() else { return };
    let etcd = Etcd::start(&binary).await.unwrap();
    etcd.pause().unwrap();
    let get = etcd.etcdctl(["get", "fruit"]);
    timeout(Duration::from_millis(500), get)
        .await
        .expect_err("a paused server answers nothing");
    etcd.resume().unwrap();
    etcd.etcdctl(["get", "fruit"]).await.unwrap();
    etcd.pause().unwrap();
    let pid = etcd.pid().unwrap();
    drop(etcd);
    assert!(!is_alive(pid), "a paused server is killed, too");
}

#[tokio::test]
async fn a_killed_server_can_be_restarted() {
    let Some(binary) = newest() else { return };
    let etcd = Etcd::start(&binary).await.unwrap();
    let pid = etcd.pid().unwrap();
    etcd.kill();
    assert!(!is_alive(pid));
    assert_eq!(etcd.pid(), None);
    assert!(etcd.pause().unwrap_err().to_string().contains("was killed"));
    etcd.launch().unwrap();
    assert!(
        etcd.launch()
            .unwrap_err()
            .to_string()
            .contains("runs already")
    );
    etcd.ready().await.unwrap();
    etcd.terminate().await.unwrap();
    assert_eq!(etcd.pid(), None);
}

#[tokio::test]
async fn the_error_of_a_server_that_does_not_start_has_the_cause() {
    let Some(binary) = newest() else { return };
    let started = Instant::now();
    let error = Etcd::builder()
        .binary(&binary)
        .args(["--no-such-flag"])
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-flag"), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the error comes at once"
    );
}

#[tokio::test]
async fn a_taken_port_has_its_own_error_kind() {
    let Some(binary) = newest() else { return };
    let etcd = Etcd::start(&binary).await.unwrap();
    etcd.kill();
    let _taken = TcpListener::bind(etcd.client_address()).unwrap();
    let error = etcd.restart().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
}

#[tokio::test]
async fn a_server_with_an_alarm_is_ready() {
    for binary in Binaries::for_tests().all() {
        let etcd = Etcd::builder()
            .binary(binary)
            .args(["--quota-backend-bytes=65536"])
            .start()
            .await
            .unwrap();
        let value = "x".repeat(20_000);
        let mut alarm = None;
        for number in 0..20 {
            let key = number.to_string();
            if let Err(error) = etcd.etcdctl(["put", &key, &value]).await {
                alarm = Some(error.to_string());
                break;
            }
        }
        assert!(alarm.unwrap().contains("database space exceeded"));
        etcd.restart().await.unwrap();
    }
}

#[tokio::test]
async fn the_error_of_a_missing_version_names_it() {
    let error = Etcd::builder().version("3.0.0").start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "etcd 3.0.0 is not there; run cargo xtask etcd 3.0.0"
    );
    let error = Etcd::builder().version("new").start().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn no_version_is_both_installed_and_missing() {
    let binaries = Binaries::find().unwrap();
    let there: Vec<Version> = binaries.all().iter().map(Binary::version).collect();
    assert!(there.is_sorted());
    assert_eq!(
        there.last().copied(),
        binaries.newest().map(Binary::version)
    );
    for version in binaries.missing() {
        assert!(!there.contains(version));
        assert!(binaries.summary().contains("missing"));
    }
}

#[tokio::test]
#[should_panic(expected = "waited for ten seconds: a condition that never holds")]
async fn waiting_has_a_deadline() {
    tokio::time::pause();
    until("a condition that never holds", || false).await;
}
