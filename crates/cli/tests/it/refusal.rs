//! Whatever is wrong: one line, the right exit code, and soon.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::process::{Ended, etcdex, etcdex_on, newest, run, start};

const SOON: Duration = Duration::from_secs(2);

#[track_caller]
fn refused(ended: &Ended, code: i32, why: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let line = ended.refusal();
    assert!(line.contains(why), "'{line}' does not say '{why}'");
    assert!(ended.took < SOON, "{ended:?}");
}

fn at(endpoints: &str) -> Ended {
    run(etcdex().args(["--endpoints", endpoints, "get", "k"]))
}

#[test]
fn words_that_make_no_sense() {
    let told = |words: &[&str]| run(etcdex().args(words));
    refused(&told(&["get", "k", "--bogus"]), 128, "--bogus");
    refused(&told(&["get", "k", "--perfix"]), 128, "--prefix");
    refused(&told(&["gett", "k"]), 128, "gett");
    refused(&told(&["put", "k", "-v"]), 128, "-- -v");
    refused(&told(&["put", "k", "v", "more"]), 128, "more");
    refused(&told(&["put"]), 128, "<KEY>");
    refused(&told(&["endpoint", "wealth"]), 128, "wealth");
    refused(&told(&["get", "k", "--limit", "x"]), 128, "--limit");
    refused(&told(&["get", "k", "-w"]), 128, "--write-out");
    refused(&told(&["get", "k", "-w", "xml"]), 4, "simple, fields, json");
    refused(&told(&["get", "k", "--order", "up"]), 4, "ASCEND");
    refused(&told(&["get", "k", "--command-timeout", "5"]), 128, "5s");
    refused(&told(&["get", "k", "--prefix=perhaps"]), 128, "--prefix");
}

#[test]
fn endpoints_that_make_no_sense() {
    refused(&at("ftp://127.0.0.1:2379"), 2, "scheme");
    refused(&at("http://"), 2, "host");
    refused(&at("127.0.0.1:port"), 2, "port");
    refused(&at("http://[::1"), 2, "]");
    refused(&at(""), 2, "empty");
    refused(&at("127.0.0.1:1,,"), 2, "empty");
    refused(&at("http://root:hunter2@127.0.0.1"), 2, "password");
    assert!(
        !at("http://root:hunter2@127.0.0.1")
            .stderr
            .contains("hunter2")
    );
}

#[test]
fn variables_that_make_no_sense_are_named() {
    let told = run(etcdex()
        .args(["get", "k"])
        .env("ETCDCTL_DIAL_TIMEOUT", "soon"));
    refused(&told, 128, "ETCDCTL_DIAL_TIMEOUT");
    let told = run(etcdex().args(["get", "k"]).env("ETCDCTL_WRITE_OUT", "xml"));
    refused(&told, 4, "ETCDCTL_WRITE_OUT");
}

/// A server that answers every connection with the same bytes, and hangs up.
fn impostor(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut heard = [0; 1024];
            let _ = stream.read(&mut heard);
            let _ = stream.write_all(answer);
            // Closed with bytes unread, it would be reset, and the answer lost.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    port
}

#[test]
fn what_answers_is_not_etcd() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let silent = listener.local_addr().expect("it is bound").port();
    let closed = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.local_addr().expect("it is bound").port()
    };
    refused(&at(&format!("127.0.0.1:{closed}")), 1, "refused");
    refused(&at("nowhere.invalid:2379"), 1, "nowhere.invalid");
    let web = impostor(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    refused(&at(&format!("127.0.0.1:{web}")), 1, "HTTP/2");
    refused(&at(&format!("127.0.0.1:{}", impostor(b""))), 1, "closed");
    let silent = format!("127.0.0.1:{silent}");
    let told = run(etcdex().args([
        "--endpoints",
        &silent,
        "get",
        "k",
        "--dial-timeout",
        "200ms",
    ]));
    refused(&told, 1, "no answer within 200ms");
}

#[tokio::test]
async fn what_etcd_refuses() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    refused(&etcdex_on(&etcd, &["put", "", "v"]), 1, "empty");
    refused(&etcdex_on(&etcd, &["get", ""]), 1, "empty");
    refused(&etcdex_on(&etcd, &["del", ""]), 1, "empty");
    refused(
        &etcdex_on(&etcd, &["get", "k", "--rev", "99"]),
        1,
        "future revision",
    );
    refused(
        &etcdex_on(&etcd, &["put", "k", "v", "--lease", "1"]),
        1,
        "lease not found",
    );
    let large = "x".repeat(100_000);
    let words = ["put", "k", &large, "--max-request-bytes", "1000"];
    refused(&etcdex_on(&etcd, &words), 1, "max_send_size");
    // The other peer speaks HTTP/1 there.
    let peer = etcd.peer_url();
    let told = at(&peer);
    assert_eq!(told.code, Some(1));
    assert!(
        told.took < SOON && told.refusal().contains(&peer),
        "{told:?}"
    );
}

#[tokio::test]
async fn flags_can_be_variables_and_win_over_them() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    etcdex_on(&etcd, &["put", "k", "v"]).is_good();
    let mut command = etcdex();
    command
        .env("ETCDCTL_ENDPOINTS", etcd.endpoint())
        .env("ETCDCTL_HEX", "true")
        .env("ETCDCTL_API", "3")
        .env("ETCDCTL_WRITE_OUT", "");
    assert_eq!(
        run(command.args(["get", "k"])).is_good().stdout,
        "\\x6b\n\\x76\n"
    );
    let told = run(command.args(["-w", "json"]));
    assert!(told.is_good().stdout.starts_with("{\"header\""), "{told:?}");
    // A flag of etcdctl that is not there may be the one that matters.
    let told = run(command.env("ETCDCTL_DISCOVERY_SRV", "ca.pem"));
    assert_eq!(told.code, Some(0));
    assert!(
        told.stderr.starts_with("Warning: ETCDCTL_DISCOVERY_SRV"),
        "{told:?}"
    );
}

#[tokio::test]
async fn who_reads_no_further_makes_no_error() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    // More than a pipe holds.
    let large = "x".repeat(100_000);
    for key in ["1", "2", "3"] {
        etcdex_on(&etcd, &["put", key, &large]).is_good();
    }
    let mut child = etcdex()
        .args(["--endpoints", &etcd.endpoint(), "get", "", "--prefix"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut pipe = child.stdout.take().expect("its output is a pipe");
    pipe.read_exact(&mut [0; 1]).expect("it writes");
    drop(pipe);
    let output = child.wait_with_output().expect("it ends");
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
        let told = run(etcdex().args(words));
        assert!(told.is_good().stdout.contains("Usage: etcdex"), "{told:?}");
    }
    let codes = run(etcdex().arg("--help"));
    assert!(codes.stdout.contains("Exit codes:"), "{codes:?}");
    let version = run(etcdex().arg("version"));
    let expected = format!(
        "etcdex version: {}\nAPI version: 3.7\n",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(version.is_good().stdout, expected);
}

#[test]
fn flags_of_security_that_make_no_sense() {
    let told = |words: &[&str]| run(etcdex().args(words));
    refused(&told(&["get", "k", "--user", "root"]), 128, "--password");
    refused(&told(&["get", "k", "--password", "p"]), 128, "--user");
    refused(&told(&["get", "k", "--cert", "c.pem"]), 128, "--key");
    let missing = told(&["get", "k", "--cacert", "/nonexistent/ca.pem"]);
    refused(&missing, 2, "ca.pem");
    let told = told(&[
        "get",
        "k",
        "--user",
        "root:hunter2",
        "--endpoints",
        "127.0.0.1:1",
    ]);
    refused(&told, 1, "refused");
    assert!(!told.stderr.contains("hunter2"));
}
