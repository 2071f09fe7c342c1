//! `tour`.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use etcdex_testkit::Binary;
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Ended, etcdctl_on, etcdex, is_empty, newest, run, start};

/// The number in front of a line that holds `text`.
#[track_caller]
fn figure(ended: &Ended, text: &str) -> u64 {
    let line = ended.stdout.lines().find(|line| line.contains(text));
    let line = line.unwrap_or_else(|| panic!("nothing says '{text}': {ended:?}"));
    let number = line.split_whitespace().next().expect("the line has words");
    number
        .replace(',', "")
        .parse()
        .unwrap_or_else(|_| panic!("{line}"))
}

#[track_caller]
fn went_to_its_end(ended: &Ended) {
    ended.is_good();
    assert!(ended.took < Duration::from_secs(20), "{ended:?}");
    for text in [
        "1. Connect",
        "put jobs/1 = queued",
        "not done: the condition does not hold, worker-a has it",
        "outcome  Rejected",
        "2,000 puts",
        "2,000 gets",
        "there is another one, by itself",
        "left hanging",
        "The proof",
        "8. Leave all as it was",
    ] {
        assert!(
            ended.stdout.contains(text),
            "nothing says '{text}': {ended:?}"
        );
    }
    assert!(figure(ended, "puts  were told good") > 64, "{ended:?}");
    assert_eq!(figure(ended, "left hanging"), 0);
    // The first column is that of the gets: a read never fails for a lost connection.
    assert_eq!(
        figure(ended, "Unknown: it may have happened"),
        0,
        "{ended:?}"
    );
}

#[tokio::test]
async fn on_a_given_cluster_it_leaves_nothing_and_takes_nothing() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    for value in ["old", "new"] {
        etcdctl_on(&etcd, &["put", "etcdex-tour", value]);
    }
    let told = run(etcdex().args(["tour", "--endpoints", &etcd.endpoint()]));
    went_to_its_end(&told);
    assert!(
        told.stdout.contains(&format!("etcd {}", etcd.version())),
        "{told:?}"
    );
    assert!(told.stdout.contains("FutureRevision"), "{told:?}");
    let all = etcdctl_on(&etcd, &["get", "", "--prefix"]);
    assert_eq!(all.stdout, "etcdex-tour\nnew\n");
    // Nobody's history was compacted.
    let old = etcdctl_on(&etcd, &["get", "etcdex-tour", "--rev", "2"]);
    assert_eq!(old.stdout, "etcdex-tour\nold\n");
}

/// A tour that starts this etcd, below this folder.
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
        .expect("there is a last part")
        .trim()
        .to_owned()
}

#[test]
fn its_own_etcd_is_gone_at_the_end() {
    let Some(binary) = newest() else { return };
    let folder = tempfile::tempdir().expect("there is a folder");
    let told = run(&mut own(&binary, &folder));
    went_to_its_end(&told);
    assert!(told.stdout.contains("Compacted"), "{told:?}");
    let connected = told
        .stdout
        .lines()
        .find(|line| line.contains("connected in"));
    assert!(is_closed(&address(connected.expect("it connected"))));
    assert!(is_empty(folder.path()));
}

/// Reads on until a line holds `text`, and gives where the tour is connected to.
fn read_until(child: &mut Child, text: &str) -> String {
    let mut output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
    let mut connected = None;
    loop {
        let mut line = String::new();
        let read = output.read_line(&mut line).expect("its output can be read");
        assert!(read > 0, "it ended before it said '{text}'");
        if line.contains("connected in") {
            connected = Some(address(&line));
        }
        if line.contains(text) {
            // Still to be read from, or the tour would meet a broken pipe.
            child.stdout = Some(output.into_inner());
            return connected.expect("it connected before that");
        }
    }
}

#[test]
fn an_interrupted_tour_leaves_nothing() {
    let Some(binary) = newest() else { return };
    for (signal, moment) in [(Signal::INT, "7. Lose"), (Signal::TERM, "connected in")] {
        let folder = tempfile::tempdir().expect("there is a folder");
        let mut child = own(&binary, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let address = read_until(&mut child, moment);
        let pid = Pid::from_child(&child);
        kill_process(pid, signal).expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert_eq!(output.stderr, b"Error: interrupted\n");
        assert!(is_closed(&address) && is_empty(folder.path()));
    }
}

#[tokio::test]
async fn an_interrupted_tour_of_a_given_cluster_leaves_nothing() {
    let Some(binary) = newest() else { return };
    let etcd = start(&binary).await;
    let mut child = etcdex()
        .args(["tour", "--endpoints", &etcd.endpoint()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    read_until(&mut child, "64 callers put and get");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let left = etcdctl_on(&etcd, &["get", "", "--prefix", "--keys-only"]);
    assert_eq!(left.stdout, "");
}

#[test]
fn a_reader_that_goes_away_ends_it_cleanly() {
    let Some(binary) = newest() else { return };
    let folder = tempfile::tempdir().expect("there is a folder");
    let mut child = own(&binary, &folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let address = read_until(&mut child, "2. ");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
    assert!(is_closed(&address) && is_empty(folder.path()));
}

#[test]
fn without_an_etcd_it_says_how_to_get_one() {
    let folder = tempfile::tempdir().expect("there is a folder");
    let mut command = etcdex();
    command.arg("tour").env("TMPDIR", folder.path());
    let wrong = run(command.env("ETCDEX_ETCD", folder.path().join("absent")));
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.stderr.starts_with("Error: ETCDEX_ETCD is "),
        "{wrong:?}"
    );
    // Something that is no etcd and ends at once.
    let wrong = run(command.env("ETCDEX_ETCD", env!("CARGO_BIN_EXE_etcdex")));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("its log ends: Error: "), "{wrong:?}");
    assert_eq!(wrong.stderr.lines().count(), 1, "{wrong:?}");
    let none = run(command
        .env_remove("ETCDEX_ETCD")
        .env("PATH", "")
        .env("ETCDEX_ETCD_DIR", folder.path())
        .env("CARGO", folder.path().join("cargo")));
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("cargo xtask etcd") && none.stderr.contains("ETCDEX_ETCD"));
    assert!(is_empty(folder.path()));
}
