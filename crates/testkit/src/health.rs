//! Plain HTTP requests to an etcd.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time-out of a request.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns whether the server answers a linearizable read: there is a leader, and the server has
/// caught up.
pub(crate) async fn is_healthy(port: u16) -> bool {
    // Without alarms: a server with an alarm counts as healthy after a restart.
    let answer = ask(port, "/health?exclude=NOSPACE&exclude=CORRUPT").await;
    answer.is_ok_and(|body| body.contains(r#""health":"true""#))
}

/// Returns the body at this path.
pub(crate) async fn ask(port: u16, path: &str) -> io::Result<String> {
    match timeout(PATIENCE, exchange(port, path)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer to {path} within {PATIENCE:?}"),
        )),
    }
}

async fn exchange(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    // By HTTP/1.0 the answer comes in one piece and ends with the connection.
    let question = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(format!(
            "{path} was answered by: {}",
            answer.lines().next().unwrap_or("nothing")
        ))),
    }
}
