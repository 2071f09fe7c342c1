//! Real etcdctl, run against real etcd and against the embedded server: its output is the same.

use std::time::Duration;

use etcdex_server::Server;
use etcdex_testkit::{Binaries, Etcd, left_out};
use tokio::process::Command;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);

/// Commands in their order. Each is run as it stands; `ID` is the lease that the first one grants.
const COMMANDS: &[&str] = &[
    "lease grant 600",
    "put k v --lease=ID",
    "put k2 v2",
    "put k3 v3 --prev-kv",
    "put k3 v4 --prev-kv",
    "put k3 --ignore-value",
    "put none --ignore-value",
    "get k",
    "get k --prefix",
    "get k --prefix --keys-only --order=DESCEND",
    "get k --prefix --count-only",
    "get k --prefix --limit=1 -w=fields",
    "get k2 k3",
    "get k2 --from-key",
    "get k --rev=1000",
    "get missing",
    "lease timetolive ID --keys",
    "lease list",
    "lease keep-alive ID --once",
    "lease timetolive 1234",
    "lease revoke 1234",
    "del k2",
    "del missing",
    "del k --prefix --prev-kv",
    "compaction 5",
    "compaction 5",
    "compaction 1000",
    "get k --rev=2",
    "lease revoke ID",
    "watch k3 --rev=2",
    "member list",
    "member remove 1234",
    "member promote 1234",
    "endpoint health",
    "alarm list",
    "alarm disarm",
    "defrag",
    "move-leader 1234",
    "downgrade validate 3.6",
    "downgrade validate 3.2",
    "downgrade validate nonsense",
    "downgrade cancel",
    "lock l echo locked",
    "lock l --ttl=5 echo again",
    "role add reader",
    "role add reader",
    "role grant-permission reader read k",
    "role grant-permission reader readwrite a z",
    "role grant-permission reader write p --prefix",
    "role grant-permission nobody read k",
    "role get reader",
    "role get nobody",
    "role list",
    "role revoke-permission reader k",
    "role revoke-permission reader k",
    "user add alice --new-user-password=secret",
    "user add alice --new-user-password=secret",
    "user add bob --no-password",
    "user add root --new-user-password=rootpw",
    "user grant-role alice reader",
    "user grant-role alice nobody",
    "user grant-role nobody reader",
    "user get alice",
    "user get alice --detail",
    "user list",
    "auth status",
    "auth enable",
    "user grant-role root root",
    "role add root",
    "auth enable",
    "auth enable --user=root:rootpw",
    "get k",
    "get k --user=alice:wrong",
    "get k --user=alice:secret",
    "get b --user=alice:secret",
    "put b 1 --user=alice:secret",
    "put x 1 --user=alice:secret",
    "put pa 1 --user=alice:secret",
    "get pa --user=alice:secret",
    "put pa 2 --prev-kv --user=alice:secret",
    "del b --user=alice:secret",
    "user list --user=alice:secret",
    "user get alice --user=alice:secret",
    "user get root --user=alice:secret",
    "role get reader --user=alice:secret",
    "role get root --user=alice:secret",
    "get b --user=bob:x",
    "lease grant 60",
    "compaction 8 --user=alice:secret",
    "member list --user=alice:secret",
    "alarm list --user=alice:secret",
    "defrag --user=alice:secret",
    "watch x --user=alice:secret",
    "user delete root --user=root:rootpw",
    "user revoke-role root root --user=root:rootpw",
    "role delete root --user=root:rootpw",
    "user passwd alice --interactive=false --user=root:rootpw",
    "user delete alice --user=root:rootpw",
    "role delete reader --user=root:rootpw",
    "user list --user=root:rootpw",
    "role list --user=root:rootpw",
    "auth disable --user=root:rootpw",
    "auth status",
    "get b",
];

/// Runs all commands, and returns what each one prints, without what differs between two clusters.
async fn play(etcdctl: &std::path::Path, endpoint: &str) -> Vec<String> {
    let mut lease = String::new();
    let mut told = Vec::new();
    for line in COMMANDS {
        let line = line.replace("ID", &lease);
        let mut command = Command::new(etcdctl);
        command.args(line.split(' ')).env("ETCDCTL_API", "3");
        command.arg(format!("--endpoints={endpoint}"));
        command.args(["--dial-timeout=20s", "--command-timeout=20s"]);
        command
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let is_watch = line.starts_with("watch");
        let patience = if is_watch {
            Duration::from_secs(1)
        } else {
            DEADLINE
        };
        let Ok(output) = timeout(patience, command.output()).await else {
            assert!(is_watch, "{line}");
            // The watch goes on, so it was not refused.
            told.push(format!("{line}: goes on"));
            continue;
        };
        let output = output.unwrap();
        let (out, error) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        if lease.is_empty() {
            lease = out.split(' ').nth(1).unwrap().to_owned();
        }
        // The other lines are etcdctl's log.
        let error: Vec<&str> = error
            .lines()
            .filter(|line| !line.starts_with('{'))
            .collect();
        let code = output.status.code();
        let text = format!("{line}: {code:?} {out} {}", error.join("\n"));
        told.push(masked(&text, endpoint));
    }
    told
}

/// Replaces the endpoint, IDs, and durations.
fn masked(text: &str, endpoint: &str) -> String {
    let address = endpoint.trim_start_matches("http://");
    let text = text
        .replace(endpoint, "ENDPOINT")
        .replace(address, "ADDRESS");
    // The embedded server has no address for other members.
    let text = match text.split_once("http://127.0.0.1:") {
        Some((before, after)) => {
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}{after}")
        }
        None => text,
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    let mut masked = String::new();
    let mut rest = &text[..];
    while !rest.is_empty() {
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        masked.push_str(match word {
            _ if is_id(word) => "ID",
            // A second or two may pass between the commands.
            _ if masked.ends_with("remaining(") && word.ends_with('s') => "TIME",
            _ if word.trim_end_matches('.').ends_with("ms")
                && word.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                "TIME"
            }
            _ => word,
        });
        let other = after.chars().next().map_or(0, char::len_utf8);
        masked.push_str(&after[..other]);
        rest = &after[other..];
    }
    masked
}

/// Whether a word is the ID of a member, a cluster or a lease, in hexadecimal or decimal digits.
fn is_id(word: &str) -> bool {
    word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcdctl_says_the_same_about_real_etcd() {
    let binaries = Binaries::for_tests();
    let Some(newest) = binaries.newest() else {
        return left_out("it needs real etcd");
    };
    for binary in binaries.all() {
        // The older ones have other commands.
        let Some(etcdctl) = binary
            .etcdctl()
            .filter(|_| binary.version().is_at_least(3, 5))
        else {
            continue;
        };
        let real = Etcd::start(newest).await.unwrap();
        let server = Server::builder().name("n1").start().await.unwrap();
        let (endpoint, url) = (real.endpoint(), server.client_url());
        let (expected, found) = tokio::join!(play(&etcdctl, &endpoint), play(&etcdctl, &url));
        let differences: Vec<String> = found
            .iter()
            .zip(&expected)
            .filter(|(found, expected)| found != expected)
            .map(|(found, expected)| format!("found {found}\n etcd {expected}"))
            .collect();
        let all = differences.join("\n");
        assert!(
            differences.is_empty(),
            "etcdctl {}:\n{all}",
            binary.version()
        );
    }
}
