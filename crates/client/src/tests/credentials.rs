//! Logins, and calls whose token is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcdex_proto::etcdserverpb as pb;
use prost::Message;
use tokio::io::DuplexStream;
use tokio::time::sleep;

use super::peer::{Asked, Peers, framed, header, serve};
use crate::credentials::Token;
use crate::credentials::TokenFuture;
use crate::{ErrorKind, Outcome};

const PASSWORD: &str = "hunter2";
const LOGIN: &str = "/etcdserverpb.Auth/Authenticate";

/// A server with authentication: it counts logins, and takes only the newest token.
#[derive(Clone, Default)]
pub(super) struct AuthServer {
    logins: Arc<AtomicUsize>,
    /// Tokens up to this one have expired.
    expired: Arc<AtomicUsize>,
    applied: Arc<AtomicUsize>,
}

impl AuthServer {
    pub(super) fn peers(&self) -> Peers {
        let this = self.clone();
        Peers::one(move |_, stream: DuplexStream| {
            let this = this.clone();
            serve(stream, move |asked: Asked| {
                let this = this.clone();
                async move { this.answer(asked) }
            })
        })
    }

    fn answer(&self, asked: Asked) {
        if asked.path == LOGIN {
            let login = pb::AuthenticateRequest::decode(asked.message.clone()).expect("a login");
            let number = self.logins.fetch_add(1, Ordering::Relaxed) + 1;
            if login.password != PASSWORD {
                let text = "etcdserver: authentication failed, invalid user ID or password";
                return asked.fail("3", text);
            }
            return asked.answer(framed(&pb::AuthenticateResponse {
                header: header(1),
                token: format!("token-{number}"),
            }));
        }
        let token = asked
            .headers
            .get("token")
            .map(|token| token.as_bytes().to_vec());
        match token {
            None => asked.fail("3", "etcdserver: user name is empty"),
            Some(token) => {
                let number = token
                    .rsplit(|&byte| byte == b'-')
                    .next()
                    .unwrap_or_default();
                let number: usize = String::from_utf8_lossy(number).parse().unwrap_or(0);
                if number <= self.expired.load(Ordering::Relaxed) {
                    return asked.fail("16", "etcdserver: invalid auth token");
                }
                self.applied.fetch_add(1, Ordering::Relaxed);
                asked.answer_well();
            }
        }
    }

    fn logins(&self) -> usize {
        self.logins.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_thousand_calls_log_in_once() {
    let server = AuthServer::default();
    let client = server.peers().builder().credentials("root", PASSWORD);
    let client = client.connect_lazy().expect("the options are valid");
    let calls: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(client.put("k", "v")))
        .collect();
    for call in calls {
        call.await.expect("no panic").expect("an answer");
    }
    assert_eq!(server.logins(), 1);
}

#[tokio::test]
async fn an_expired_token_fails_no_call_and_repeats_no_write() {
    let server = AuthServer::default();
    let client = server.peers().builder().credentials("root", PASSWORD);
    let client = client.connect().await.expect("the client connects");
    for round in 1..=3 {
        server.expired.store(round, Ordering::Relaxed);
        let calls: Vec<_> = (0..100)
            .map(|_| tokio::spawn(client.put("k", "v")))
            .collect();
        for call in calls {
            call.await
                .expect("no panic")
                .expect("an answer with the next token");
        }
        assert_eq!(server.logins(), round + 1);
    }
    assert_eq!(server.applied.load(Ordering::Relaxed), 300);
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_has_its_own_error_and_is_not_tried_again_at_once() {
    let server = AuthServer::default();
    let builder = server.peers().builder().credentials("root", "guess");
    let error = builder
        .clone()
        .connect()
        .await
        .expect_err("the password is wrong");
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::AuthenticationFailed, Outcome::Rejected)
    );

    let client = builder.connect_lazy().expect("the options are valid");
    for _ in 0..1_000 {
        let error = client.get("k").await.expect_err("the password is wrong");
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
        assert!(!format!("{error} {error:?} {client:?}").contains("guess"));
    }
    assert_eq!(server.logins(), 2);
    sleep(Duration::from_secs(120)).await;
    client
        .get("k")
        .await
        .expect_err("the password is still wrong");
    assert_eq!(server.logins(), 3);
}

#[tokio::test]
async fn a_token_that_is_always_refused_ends_the_call() {
    let server = AuthServer::default();
    server.expired.store(usize::MAX, Ordering::Relaxed);
    let client = server.peers().builder().credentials("root", PASSWORD);
    let client = client.connect().await.expect("the client connects");
    let error = client.put("k", "v").await.expect_err("no token is taken");
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::InvalidToken, Outcome::Rejected)
    );
    assert_eq!(error.attempts(), 3);
}

#[tokio::test]
async fn a_server_without_authentication_needs_no_token() {
    let peers = Peers::one(|_, stream| {
        serve(stream, |asked: Asked| async move {
            if asked.path.starts_with("/etcdserverpb.Auth") {
                asked.fail("9", "etcdserver: authentication is not enabled");
            } else {
                assert!(!asked.headers.contains_key("token"));
                asked.answer_well();
            }
        })
    });
    let client = peers
        .builder()
        .credentials("root", PASSWORD)
        .connect()
        .await;
    client
        .expect("the client connects")
        .put("k", "v")
        .await
        .expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_asked_before_its_token_expires() {
    let server = AuthServer::default();
    let made = Arc::new(AtomicUsize::new(0));
    let maker = Arc::clone(&made);
    let provider = move || -> TokenFuture {
        let number = maker.fetch_add(1, Ordering::Relaxed) + 1;
        let token = Token::new(format!("jwt-{number}")).valid_for(Duration::from_secs(100));
        Box::pin(async move { Ok(token) })
    };
    let client = server
        .peers()
        .builder()
        .token(provider)
        .connect()
        .await
        .expect("the client connects");
    for (wait, count) in [(0, 1), (80, 1), (15, 2), (5, 2), (200, 3)] {
        sleep(Duration::from_secs(wait)).await;
        client.put("k", "v").await.expect("an answer");
        // The client asks the provider in the background.
        sleep(Duration::from_millis(1)).await;
        assert_eq!(made.load(Ordering::Relaxed), count);
    }
    assert_eq!(server.logins(), 0);
}

/// A server that answers logins by `answer`, which gets their number, and succeeds on all other
/// calls.
fn login_server<F>(answer: impl Fn(usize, Asked) -> F + Clone + Send + Sync + 'static) -> Peers
where
    F: Future<Output = ()> + Send + 'static,
{
    let logins = Arc::new(AtomicUsize::new(0));
    Peers::one(move |_, stream| {
        let (logins, answer) = (Arc::clone(&logins), answer.clone());
        serve(stream, move |asked: Asked| {
            let answer = answer.clone();
            let login = asked.path == LOGIN;
            let number = login.then(|| logins.fetch_add(1, Ordering::Relaxed) + 1);
            async move {
                match number {
                    Some(number) => answer(number, asked).await,
                    None => asked.answer_well(),
                }
            }
        })
    })
}

fn grant_token(asked: Asked) {
    asked.answer(framed(&pb::AuthenticateResponse {
        header: header(1),
        token: "t".into(),
    }));
}

#[tokio::test(start_paused = true)]
async fn a_login_goes_on_without_the_call_that_started_it() {
    let logins = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&logins);
    let peers = login_server(move |number, asked| {
        counter.store(number, Ordering::Relaxed);
        async move {
            sleep(Duration::from_secs(1)).await;
            grant_token(asked);
        }
    });
    let client = peers.builder().credentials("root", PASSWORD);
    let client = client.connect_lazy().expect("the options are valid");
    let first = tokio::spawn(client.get("k"));
    while logins.load(Ordering::Relaxed) == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    first.abort();
    client.get("k").await.expect("an answer");
    assert_eq!(logins.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_without_an_answer_is_repeated_while_calls_wait() {
    let peers = login_server(|number, asked| async move {
        match number {
            1 | 2 => std::future::pending().await,
            3 => asked.fail("14", "etcdserver: server stopped"),
            _ => grant_token(asked),
        }
    });
    let client = peers.builder().credentials("root", PASSWORD);
    let client = client.connect_lazy().expect("the options are valid");
    let started = tokio::time::Instant::now();
    client.get("k").no_timeout().await.expect("an answer");
    let taken = started.elapsed();
    assert!(taken < Duration::from_secs(100), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_login_gets_more_time_with_each_attempt() {
    let peers = login_server(|_, asked| async move {
        sleep(Duration::from_secs(40)).await;
        grant_token(asked);
    });
    let client = peers.builder().credentials("root", PASSWORD);
    let client = client.connect_lazy().expect("the options are valid");
    let error = client
        .get("k")
        .await
        .expect_err("the login takes longer than 5 s");
    assert_eq!(error.outcome(), Outcome::NotSent);
    let text = error.to_string();
    assert!(text.contains("no token within 5s"), "{text}");
    client.get("k").no_timeout().await.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn a_login_does_not_follow_a_call_to_a_member_that_hangs() {
    let server = AuthServer::default();
    let peers = server.peers().and("http://hung:1", |_, stream| {
        serve(stream, |asked: Asked| async move {
            std::future::pending::<()>().await;
            drop(asked);
        })
    });
    let builder = peers.builder().credentials("root", PASSWORD);
    let client = builder.connect_lazy().expect("the options are valid");
    let hung = client.with_endpoint("http://hung:1").expect("an endpoint");
    let mut stuck = Box::pin(hung.get("k").no_timeout());
    assert!(super::peer::poll_once(&mut stuck).is_pending());
    let stuck = tokio::spawn(stuck);
    sleep(Duration::from_secs(1)).await;
    client
        .with_endpoint("http://one:1")
        .expect("an endpoint")
        .put("k", "v")
        .await
        .expect("an answer");
    assert_eq!(server.logins(), 1);
    stuck.abort();
}

/// A provider whose first token is valid for 100 s. Its later calls never return.
fn stalling_provider(life: Option<Duration>) -> impl Fn() -> TokenFuture + Send + Sync {
    let made = AtomicUsize::new(0);
    move || -> TokenFuture {
        let first = made.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move {
            match life.filter(|_| first) {
                Some(life) => Ok(Token::new("jwt-1").valid_for(life)),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_fails_no_call_while_the_token_is_valid() {
    let server = AuthServer::default();
    let provider = stalling_provider(Some(Duration::from_secs(100)));
    let client = server.peers().builder().token(provider).connect().await;
    let client = client.expect("the client connects");
    for _ in 0..20 {
        sleep(Duration::from_secs(91)).await;
        let started = tokio::time::Instant::now();
        client.put("k", "v").await.expect("the token is still good");
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_token_end_with_the_client() {
    let server = AuthServer::default();
    let builder = server.peers().builder().token(stalling_provider(None));
    let client = builder.connect_lazy().expect("the options are valid");
    let waiting = tokio::spawn(client.put("k", "v").no_timeout());
    sleep(Duration::from_secs(100)).await;
    assert!(!waiting.is_finished());
    let left = client.close(Duration::from_secs(10)).await;
    assert!(left.is_clean(), "{left:?}");
    let error = waiting
        .await
        .expect("no panic")
        .expect_err("the client is closed");
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Closed, Outcome::NotSent)
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_ends_only_the_waiting_calls() {
    let server = AuthServer::default();
    let made = AtomicUsize::new(0);
    let provider = move || -> TokenFuture {
        let number = made.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            assert!(number >= 3, "the provider has a fault");
            Ok(Token::new("jwt-1"))
        })
    };
    let builder = server.peers().builder().token(provider);
    let client = builder.connect_lazy().expect("the options are valid");
    let error = client.get("k").await.expect_err("there is no token");
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error}");
    client.get("k").await.expect("an answer");
}

/// A future that logs in and is not polled for a while, as in another arm of a `select!`.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_polled_blocks_no_other_login() {
    let server = AuthServer::default();
    let builder = server.peers().builder().credentials("root", PASSWORD);
    let client = builder.connect_lazy().expect("the options are valid");
    let mut one = Box::pin(client.get("k"));
    assert!(super::peer::poll_once(&mut one).is_pending());
    client.get("k").await.expect("an answer");
    one.await.expect("an answer");
    assert_eq!(server.logins(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_leaves_the_token_in_use() {
    let server = AuthServer::default();
    let made = Arc::new(AtomicUsize::new(0));
    let maker = Arc::clone(&made);
    let provider = move || -> TokenFuture {
        let first = maker.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(async move {
            match first {
                true => Ok(Token::new("jwt-1").valid_for(Duration::from_secs(300))),
                false => Err("the issuer does not answer".into()),
            }
        })
    };
    let client = server.peers().builder().token(provider).connect().await;
    let client = client.expect("the client connects");
    sleep(Duration::from_secs(271)).await;
    for _ in 0..5 {
        client.put("k", "v").await.expect("the token is still good");
        sleep(Duration::from_secs(1)).await;
    }
    assert!(
        made.load(Ordering::Relaxed) > 2,
        "the renewal was not tried again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_can_be_replaced_at_run_time() {
    let server = AuthServer::default();
    let builder = server.peers().builder().credentials("root", "guess");
    let client = builder.connect_lazy().expect("the options are valid");
    client.get("k").await.expect_err("the password is wrong");
    client.set_credentials("root", PASSWORD);
    client.get("k").await.expect("an answer at once");
    assert_eq!(client.status().token, crate::client::TokenState::Held);
    // The client drops the old token, although no server has refused it.
    let logins = server.logins();
    client.set_credentials("root", PASSWORD);
    client.get("k").await.expect("an answer");
    assert_eq!(server.logins(), logins + 1);
    client.set_token(Token::new("token-99"));
    client.get("k").await.expect("an answer");
    assert_eq!(server.logins(), logins + 1);
    let printed = format!("{client:?} {:?}", client.status());
    assert!(
        !printed.contains(PASSWORD) && !printed.contains("token-"),
        "{printed}"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_login_get_that_of_the_new_credentials() {
    let server = AuthServer::default();
    let silent = || -> TokenFuture { Box::pin(std::future::pending()) };
    let builder = server.peers().builder().token(silent);
    let client = builder.connect_lazy().expect("the options are valid");
    let calls: Vec<_> = (0..10)
        .map(|_| tokio::spawn(client.put("k", "v")))
        .collect();
    sleep(Duration::from_secs(1)).await;
    client.set_credentials("root", PASSWORD);
    for call in calls {
        call.await.expect("no panic").expect("an answer");
    }
    assert_eq!(server.logins(), 1);
}

#[tokio::test(start_paused = true)]
async fn credentials_can_be_set_on_a_client_without_any() {
    let server = AuthServer::default();
    let client = server.peers().client().await;
    let error = client.get("k").await.expect_err("the client has no token");
    assert_eq!(error.kind(), ErrorKind::TokenMissing);
    client.set_credentials("root", PASSWORD);
    client.get("k").await.expect("an answer");
}
