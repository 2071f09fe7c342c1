//! Requests that no good client sends. Each is refused, and other calls of the connection are
//! answered.

use etcdex_proto::etcdserverpb as pb;
use etcdex_server::Server;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::raw::{answer, connect, framed};
use crate::real::Real;

const PUT: &str = "/etcdserverpb.KV/Put";

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_alone() {
    let server = Server::builder().start().await.unwrap();
    refuses_nonsense(&server.client_url()).await;
}

/// The expected answers are those of real etcd.
#[tokio::test]
async fn real_etcd_refuses_them_in_the_same_way() {
    let Some(real) = Real::start(&[]).await else {
        return;
    };
    refuses_nonsense(&real.etcd.endpoint()).await;
}

async fn refuses_nonsense(url: &str) {
    let sender = connect(url).await;
    let put = framed(&pb::PutRequest {
        key: "k".into(),
        ..pb::PutRequest::default()
    });
    let unsorted = framed(&pb::RangeRequest {
        key: "k".into(),
        sort_target: 9,
        ..pb::RangeRequest::default()
    });
    let large = framed(&pb::PutRequest {
        key: "k".into(),
        value: vec![0; 3 << 19].into(),
        ..pb::PutRequest::default()
    });
    // Texts of grpc-go and of etcd 3.7.3.
    let cases: [(&str, Vec<u8>, &str, &str); 10] = [
        (PUT, [&put[..], &put[..]].concat(), "0", ""),
        (
            "/etcdserverpb.KV/Get",
            put.clone(),
            "12",
            "unknown method Get for service etcdserverpb.KV",
        ),
        ("/etcd.KV/Put", put.clone(), "12", "unknown service etcd.KV"),
        (PUT, Vec::new(), "2", "EOF"),
        (PUT, put[..put.len() - 1].to_vec(), "2", "unexpected EOF"),
        (
            PUT,
            vec![1, 0, 0, 0, 0],
            "13",
            "grpc: compressed flag set with identity or empty encoding",
        ),
        (
            PUT,
            vec![0, 0, 0, 0, 1, 0xff],
            "13",
            "grpc: error unmarshalling request",
        ),
        (
            PUT,
            vec![0, 0xff, 0, 0, 0],
            "8",
            "grpc: received message larger than max (4278190080 vs. 2097152)",
        ),
        (PUT, large, "3", "etcdserver: request is too large"),
        (
            "/etcdserverpb.KV/Range",
            unsorted,
            "3",
            "etcdserver: invalid sort option",
        ),
    ];
    for (path, body, code, text) in cases {
        let (http, status, message) = answer(&sender, path, "application/grpc", body).await;
        assert_eq!(
            (http, status.as_str()),
            (StatusCode::OK, code),
            "{path}: {message}"
        );
        assert!(message.starts_with(text), "{path}: {message}");
        let good = answer(&sender, PUT, "application/grpc+proto", put.clone()).await;
        assert_eq!(good.1, "0", "{}", good.2);
    }
    let (http, ..) = answer(&sender, PUT, "text/html", put.clone()).await;
    assert_eq!(http, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_server_ends_with_its_connections_and_servers_share_nothing() {
    let (one, other) = (
        Server::builder().start().await.unwrap(),
        Server::builder().start().await.unwrap(),
    );
    let client = etcdex::Client::connect(one.client_url()).await.unwrap();
    client.put("k", "v").await.unwrap();
    let elsewhere = etcdex::Client::connect(other.client_url()).await.unwrap();
    assert_eq!(elsewhere.get("k").await.unwrap().count, 0);
    let address = one.client_url();
    drop(one);
    let timeout = std::time::Duration::from_millis(200);
    client.get("k").timeout(timeout).await.unwrap_err();
    let address = address.strip_prefix("http://").unwrap();
    tokio::net::TcpStream::connect(address).await.unwrap_err();
}

/// Returns the head and the body of the response to these bytes, over a connection of its own.
async fn plain_http(url: &str, request: &str) -> (String, String) {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    // A server that refuses the request may close the connection before all of it is read.
    let _ = stream.read_to_string(&mut response).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn pages_of_plain_http_are_those_of_real_etcd() {
    let server = Server::builder().start().await.unwrap();
    let url = server.client_url();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    if let Some(real) = Real::start(&[]).await {
        // A new cluster decides on its versions some time after its start.
        let decided = async {
            let undecided = ["not_decided", "unknown"];
            loop {
                let (_, body) = plain_http(&real.etcd.endpoint(), &get("/version")).await;
                if !undecided.iter().any(|word| body.contains(word)) {
                    break;
                }
            }
        };
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, decided).await.unwrap();
        for path in ["/health", "/version", "/health?serializable=true", "/none"] {
            let expected = plain_http(&real.etcd.endpoint(), &get(path)).await;
            let found = plain_http(&url, &get(path)).await;
            assert_eq!(found.1, expected.1, "{path}");
            assert_eq!(found.0.lines().next(), expected.0.lines().next(), "{path}");
        }
    }
    let (head, body) = plain_http(&url, &get("/metrics")).await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(
        body.contains("\netcd_debugging_mvcc_watcher_total 0\n"),
        "{body}"
    );
    let (head, _) = plain_http(&url, "HEAD /version HTTP/1.1\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    // A head without an end, and bytes that are no HTTP.
    let long = format!("GET /{}", "x".repeat(100_000));
    for request in [&long, "Hello\r\n\r\n", "G", "\0\0\0"] {
        let ended = tokio::time::timeout(
            std::time::Duration::from_millis(200),
            plain_http(&url, request),
        );
        if let Ok((head, _)) = ended.await {
            assert!(!head.contains("200"), "{head}");
        }
    }
    let sender = connect(&url).await;
    let put = framed(&pb::PutRequest {
        key: "k".into(),
        ..pb::PutRequest::default()
    });
    assert_eq!(answer(&sender, PUT, "application/grpc", put).await.1, "0");
}
