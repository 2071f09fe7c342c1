//! `serve`, and the tour of the embedded server. These need no etcd.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use etcdex_testkit::Authority;
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{etcdex, run, spawn};

fn serve(arguments: &[&str]) -> Command {
    let mut command = etcdex();
    command.arg("serve").args(arguments);
    command
}

#[test]
fn it_says_where_it_serves_and_ends_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = spawn(&mut serve(&["--listen-client-urls=http://127.0.0.1:0"]));
        let mut output = BufReader::new(child.stdout.take().expect("the output is a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it prints a line");
        let url = line.trim_end().strip_prefix("ready: ").expect(&line);
        let on = |arguments: &[&str]| run(etcdex().args(arguments).args(["--endpoints", url]));
        assert_eq!(on(&["put", "k", "v"]).stdout, "OK\n");
        assert_eq!(on(&["get", "k"]).stdout, "k\nv\n");
        on(&["endpoint", "health"]).succeeded();
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.stderr, b"", "{ended:?}");
    }
}

#[test]
fn it_serves_tls_and_wants_certificates_of_clients() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("the authority");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        path.display().to_string()
    };
    let (server, user) = (authority.pair(&["127.0.0.1"]), authority.user_pair("root"));
    let ca = write("ca.pem", &authority.pem);
    let mut child = spawn(&mut serve(&[
        "--listen-client-urls=https://127.0.0.1:0",
        "--cert-file",
        &write("server.pem", &server.certificate),
        "--key-file",
        &write("server-key.pem", &server.key),
        "--trusted-ca-file",
        &ca,
        "--client-cert-auth",
    ]));
    let mut output = BufReader::new(child.stdout.take().expect("the output is a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it prints a line");
    let url = line.trim_end().strip_prefix("ready: ").expect(&line);
    assert!(url.starts_with("https://"), "{url}");
    let certificate = write("user.pem", &user.certificate);
    let key = write("user-key.pem", &user.key);
    let on = |arguments: &[&str]| {
        let tls = ["--cacert", &ca, "--cert", &certificate, "--key", &key];
        run(etcdex()
            .args(arguments)
            .args(tls)
            .args(["--endpoints", url]))
    };
    assert_eq!(on(&["put", "k", "v"]).stdout, "OK\n");
    let anonymous = run(etcdex().args(["get", "k", "--cacert", &ca, "--endpoints", url]));
    assert_ne!(anonymous.code, Some(0), "{anonymous:?}");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

#[test]
fn flags_of_other_servers_are_refused_with_a_reason() {
    let cases = [
        (
            &["--data-dir", "x"][..],
            "--data-dir: the server keeps its keys in memory",
        ),
        (
            &["--initial-cluster=a=b"],
            "--initial-cluster: the server is one node",
        ),
        (&["--cert-file=x"], "--key-file"),
        (
            &["--auto-tls"],
            "--auto-tls: the server makes no certificates",
        ),
        (
            &["--cert-file=x", "--key-file=x", "--client-cert-auth"],
            "--trusted-ca-file",
        ),
        (
            &[
                "--listen-client-urls=https://127.0.0.1:0",
                "--cert-file=/absent",
                "--key-file=/absent",
            ],
            "--cert-file '/absent'",
        ),
        (
            &["--cert-file=/absent", "--key-file=/absent"],
            "has to begin with https://",
        ),
        (
            &["--auto-compaction-retention=soon"],
            "--auto-compaction-retention 'soon'",
        ),
        (
            &[
                "--auto-compaction-mode=revision",
                "--auto-compaction-retention=1h",
            ],
            "expected a number of revisions",
        ),
        (
            &["--listen-client-urls=https://127.0.0.1:0"],
            "needs --cert-file",
        ),
        (&["--listen-client-urls=127.0.0.1:0"], "expected http://"),
        (&["--min-lease-ttl=soon"], "--min-lease-ttl"),
        (&["--no-such-flag"], "--no-such-flag"),
    ];
    for (arguments, reason) in cases {
        let ended = run(&mut serve(arguments));
        assert_eq!(ended.code, Some(128), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{ended:?}");
        assert_eq!(ended.stdout, "", "{ended:?}");
    }
}

#[test]
fn an_address_in_use_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", taken.local_addr().expect("an address"));
    let ended = run(&mut serve(&["--listen-client-urls", &url]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("cannot listen on"), "{ended:?}");
}

#[test]
fn a_tour_needs_no_etcd() {
    let ended = run(etcdex()
        .arg("tour")
        .env_remove("ETCDEX_ETCD")
        .env("PATH", ""));
    crate::tour::is_complete(&ended);
    assert!(ended.stdout.contains("the embedded server"), "{ended:?}");
    assert!(
        ended.stdout.contains("stopped the tour's server"),
        "{ended:?}"
    );
}
