//! A list of calls with their expected replies, on the embedded server and on every version of etcd.
//!
//! The expected replies are those of etcd 3.7.3, in `conformance/expected.txt`; `ETCDEX_BLESS=1` writes the
//! file anew from it. A reply of an older version that differs has to be in `DIFFERENCES`.

mod calls;

use std::collections::HashMap;
use std::path::PathBuf;

use etcdex_server::Server;
use etcdex_testkit::{Binaries, Etcd, Version, left_out};

/// The version whose replies the embedded server gives.
const NEWEST: Version = version(7, 3);

const fn version(minor: u32, patch: u32) -> Version {
    Version {
        major: 3,
        minor,
        patch,
    }
}

/// Replies of versions before this one.
struct Difference {
    call: &'static str,
    before: Version,
    reply: &'static str,
    reason: &'static str,
}

const DIFFERENCES: &[Difference] = &[Difference {
    call: "whether users are needed",
    before: version(5, 0),
    reply: "error 12, unknown method AuthStatus for service etcdserverpb.Auth",
    reason: "the method is new in 3.5",
}];

/// Returns the reply that a version gives, and why it differs.
fn difference(call: &str, asked: Version) -> Option<&'static Difference> {
    let of_call = DIFFERENCES.iter().filter(|one| one.call == call);
    of_call
        .filter(|one| asked < one.before)
        .min_by_key(|one| one.before)
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance/expected.txt")
}

/// Returns the expected replies by the names of their calls.
fn expected() -> HashMap<String, String> {
    let text = std::fs::read_to_string(file()).unwrap();
    let lines = text.lines().map(|line| {
        let (call, reply) = line.split_once(": ").expect(line);
        (call.to_owned(), reply.to_owned())
    });
    lines.collect()
}

/// Asserts that the replies are the expected ones.
fn check(name: &str, asked: Version, replies: &[(&'static str, String)]) {
    let expected = expected();
    assert_eq!(expected.len(), replies.len(), "each call has a line");
    let mut wrong = Vec::new();
    for (call, found) in replies {
        let newest = expected.get(*call).expect(call);
        match difference(call, asked) {
            None if found != newest => {
                wrong.push(format!("{call}:\n  found    {found}\n  expected {newest}"));
            }
            // An excuse that is not needed is a fault of the table.
            Some(one) if found == newest => {
                wrong.push(format!(
                    "{call}: no difference; the table says {}",
                    one.reason
                ));
            }
            Some(one) if found != one.reply => {
                let reply = one.reply;
                wrong.push(format!("{call}:\n  found    {found}\n  the table {reply}"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_embedded_server_gives_the_expected_replies() {
    let server = Server::builder().start().await.unwrap();
    let replies = calls::replies(&server.client_url()).await;
    check("the embedded server", NEWEST, &replies);
}

#[tokio::test]
async fn every_version_of_etcd_gives_the_expected_replies_but_for_known_differences() {
    let binaries = Binaries::for_tests();
    if binaries.newest().is_none() {
        return left_out("it needs real etcd");
    }
    let is_blessed = std::env::var_os("ETCDEX_BLESS").is_some();
    for binary in binaries.all() {
        let etcd = Etcd::builder().binary(binary).args(["--bcrypt-cost=4"]);
        let etcd = etcd.start().await.unwrap();
        let replies = calls::replies(&etcd.endpoint()).await;
        if is_blessed {
            if binary.version() == NEWEST {
                let lines = replies
                    .iter()
                    .map(|(call, reply)| format!("{call}: {reply}\n"));
                std::fs::write(file(), lines.collect::<String>()).unwrap();
            }
            continue;
        }
        check(&binary.version().to_string(), binary.version(), &replies);
    }
}
