//! Clients that make the server keep much: it keeps no more than its bounds, and serves others.

use std::time::Duration;

use bytes::Bytes;
use etcdex::Client;
use etcdex_proto::etcdserverpb as pb;
use etcdex_proto::method::kv;
use etcdex_server::Server;
use h2::client::SendRequest;
use http::Request;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::raw::{connect, framed};

const DEADLINE: Duration = Duration::from_secs(60);
const MEGABYTE: usize = 1 << 20;

/// Returns the memory of this process in bytes, where the system tells.
pub(crate) fn memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

async fn start() -> (Server, Client, SendRequest<Bytes>) {
    let server = Server::builder().start().await.unwrap();
    let client = Client::connect(server.client_url()).await.unwrap();
    let hostile = connect(&server.client_url()).await;
    (server, client, hostile)
}

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://server{path}"))
        .header("content-type", "application/grpc")
        .body(())
        .unwrap()
}

/// One key is read at once, and a range in steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_that_nobody_reads_are_bounded_and_come_when_they_are_read() {
    for range_end in ["", "l"] {
        replies_are_bounded(range_end).await;
    }
}

async fn replies_are_bounded(range_end: &'static str) {
    const GETS: usize = 600;
    let (_server, client, hostile) = start().await;
    client.put("k", vec![7; MEGABYTE]).await.unwrap();
    let range = Bytes::from(framed(&pb::RangeRequest {
        key: "k".into(),
        range_end: range_end.into(),
        ..pb::RangeRequest::default()
    }));
    let before = memory();
    let mut replies = Vec::new();
    for _ in 0..GETS {
        let mut hostile = hostile.clone().ready().await.unwrap();
        let (reply, mut stream) = hostile.send_request(request(kv::RANGE), false).unwrap();
        stream.send_data(range.clone(), true).unwrap();
        replies.push(reply);
        // Others are served all the time.
        client.get("other").timeout(DEADLINE).await.unwrap();
    }
    let grown = before.zip(memory());
    let grown = grown.map_or(0, |(before, after)| after.saturating_sub(before));
    println!("{} MiB more for {GETS} MiB of replies", grown / MEGABYTE);
    assert!(grown < GETS * MEGABYTE / 3, "{grown}");
    // All at once: they share the window of the connection.
    let mut reads = JoinSet::new();
    for reply in replies {
        reads.spawn(async move {
            let mut body = reply.await.unwrap().into_body();
            let mut length = 0;
            while let Some(data) = body.data().await {
                let data = data.unwrap();
                length += data.len();
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            let trailers = body.trailers().await.unwrap().unwrap();
            assert_eq!(trailers.get("grpc-status").unwrap(), "0");
            length
        });
    }
    while let Some(length) = timeout(DEADLINE, reads.join_next()).await.expect("soon") {
        assert!(length.unwrap() > MEGABYTE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_in_part_are_bounded() {
    const PUTS: usize = 100;
    let (_server, client, hostile) = start().await;
    let put = Bytes::from(framed(&pb::PutRequest {
        key: "k".into(),
        value: vec![7; MEGABYTE].into(),
        ..pb::PutRequest::default()
    }));
    let part = put.slice(..put.len() - 1);
    let mut open = Vec::new();
    for _ in 0..PUTS {
        let mut hostile = hostile.clone().ready().await.unwrap();
        let (reply, mut stream) = hostile.send_request(request(kv::PUT), false).unwrap();
        stream.send_data(part.clone(), false).unwrap();
        open.push((reply, stream));
    }
    client.put("k", "v").timeout(DEADLINE).await.unwrap();
    // The last byte decides: a call was refused before it, or is carried out.
    let (mut good, mut refused) = (0, 0);
    for (reply, mut stream) in open {
        // A refused call takes no more bytes.
        let _ = stream.send_data(put.slice(put.len() - 1..), true);
        let reply = timeout(DEADLINE, reply).await.expect("soon").unwrap();
        match reply.headers().get("grpc-status") {
            Some(status) => {
                assert_eq!(status, "8", "{reply:?}");
                refused += 1;
            }
            None => good += 1,
        }
    }
    println!("{good} were carried out, {refused} refused");
    assert!(good >= 32 && refused >= 16, "{good}, {refused}");
    client.get("k").timeout(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_connection_has_no_more_streams_than_the_option_says() {
    let server = Server::builder().max_concurrent_streams(3);
    let server = server.start().await.unwrap();
    let client = Client::connect(server.client_url()).await.unwrap();
    // The client waits with the others.
    let mut gets = JoinSet::new();
    for _ in 0..50 {
        gets.spawn(client.get("k").timeout(DEADLINE).into_future());
    }
    while let Some(get) = gets.join_next().await {
        get.unwrap().unwrap();
    }
}
