//! Servers that break HTTP/2, gRPC or protobuf: each call ends with a typed error, and none panics
//! or hangs.

use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::frames;
use super::peer::{Asked, Peers, framed, head, headers, range_reply, serve};
use crate::{Client, Error, ErrorKind, Outcome};

/// Returns the error of a get and a put on a server that answers by `answer`.
async fn errors_of<F>(answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static) -> Error
where
    F: Future<Output = ()> + Send + 'static,
{
    let peers = Peers::one(move |_, stream| serve(stream, answer.clone()));
    let client = peers.client_with_retries(0).await;
    both(&client).await
}

async fn both(client: &Client) -> Error {
    let get = client.get("k").await.expect_err("the get was taken");
    let put = client.put("k", "v").await.expect_err("the put was taken");
    assert_eq!(get.kind(), put.kind(), "{get} / {put}");
    put
}

fn check_error(error: &Error, kind: ErrorKind, outcome: Outcome, part: &str) {
    assert_eq!((error.kind(), error.outcome()), (kind, outcome), "{error}");
    assert!(
        error.to_string().contains(part),
        "{part} is not in: {error}"
    );
}

fn good_body() -> Bytes {
    framed(&range_reply("v"))
}

#[tokio::test(start_paused = true)]
async fn about_the_head() {
    for (status, kind, outcome) in [
        (
            StatusCode::BAD_GATEWAY,
            ErrorKind::Unavailable,
            Outcome::Unknown,
        ),
        (
            StatusCode::NOT_FOUND,
            ErrorKind::Unimplemented,
            Outcome::Rejected,
        ),
        (
            StatusCode::FORBIDDEN,
            ErrorKind::PermissionDenied,
            Outcome::Rejected,
        ),
        (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorKind::Protocol,
            Outcome::Rejected,
        ),
        (
            StatusCode::IM_A_TEAPOT,
            ErrorKind::Protocol,
            Outcome::Unknown,
        ),
        (
            StatusCode::REQUEST_TIMEOUT,
            ErrorKind::Unavailable,
            Outcome::Unknown,
        ),
        (
            StatusCode::NO_CONTENT,
            ErrorKind::Protocol,
            Outcome::Unknown,
        ),
    ] {
        let error = errors_of(move |mut asked| async move {
            let mut response = Response::new(());
            *response.status_mut() = status;
            let _ = asked.reply.send_response(response, true);
        })
        .await;
        check_error(&error, kind, outcome, status.as_str());
    }
    for content_type in ["text/html", ""] {
        let error = errors_of(move |mut asked| async move {
            let mut stream = asked
                .reply
                .send_response(head(content_type), false)
                .expect("open");
            let _ = stream.send_data(good_body(), true);
        })
        .await;
        check_error(
            &error,
            ErrorKind::Protocol,
            Outcome::Unknown,
            "content-type",
        );
    }
}

#[tokio::test(start_paused = true)]
async fn about_the_status() {
    for (trailers, part) in [
        (headers(&[]), "without a grpc-status"),
        (headers(&[("grpc-status", "none")]), "no number"),
        (headers(&[("grpc-status", "-1")]), "no number"),
    ] {
        let error = errors_of(move |mut asked| {
            let trailers = trailers.clone();
            async move {
                let _ = asked.try_answer(good_body(), trailers);
            }
        })
        .await;
        check_error(&error, ErrorKind::Protocol, Outcome::Unknown, part);
    }
    // The stream ends after the message, without trailers.
    let error = errors_of(|mut asked| async move {
        let mut stream = asked
            .reply
            .send_response(head("application/grpc"), false)
            .expect("open");
        let _ = stream.send_data(good_body(), true);
    })
    .await;
    check_error(
        &error,
        ErrorKind::Protocol,
        Outcome::Unknown,
        "without a grpc-status",
    );
    // A status of OK in the head, without a message.
    let error = errors_of(|asked| async move { asked.fail("0", "") }).await;
    check_error(&error, ErrorKind::Protocol, Outcome::Unknown, "no message");
    // An unknown status, with a percent-encoded text.
    let error = errors_of(|asked| async move { asked.fail("99", "so%20what%0A%zz") }).await;
    check_error(&error, ErrorKind::Server, Outcome::Unknown, "so what");
}

#[tokio::test(start_paused = true)]
async fn about_the_message() {
    let mut compressed = BytesMut::from(&good_body()[..]);
    compressed[0] = 1;
    let mut endless = BytesMut::new();
    endless.put_u8(0);
    endless.put_u32(u32::MAX);
    let cut = good_body().slice(..good_body().len() - 1);
    let twice = [good_body(), good_body()].concat();
    let more = [&good_body()[..], b"x"].concat();
    // The length of the header field is larger than the message.
    let no_protobuf = Bytes::from_static(b"\0\0\0\0\x02\x0a\x7f");
    for (body, kind, part) in [
        (compressed.freeze(), ErrorKind::Protocol, "compressed"),
        (
            endless.freeze(),
            ErrorKind::MessageTooLarge,
            "max_receive_size",
        ),
        (cut, ErrorKind::Protocol, "cut off"),
        (twice.into(), ErrorKind::Protocol, "more than one message"),
        (more.into(), ErrorKind::Protocol, "more than one message"),
        (no_protobuf, ErrorKind::Protocol, "not the message"),
        (Bytes::new(), ErrorKind::Protocol, "no message"),
    ] {
        let error = errors_of(move |asked| {
            let body = body.clone();
            async move { asked.answer(body) }
        })
        .await;
        check_error(&error, kind, Outcome::Unknown, part);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_at_any_point() {
    for point in 0..4 {
        for (reason, kind) in [
            (h2::Reason::INTERNAL_ERROR, ErrorKind::Protocol),
            (h2::Reason::NO_ERROR, ErrorKind::Protocol),
            (h2::Reason::CANCEL, ErrorKind::Cancelled),
            (h2::Reason::ENHANCE_YOUR_CALM, ErrorKind::TooManyRequests),
        ] {
            let error = errors_of(move |mut asked| async move {
                if point == 0 {
                    return asked.reply.send_reset(reason);
                }
                let mut stream = asked
                    .reply
                    .send_response(head("application/grpc"), false)
                    .expect("open");
                let body = good_body();
                let sent = match point {
                    1 => Bytes::new(),
                    2 => body.slice(..3),
                    _ => body,
                };
                stream.send_data(sent, false).expect("open");
                // The reset overtakes frames that h2 has not written yet.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                stream.send_reset(reason);
            })
            .await;
            check_error(&error, kind, Outcome::Unknown, "reset");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn against_the_rules_of_http2() {
    type Answer = fn(u32) -> Vec<u8>;
    let answers: [(Answer, bool); 6] = [
        (|id| frames::reply(id, &good_body()), false),
        // A message after the trailers: the call succeeds all the same.
        (
            |id| {
                [
                    frames::reply(id, &good_body()),
                    frames::data(id, &good_body()),
                ]
                .concat()
            },
            false,
        ),
        (
            |id| [frames::reply(id, b""), frames::data(id, &good_body())].concat(),
            true,
        ),
        (
            |id| [frames::data(id, &good_body()), frames::trailers(id)].concat(),
            true,
        ),
        (|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), true),
        (|_| vec![0xFF; 64], true),
    ];
    for (answer, fails) in answers {
        let peers = Peers::one(move |_, stream| frames::answer_with(stream, answer));
        let client = peers.client_with_retries(0).await;
        match client.get("k").await {
            Ok(_) => assert!(!fails),
            Err(error) => {
                assert!(fails, "{error}");
                assert_ne!(error.outcome(), Outcome::NotSent, "{error}");
            }
        }
    }
}

/// Frames of ended calls do not end the connection. At h2's default, they do from the 1,025th such
/// call on.
#[tokio::test(start_paused = true)]
async fn late_frames_are_not_counted_forever() {
    const CALLS: u32 = 1_500;
    // The calls use the streams 1, 3, 5 and so on.
    const LAST: u32 = 2 * CALLS + 1;
    let peers = Peers::one(|_, stream| {
        frames::answer_with(stream, |id| {
            let over = (1..id).step_by(2).filter(|_| id == LAST);
            let late: Vec<u8> = over.flat_map(|id| frames::data(id, b"late")).collect();
            [late, frames::reply(id, &good_body())].concat()
        })
    });
    let client = peers.client().await;
    for _ in 0..CALLS + 2 {
        client.get("k").await.expect("an answer amid late frames");
    }
    assert_eq!(peers.connections("http://one:1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_http2_fails_the_connect() {
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        // The alert of a TLS server that gets plain text.
        &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46],
        b"",
    ];
    for answer in answers {
        let peers = Peers::one(move |_, mut stream: DuplexStream| async move {
            let _ = stream.write_all(answer).await;
        });
        let error = peers
            .builder()
            .connect()
            .await
            .expect_err("the server is no etcd");
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Unavailable, Outcome::NotSent)
        );
        assert!(error.to_string().contains("https?"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Random bytes as the answer of a server, after the handshake.
    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200), framed: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let peers = Peers::one(move |_, stream| {
                let bytes = bytes.clone();
                frames::answer_with(stream, move |id| match framed {
                    true => frames::reply(id, &bytes),
                    false => bytes.clone(),
                })
            });
            let client = peers.builder().connect().await.expect("the client connects");
            // The call ends with any result.
            let _ = client.get("k").await;
            let _ = client.txn().await;
        });
    }
}
