//! The pages that etcd serves over HTTP/1.1 on the port of its clients: `/health`, `/version` and
//! `/metrics`.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::maintenance::{STORAGE_VERSION, VERSION};
use crate::node::Node;
use crate::store::{Alarm, AlarmKind};

/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 8 << 10;

/// How long a client may take for a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a connection that begins with this byte is one of HTTP/1.1: a GET or a HEAD. The first byte
/// of HTTP/2 is another one.
pub(crate) fn begins_with(byte: u8) -> bool {
    matches!(byte, b'G' | b'H')
}

/// Answers one request, and ends.
pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    node: &Node,
) -> io::Result<()> {
    let answer = async {
        let head = read_head(&mut stream).await?;
        let page = page(&head, node);
        stream.write_all(page.as_bytes()).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(TIMEOUT, answer).await?
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut part).await?;
        if count == 0 || head.len() + count > LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&part[..count]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Returns the response to a request.
fn page(head: &str, node: &Node) -> String {
    let mut words = head.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let plain = "text/plain; charset=utf-8";
    let (status, kind, body) = match path {
        _ if method != Some("GET") => {
            let body = "Method Not Allowed\n".to_owned();
            ("405 Method Not Allowed", plain, body)
        }
        "/health" => health(node),
        "/version" => ("200 OK", "application/json", version()),
        "/metrics" => ("200 OK", "text/plain; version=0.0.4", metrics(node)),
        _ => ("404 Not Found", plain, "404 page not found\n".to_owned()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A server with an alarm is not healthy.
fn health(node: &Node) -> (&'static str, &'static str, String) {
    let (status, is_healthy, reason) = match node.store().alarms().next() {
        None => ("200 OK", true, ""),
        Some(Alarm { kind, .. }) => ("503 Service Unavailable", false, reason(kind)),
    };
    let body = format!("{{\"health\":\"{is_healthy}\",\"reason\":\"{reason}\"}}");
    (status, "application/json", body)
}

fn reason(alarm: AlarmKind) -> &'static str {
    match alarm {
        AlarmKind::NoSpace => "ALARM NOSPACE",
        AlarmKind::Corrupt => "ALARM CORRUPT",
    }
}

fn version() -> String {
    format!(
        "{{\"etcdserver\":\"{VERSION}\",\"etcdcluster\":\"{STORAGE_VERSION}\",\"storage\":\"{STORAGE_VERSION}\"}}"
    )
}

/// Returns some of etcd's metrics, in the text format of Prometheus.
fn metrics(node: &Node) -> String {
    let store = node.store();
    let gauges = [
        (
            "etcd_server_has_leader",
            "Whether or not a leader exists. 1 is existence, 0 is not.",
            1,
        ),
        (
            "etcd_server_is_leader",
            "Whether or not this member is a leader. 1 if is, 0 otherwise.",
            1,
        ),
        (
            "etcd_debugging_mvcc_keys_total",
            "Total number of keys.",
            store.keys(),
        ),
        (
            "etcd_debugging_mvcc_watcher_total",
            "Total number of watchers.",
            store.watchers(),
        ),
        (
            "etcd_mvcc_db_total_size_in_bytes",
            "Size of the store in bytes.",
            store.size(),
        ),
    ];
    let mut text = String::new();
    for (name, help, value) in gauges {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
        );
    }
    text
}
