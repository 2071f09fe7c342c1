//! `tour`.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use etcdex_testkit::Binary;
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Ended, etcdctl_on, etcdex, is_empty, newest, run, spawn, start};

/// The number at the beginning of the line that contains `text`.
#[track_caller]
fn figure(ended: &Ended, text: &str) -> u64 {
    let line = ended.stdout.lines().find(|line| line.contains(text));
    let line = line.unwrap_or_else(|| panic!("no line contains '{text}': {ended:?}"));
    let number = line.split_whitespace().next().expect("the line has words");
    number
        .replace(',', "")
        .parse()
        .unwrap_or_else(|_| panic!("{line}"))
}

#[track_caller]
pub(crate) fn is_complete(ended: &Ended) {
    ended.succeeded();
    assert!(ended.took < Duration::from_secs(20), "{ended:?}");
    for text in [
        "1. Connect",
        "put jobs/1 = queued",
        "not done: the condition does not hold, jobs/1/by is worker-a",
        "outcome  Rejected",
        "2,000 puts",
        "2,000 gets",
        "the client has connected again",
        "no result",
        "The check",
        "8. Clean up",
    ] {
        assert!(
            ended.stdout.contains(text),
            "no line contains '{text}': {ended:?}"
        );
    }
    assert!(figure(ended, "puts  returned Ok") > 64, "{ended:?}");
    assert_eq!(figure(ended, "no result"), 0);
    // The first column counts gets: a lost connection fails no read.
    assert_eq!(
        figure(ended, "Unknown: it may have been applied"),
        0,
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_tour_of_a_given_cluster_keeps_its_keys_and_its_history() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for value in ["old", "new"] {
        etcdctl_on(&etcd, &["put", "etcdex-tour", value]);
    }
    let ended = run(etcdex().args(["tour", "--endpoints", &etcd.endpoint()]));
    is_complete(&ended);
    assert!(
        ended.stdout.contains(&format!("etcd {}", etcd.version())),
        "{ended:?}"
    );
    assert!(ended.stdout.contains("FutureRevision"), "{ended:?}");
    let all = etcdctl_on(&etcd, &["get", "", "--prefix"]);
    assert_eq!(all.stdout, "etcdex-tour\nnew\n");
    // The tour has not compacted the history of another user.
    let old = etcdctl_on(&etcd, &["get", "etcdex-tour", "--rev", "2"]);
    assert_eq!(old.stdout, "etcdex-tour\nold\n");
}

/// A tour that starts this etcd, with its data below this folder.
fn own(binary: &Binary, folder: &tempfile::TempDir) -> Command {
    let mut command = etcdex();
    command
        .arg("tour")
        .env("ETCDEX_ETCD", binary.etcd())
        .env("TMPDIR", folder.path());
    command
}

fn is_closed(address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap_or_else(|_| panic!("{address}"));
    TcpStream::connect(address).is_err()
}

fn address(line: &str) -> String {
    line.rsplit(" at ")
        .next()
        .expect("the line has an address")
        .trim()
        .to_owned()
}

#[test]
fn a_tour_stops_its_own_etcd() {
    let Some(binary) = newest() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let ended = run(&mut own(&binary, &folder));
    is_complete(&ended);
    assert!(ended.stdout.contains("Compacted"), "{ended:?}");
    let connected = ended
        .stdout
        .lines()
        .find(|line| line.contains("connected in"));
    assert!(is_closed(&address(
        connected.expect("the tour has connected")
    )));
    assert!(is_empty(folder.path()));
}

/// Reads the output up to a line that contains `text`. Returns the address of the tour's server.
fn read_until(child: &mut Child, text: &str) -> String {
    let mut output = BufReader::new(child.stdout.take().expect("the output is a pipe"));
    let mut connected = None;
    loop {
        let mut line = String::new();
        let read = output.read_line(&mut line).expect("the output can be read");
        assert!(read > 0, "the tour ended before it printed '{text}'");
        if line.contains("connected in") {
            connected = Some(address(&line));
        }
        if line.contains(text) {
            // The pipe stays open: a closed one would end the tour.
            child.stdout = Some(output.into_inner());
            return connected.expect("the tour has connected");
        }
    }
}

#[test]
fn an_interrupted_tour_leaves_nothing() {
    let Some(binary) = newest() else { return };
    for (signal, moment) in [(Signal::INT, "7. Lose"), (Signal::TERM, "connected in")] {
        let folder = tempfile::tempdir().expect("a temporary folder is made");
        let mut child = spawn(&mut own(&binary, &folder));
        let address = read_until(&mut child, moment);
        let pid = Pid::from_child(&child);
        kill_process(pid, signal).expect("the tour runs");
        let output = child.wait_with_output().expect("the tour ends");
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert_eq!(output.stderr, b"Error: interrupted\n");
        assert!(is_closed(&address) && is_empty(folder.path()));
    }
}

#[tokio::test]
async fn an_interrupted_tour_of_a_given_cluster_leaves_nothing() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    let mut child = spawn(etcdex().args(["tour", "--endpoints", &etcd.endpoint()]));
    read_until(&mut child, "64 callers put and get");
    kill_process(Pid::from_child(&child), Signal::INT).expect("the tour runs");
    let output = child.wait_with_output().expect("the tour ends");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let left = etcdctl_on(&etcd, &["get", "", "--prefix", "--keys-only"]);
    assert_eq!(left.stdout, "");
}

#[test]
fn a_closed_output_ends_the_tour_cleanly() {
    let Some(binary) = newest() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let mut child = spawn(&mut own(&binary, &folder));
    let address = read_until(&mut child, "2. ");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the tour ends");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
    assert!(is_closed(&address) && is_empty(folder.path()));
}

#[test]
fn a_tour_with_a_wrong_etcd_says_so() {
    let folder = tempfile::tempdir().expect("a temporary folder is made");
    let mut command = etcdex();
    command.arg("tour").env("TMPDIR", folder.path());
    let wrong = run(command.env("ETCDEX_ETCD", folder.path().join("absent")));
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.stderr.starts_with("Error: ETCDEX_ETCD is "),
        "{wrong:?}"
    );
    // A program that is not etcd, and ends at once.
    let wrong = run(command.env("ETCDEX_ETCD", env!("CARGO_BIN_EXE_etcdex")));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("its log ends: Error: "), "{wrong:?}");
    assert_eq!(wrong.stderr.lines().count(), 1, "{wrong:?}");
    assert!(is_empty(folder.path()));
}

#[test]
fn a_tour_applies_the_flags_of_tls_to_its_endpoints() {
    let arguments = ["tour", "--endpoints", "127.0.0.1:1"];
    let missing = run(etcdex()
        .args(arguments)
        .args(["--cacert", "/nonexistent/ca.pem"]));
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("ca.pem"), "{missing:?}");
}
