//! The faults of the proxy at HTTP/2 frames, and its taps.

use std::net::SocketAddr;

use bytes::Bytes;
use etcdex_proto::etcdserverpb::PutRequest;
use etcdex_testkit::{Binaries, Direction, Etcd, FrameKind, Proxy, Tap, Trip, until};
use h2::client::SendRequest;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};

use crate::soon;

const CHAT: &str = "/talk.Service/Chat";
const HUSH: &str = "/talk.Service/Hush";

/// An HTTP/2 server that answers each DATA frame with one of the same bytes.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await?;
                while let Some(call) = connection.accept().await {
                    let (request, mut respond) = call?;
                    let mut reply = respond.send_response(http::Response::new(()), false)?;
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(Ok(bytes)) = body.data().await {
                            let _ = body.flow_control().release_capacity(bytes.len());
                            let _ = reply.send_data(bytes, false);
                        }
                        let _ = reply.send_data(Bytes::new(), true);
                    });
                }
                Ok::<(), h2::Error>(())
            });
        }
    });
    address
}

/// Opens an h2 connection through the proxy.
async fn connect(proxy: &Proxy) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    soon(sender.ready()).await.unwrap()
}

/// An open call.
struct Chat {
    up: h2::SendStream<Bytes>,
    down: h2::RecvStream,
}

async fn call(sender: &mut SendRequest<Bytes>, path: &str) -> Result<Chat, h2::Error> {
    let request = http::Request::post(format!("http://talk{path}"));
    let (response, up) = sender.send_request(request.body(()).unwrap(), false)?;
    let down = soon(response).await?.into_body();
    Ok(Chat { up, down })
}

impl Chat {
    /// Sends bytes and waits for an echo of that size.
    async fn say(&mut self, bytes: &Bytes) -> Result<(), h2::Error> {
        self.up.send_data(bytes.clone(), false)?;
        let mut back = 0;
        while back < bytes.len() {
            back += match soon(self.down.data()).await {
                Some(data) => data?.len(),
                None => return Err(h2::Reason::INTERNAL_ERROR.into()),
            };
        }
        Ok(())
    }

    async fn end(&mut self) {
        self.up.send_data(Bytes::new(), true).unwrap();
        while let Some(data) = soon(self.down.data()).await {
            data.unwrap();
        }
    }
}

/// A message with gRPC's prefix.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap();
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

#[tokio::test]
async fn a_trip_ends_the_link_at_the_nth_data_frame_of_its_method() {
    let proxy = Proxy::start(server().await).await.unwrap();
    let mut sender = connect(&proxy).await;
    let mut chat = call(&mut sender, CHAT).await.unwrap();
    let mut hush = call(&mut sender, HUSH).await.unwrap();
    proxy.trip(
        Trip::at(Direction::ToClient, FrameKind::Data)
            .method(CHAT)
            .nth(3),
    );
    let word = framed(b"word");
    for _ in 0..5 {
        hush.say(&word).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(proxy.tripped(), 0);
        chat.say(&word).await.unwrap();
    }
    assert_eq!(proxy.tripped(), 1);
    until("the link is over", || proxy.open() == 0).await;
    // Only once: the next link works.
    let mut sender = connect(&proxy).await;
    let mut chat = call(&mut sender, CHAT).await.unwrap();
    for _ in 0..5 {
        chat.say(&word).await.unwrap();
    }
}

#[tokio::test]
async fn a_trip_before_or_within_a_frame_lets_less_of_it_through() {
    // The head of the frame, the prefix of the message, the message.
    let frame = 9 + 5 + 100;
    for (edge, through) in [("before", 0), ("within", frame / 2), ("after", frame)] {
        let proxy = Proxy::start(server().await).await.unwrap();
        let mut sender = connect(&proxy).await;
        let mut chat = call(&mut sender, CHAT).await.unwrap();
        chat.say(&framed(b"hello")).await.unwrap();
        let trip = Trip::at(Direction::ToServer, FrameKind::Data).method(CHAT);
        proxy.trip(match edge {
            "before" => trip.before().cut(),
            "within" => trip.within(),
            _ => trip.after(),
        });
        let before = proxy.forwarded(Direction::ToServer);
        chat.up.send_data(framed(&[7; 100]), false).unwrap();
        until("the link is over", || proxy.open() == 0).await;
        assert_eq!(
            proxy.forwarded(Direction::ToServer) - before,
            through,
            "{edge}"
        );
    }
}

#[tokio::test]
async fn a_trip_finds_the_head_of_a_call_in_every_encoding() {
    let proxy = Proxy::start(server().await).await.unwrap();
    let mut sender = connect(&proxy).await;
    // From the second call on, the path is a reference into HPACK's table.
    for _ in 0..3 {
        call(&mut sender, CHAT).await.unwrap();
    }
    let trip = Trip::at(Direction::ToServer, FrameKind::Headers).before();
    proxy.trip(trip.method(CHAT).nth(2));
    call(&mut sender, HUSH).await.unwrap();
    call(&mut sender, CHAT).await.unwrap();
    call(&mut sender, HUSH).await.unwrap();
    assert!(call(&mut sender, CHAT).await.is_err());
    assert_eq!(proxy.tripped(), 1);
}

#[tokio::test]
async fn a_trip_at_frames_of_the_connection_has_no_method() {
    let proxy = Proxy::start(server().await).await.unwrap();
    // The SETTINGS, and the acknowledgement of the client's SETTINGS.
    proxy.trip(Trip::at(Direction::ToClient, FrameKind::Settings).nth(2));
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (_sender, connection) = h2::client::handshake(stream).await.unwrap();
    soon(connection).await.expect_err("the link is reset");
    assert_eq!(proxy.tripped(), 1);
}

#[tokio::test]
async fn heal_disarms_trips() {
    let proxy = Proxy::start(server().await).await.unwrap();
    let mut sender = connect(&proxy).await;
    proxy.trip(Trip::at(Direction::ToServer, FrameKind::Headers));
    proxy.heal();
    call(&mut sender, CHAT).await.unwrap();
    assert_eq!(proxy.tripped(), 0);
}

async fn heard(tap: &mut Tap) -> (u64, Direction, Option<Bytes>) {
    let passage = soon(tap.next()).await.unwrap();
    (passage.link, passage.direction, passage.message)
}

#[tokio::test]
async fn a_tap_returns_complete_messages_of_its_method_for_any_slices() {
    let proxy = Proxy::start(server().await).await.unwrap();
    let mut tap = proxy.tap(CHAT);
    proxy.slice(3);
    for link in 1..=2 {
        let mut sender = connect(&proxy).await;
        let mut hush = call(&mut sender, HUSH).await.unwrap();
        hush.say(&framed(b"not for the tap")).await.unwrap();
        let mut chat = call(&mut sender, CHAT).await.unwrap();
        // Two messages in one frame, of which the second is incomplete; its rest; an empty message.
        let long = framed(&[9; 50_000]);
        let first = [&framed(b"one")[..], &long[..20_000]].concat();
        chat.say(&first.into()).await.unwrap();
        chat.say(&long.slice(20_000..)).await.unwrap();
        chat.say(&framed(b"")).await.unwrap();
        chat.end().await;
        let long = Some(long.slice(5..));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let (from, direction, message) = heard(&mut tap).await;
            assert_eq!(from, link);
            match direction {
                Direction::ToServer => up.push(message),
                Direction::ToClient => down.push(message),
            }
        }
        let all = [Some("one".into()), long, Some(Bytes::new()), None];
        assert!(up == all && down == all);
    }
    assert!(tap.take().is_none());
}

#[tokio::test]
async fn a_tap_records_etcd_and_its_go_client() {
    for binary in Binaries::for_tests().all() {
        let Some(_) = binary.etcdctl() else { continue };
        let etcd = Etcd::start(binary).await.unwrap();
        let proxy = Proxy::start(etcd.client_address()).await.unwrap();
        let mut tap = proxy.tap(etcdex_proto::method::kv::PUT);
        let through = format!("--endpoints={}", proxy.endpoint());
        etcd.etcdctl(["put", "fruit", "lime", &through])
            .await
            .unwrap();
        let (_, direction, message) = heard(&mut tap).await;
        assert_eq!(direction, Direction::ToServer);
        let put = PutRequest::decode(message.unwrap()).unwrap();
        assert_eq!(
            (&put.key[..], &put.value[..]),
            (&b"fruit"[..], &b"lime"[..])
        );
    }
}

/// etcd servers ignore the acknowledgement of a SETTINGS frame that they have not sent.
#[tokio::test]
async fn a_stream_limit_holds_for_new_links_to_etcd() {
    for binary in Binaries::for_tests().all() {
        if binary.version() < "3.5.35".parse().unwrap() {
            // The server's own SETTINGS, which follow, have a limit (seen on 3.4.23 and 3.5.1).
            continue;
        }
        let etcd = Etcd::start(binary).await.unwrap();
        let proxy = Proxy::start(etcd.client_address()).await.unwrap();
        proxy.limit_streams(3);
        let sender = connect(&proxy).await;
        until("the limit", || sender.current_max_send_streams() == 3).await;
        let client = etcdex::Client::builder()
            .endpoint(proxy.endpoint())
            .connect_lazy()
            .unwrap();
        soon(async { client.put("k", "v").await }).await.unwrap();
        proxy.heal();
        let free = connect(&proxy).await;
        assert!(free.current_max_send_streams() > 3);
    }
}
