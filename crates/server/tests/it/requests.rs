//! Requests that no good client sends. Each is refused, and other calls of the connection are
//! answered.

use bytes::Bytes;
use etcdex_proto::etcdserverpb as pb;
use etcdex_server::Server;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use prost::Message;

use crate::real::Real;

const PUT: &str = "/etcdserverpb.KV/Put";

/// A connection without a client's rules.
async fn connect(url: &str) -> SendRequest<Bytes> {
    let address = url.strip_prefix("http://").unwrap();
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(async { connection.await.unwrap() });
    sender
}

fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

/// Returns the HTTP status, the gRPC status and the message of the answer to these bytes.
async fn answer(
    sender: &SendRequest<Bytes>,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> (StatusCode, String, String) {
    let request = Request::post(format!("http://server{path}"))
        .header("content-type", content_type)
        .body(())
        .unwrap();
    let mut sender = sender.clone().ready().await.unwrap();
    let (response, mut stream) = sender.send_request(request, false).unwrap();
    // A server that refuses the first bytes may not take the others.
    let _ = stream.send_data(body.into(), true);
    let (head, mut body) = response.await.unwrap().into_parts();
    while let Some(data) = body.data().await {
        let length = data.unwrap().len();
        body.flow_control().release_capacity(length).unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    let text = |name| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    (head.status, text("grpc-status"), text("grpc-message"))
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_alone() {
    let server = Server::start().unwrap();
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
    let (one, other) = (Server::start().unwrap(), Server::start().unwrap());
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
