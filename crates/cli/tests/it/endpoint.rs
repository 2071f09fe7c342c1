//! `endpoint health`.

use std::net::{Ipv4Addr, TcpListener};

use etcdex_testkit::Etcd;

use crate::process::{Ended, etcdctl_on, etcdex, etcdex_on, newest, run, start};

/// Replaces times, and the lines of tables, whose width depends on the times.
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
async fn health_is_printed_as_by_etcdctl() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for format in ["simple", "json", "fields", "table", "protobuf", "xml"] {
        let words = ["endpoint", "health", "-w", format];
        let (ours, theirs) = (etcdex_on(&etcd, &words), etcdctl_on(&etcd, &words));
        assert_eq!(ours.code, theirs.code, "{ours:?}");
        // Older versions of etcdctl draw other tables.
        if format != "table" || etcd.version().is_at_least(3, 7) {
            assert_eq!(without_times(&ours.stdout), without_times(&theirs.stdout));
        }
    }
    // Verbs can be abbreviated.
    assert_eq!(
        etcdex_on(&etcd, &["endp", "he"])
            .succeeded()
            .stdout
            .lines()
            .count(),
        1
    );
}

fn closed_port() -> u16 {
    // The port was bound a moment ago, so no other process uses it now.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("the listener is bound").port()
}

/// Asks for the health of this server and of a closed port.
fn health_with_a_closed_port(etcd: &Etcd, format: &str) -> Ended {
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
async fn one_unhealthy_endpoint_fails_the_command_and_delays_no_other() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    let simple = health_with_a_closed_port(&etcd, "simple");
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
    let lines: Vec<&str> = simple.stderr.lines().collect();
    assert!(
        lines[0].contains("is unhealthy: failed to commit proposal: "),
        "{lines:?}"
    );
    assert!(lines[0].contains("refused"), "{lines:?}");
    assert_eq!(lines[1..], ["Error: unhealthy cluster"]);

    let json = health_with_a_closed_port(&etcd, "json");
    assert_eq!(
        (json.code, json.stderr.as_str()),
        (Some(1), "Error: unhealthy cluster\n")
    );
    assert!(json.stdout.contains("\"health\":true,"), "{json:?}");
    assert!(json.stdout.contains("\"health\":false,"), "{json:?}");
    assert_eq!(
        health_with_a_closed_port(&etcd, "table")
            .stdout
            .lines()
            .count(),
        6
    );
}

#[tokio::test]
async fn a_member_without_a_majority_is_unhealthy() {
    let Some(binary) = newest() else { return };
    let cluster = Etcd::builder().binary(&binary).start_cluster(3).await;
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let members = cluster.members();
    members[1].kill();
    members[2].kill();
    let ended = etcdex_on(
        &members[0],
        &["endpoint", "health", "--command-timeout", "500ms"],
    );
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), ""),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("is unhealthy"), "{ended:?}");
}
