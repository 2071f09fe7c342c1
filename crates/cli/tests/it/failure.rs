//! Failures: each is one line, with the right exit code, without a long wait.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::thread;
use std::time::Duration;

use crate::process::{Ended, etcdex, etcdex_on, newest, run, spawn, start};

/// Time limit of every failure here.
const LIMIT: Duration = Duration::from_secs(2);

#[track_caller]
fn failed(ended: &Ended, code: i32, reason: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let line = ended.error_line();
    assert!(
        line.contains(reason),
        "'{line}' does not contain '{reason}'"
    );
    assert!(ended.took < LIMIT, "{ended:?}");
}

fn at(endpoints: &str) -> Ended {
    run(etcdex().args(["--endpoints", endpoints, "get", "k"]))
}

#[test]
fn invalid_arguments() {
    let run_with = |words: &[&str]| run(etcdex().args(words));
    failed(&run_with(&["get", "k", "--bogus"]), 128, "--bogus");
    failed(&run_with(&["get", "k", "--perfix"]), 128, "--prefix");
    failed(&run_with(&["gett", "k"]), 128, "gett");
    failed(&run_with(&["put", "k", "-v"]), 128, "-- -v");
    failed(&run_with(&["put", "k", "v", "more"]), 128, "more");
    failed(&run_with(&["put"]), 128, "<KEY>");
    failed(&run_with(&["endpoint", "wealth"]), 128, "wealth");
    failed(&run_with(&["get", "k", "--limit", "x"]), 128, "--limit");
    failed(&run_with(&["get", "k", "-w"]), 128, "--write-out");
    failed(
        &run_with(&["get", "k", "-w", "xml"]),
        4,
        "simple, fields, json",
    );
    failed(&run_with(&["get", "k", "--order", "up"]), 4, "ASCEND");
    failed(
        &run_with(&["get", "k", "--command-timeout", "5"]),
        128,
        "5s",
    );
    failed(
        &run_with(&["get", "k", "--prefix=perhaps"]),
        128,
        "--prefix",
    );
}

#[test]
fn invalid_endpoints() {
    failed(&at("ftp://127.0.0.1:2379"), 2, "scheme");
    failed(&at("http://"), 2, "host");
    failed(&at("127.0.0.1:port"), 2, "port");
    failed(&at("http://[::1"), 2, "]");
    failed(&at(""), 2, "empty");
    failed(&at("127.0.0.1:1,,"), 2, "empty");
    failed(&at("http://root:hunter2@127.0.0.1"), 2, "password");
    assert!(
        !at("http://root:hunter2@127.0.0.1")
            .stderr
            .contains("hunter2")
    );
}

#[test]
fn invalid_variables_are_named() {
    let ended = run(etcdex()
        .args(["get", "k"])
        .env("ETCDCTL_DIAL_TIMEOUT", "soon"));
    failed(&ended, 128, "ETCDCTL_DIAL_TIMEOUT");
    let ended = run(etcdex().args(["get", "k"]).env("ETCDCTL_WRITE_OUT", "xml"));
    failed(&ended, 4, "ETCDCTL_WRITE_OUT");
}

/// Starts a server that answers every connection with the same bytes, and then closes it.
fn fake_server(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let port = listener.local_addr().expect("the listener is bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut heard = [0; 1024];
            let _ = stream.read(&mut heard);
            let _ = stream.write_all(answer);
            // A close with unread bytes would reset the connection, and the answer would be lost.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    port
}

#[test]
fn servers_that_are_not_etcd() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let silent = listener.local_addr().expect("the listener is bound").port();
    let closed = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.local_addr().expect("the listener is bound").port()
    };
    failed(&at(&format!("127.0.0.1:{closed}")), 1, "refused");
    failed(&at("nowhere.invalid:2379"), 1, "nowhere.invalid");
    let web = fake_server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    failed(&at(&format!("127.0.0.1:{web}")), 1, "HTTP/2");
    failed(&at(&format!("127.0.0.1:{}", fake_server(b""))), 1, "closed");
    let silent = format!("127.0.0.1:{silent}");
    let ended = run(etcdex().args([
        "--endpoints",
        &silent,
        "get",
        "k",
        "--dial-timeout",
        "200ms",
    ]));
    failed(&ended, 1, "no answer within 200ms");
}

#[tokio::test]
async fn requests_that_etcd_refuses() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    failed(&etcdex_on(&etcd, &["put", "", "v"]), 1, "empty");
    failed(&etcdex_on(&etcd, &["get", ""]), 1, "empty");
    failed(&etcdex_on(&etcd, &["del", ""]), 1, "empty");
    failed(
        &etcdex_on(&etcd, &["get", "k", "--rev", "99"]),
        1,
        "future revision",
    );
    failed(
        &etcdex_on(&etcd, &["put", "k", "v", "--lease", "1"]),
        1,
        "lease not found",
    );
    let large = "x".repeat(100_000);
    let words = ["put", "k", &large, "--max-request-bytes", "1000"];
    failed(&etcdex_on(&etcd, &words), 1, "max_send_size");
    // The peer URL serves HTTP/1.
    let peer = etcd.peer_url();
    let ended = at(&peer);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.took < LIMIT && ended.error_line().contains(&peer),
        "{ended:?}"
    );
}

#[tokio::test]
async fn flags_can_be_variables_and_win_over_them() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    etcdex_on(&etcd, &["put", "k", "v"]).succeeded();
    let mut command = etcdex();
    command
        .env("ETCDCTL_ENDPOINTS", etcd.endpoint())
        .env("ETCDCTL_HEX", "true")
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_WRITE_OUT", "");
    assert_eq!(
        run(command.args(["get", "k"])).succeeded().stdout,
        "\\x6b\n\\x76\n"
    );
    let ended = run(command.args(["-w", "json"]));
    assert!(
        ended.succeeded().stdout.starts_with("{\"header\""),
        "{ended:?}"
    );
    // A variable of etcdctl that the command does not support causes a warning.
    let ended = run(command.env("ETCDCTL_DISCOVERY_SRV", "ca.pem"));
    assert_eq!(ended.code, Some(0));
    assert!(
        ended.stderr.starts_with("Warning: ETCDCTL_DISCOVERY_SRV"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_closed_output_is_no_error() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    // Larger than the buffer of a pipe.
    let large = "x".repeat(100_000);
    for key in ["1", "2", "3"] {
        etcdex_on(&etcd, &["put", key, &large]).succeeded();
    }
    let words = ["--endpoints", &etcd.endpoint(), "get", "", "--prefix"];
    let mut child = spawn(etcdex().args(words));
    let mut pipe = child.stdout.take().expect("the output is a pipe");
    pipe.read_exact(&mut [0; 1]).expect("the command writes");
    drop(pipe);
    let output = child.wait_with_output().expect("the command ends");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn help_and_version_are_no_errors() {
    for words in [
        ["--help"].as_slice(),
        &["-h"],
        &[],
        &["put", "--help"],
        &["help", "get"],
        &["endpoint"],
        &["endpoint", "health", "-h"],
        &["tour", "--help"],
    ] {
        let ended = run(etcdex().args(words));
        assert!(
            ended.succeeded().stdout.contains("Usage: etcdex"),
            "{ended:?}"
        );
    }
    for words in [["--help"].as_slice(), &["put", "--help"]] {
        let help = run(etcdex().args(words).env("ETCDCTL_PASSWORD", "hunter2"));
        assert!(help.succeeded().stdout.contains("ETCDCTL_PASSWORD"));
        assert!(!help.stdout.contains("hunter2"), "{help:?}");
    }
    let codes = run(etcdex().arg("--help"));
    assert!(codes.stdout.contains("Exit codes:"), "{codes:?}");
    let version = run(etcdex().arg("version"));
    let expected = format!(
        "etcdex version: {}\nAPI version: 3.7\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(version.succeeded().stdout, expected);
}

#[test]
fn invalid_flags_of_security() {
    let run_with = |words: &[&str]| run(etcdex().args(words));
    failed(
        &run_with(&["get", "k", "--user", "root"]),
        128,
        "--password",
    );
    failed(&run_with(&["get", "k", "--password", "p"]), 128, "--user");
    failed(&run_with(&["get", "k", "--cert", "c.pem"]), 128, "--key");
    let missing = run_with(&["get", "k", "--cacert", "/nonexistent/ca.pem"]);
    failed(&missing, 2, "ca.pem");
    let ended = run_with(&[
        "get",
        "k",
        "--user",
        "root:hunter2",
        "--endpoints",
        "127.0.0.1:1",
    ]);
    failed(&ended, 1, "refused");
    assert!(!ended.stderr.contains("hunter2"));
}
