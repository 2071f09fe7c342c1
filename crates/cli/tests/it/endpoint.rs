//! `endpoint health`.

use std::net::{Ipv4Addr, TcpListener};

use etcdex_testkit::Etcd;

use crate::process::{Ended, etcdctl_on, etcdex, etcdex_on, newest, run, start};

/// Takes the times out, and with them what gives way for their width.
fn without_times(text: &str) -> String {
    let mut words = Vec::new();
    for line in text.lines() {
        for word in line.split([' ', '"', ',']).filter(|word| !word.is_empty()) {
            let is_time = word.starts_with(|c: char| c.is_ascii_digit()) && word.ends_with('s');
            let is_rule = word.contains('─');
            words.push(if is_time || is_rule { "*" } else { word });
        }
        words.push("\n");
    }
    words.join(" ")
}

#[tokio::test]
async fn health_is_told_as_etcdctl_tells_it() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for format in ["simple", "json", "fields", "table", "protobuf", "xml"] {
        let words = ["endpoint", "health", "-w", format];
        let (ours, theirs) = (etcdex_on(&etcd, &words), etcdctl_on(&etcd, &words));
        assert_eq!(ours.code, theirs.code, "{ours:?}");
        // Older ones draw tables otherwise.
        if format != "table" || etcd.version().is_at_least(3, 7) {
            assert_eq!(without_times(&ours.stdout), without_times(&theirs.stdout));
        }
    }
    // Verbs can be abbreviated.
    assert_eq!(
        etcdex_on(&etcd, &["endp", "he"])
            .is_good()
            .stdout
            .lines()
            .count(),
        1
    );
}

fn closed_port() -> u16 {
    // Bound for a moment, and so free just now.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

fn both(etcd: &Etcd, format: &str) -> Ended {
    let endpoints = format!("{},127.0.0.1:{}", etcd.endpoint(), closed_port());
    run(etcdex().args([
        "--endpoints",
        &endpoints,
        "endpoint",
        "health",
        "-w",
        format,
    ]))
}

#[tokio::test]
async fn one_unhealthy_endpoint_makes_all_unhealthy_and_delays_none() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    let simple = both(&etcd, "simple");
    assert_eq!(simple.code, Some(1));
    assert!(simple.took.as_secs() < 2, "{simple:?}");
    let healthy = format!(
        "{} is healthy: successfully committed proposal: took = ",
        etcd.endpoint()
    );
    assert!(
        simple.stdout.starts_with(&healthy) && simple.stdout.ends_with("s\n"),
        "{simple:?}"
    );
    let told: Vec<&str> = simple.stderr.lines().collect();
    assert!(
        told[0].contains("is unhealthy: failed to commit proposal: "),
        "{told:?}"
    );
    assert!(told[0].contains("refused"), "{told:?}");
    assert_eq!(told[1..], ["Error: unhealthy cluster"]);

    let json = both(&etcd, "json");
    assert_eq!(
        (json.code, json.stderr.as_str()),
        (Some(1), "Error: unhealthy cluster\n")
    );
    assert!(json.stdout.contains("\"health\":true,"), "{json:?}");
    assert!(json.stdout.contains("\"health\":false,"), "{json:?}");
    assert_eq!(both(&etcd, "table").stdout.lines().count(), 6);
}

#[tokio::test]
async fn a_member_without_a_majority_is_unhealthy() {
    let Some(binary) = newest() else { return };
    let cluster = Etcd::builder().binary(&binary).start_cluster(3).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let members = cluster.members();
    members[1].kill();
    members[2].kill();
    let told = etcdex_on(
        &members[0],
        &["endpoint", "health", "--command-timeout", "500ms"],
    );
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""), "{told:?}");
    assert!(told.stderr.contains("is unhealthy"), "{told:?}");
}
