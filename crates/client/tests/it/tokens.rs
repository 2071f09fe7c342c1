//! The life of tokens on real etcd: their expiry, and JWTs that outlive the server.
//!
//! Expected behavior: <https://etcd.io/docs/v3.6/op-guide/authentication/rbac/> and etcd's
//! `auth/jwt.go` and `auth/simple_token.go`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use etcdex::credentials::Token;
use etcdex::credentials::TokenFuture;
use etcdex::{Client, ErrorKind, LeaseState};
use etcdex_testkit::{Binary, Etcd};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::credentials::{PASSWORD, builder, enable};
use crate::stage::{DEADLINE, each_alone, ends, newest};

/// Number of logins that this process of the server has counted.
async fn logins(etcd: &Etcd) -> u64 {
    let metrics = etcd.metrics().await.unwrap();
    let line = metrics.lines().find(|line| {
        line.starts_with("grpc_server_started_total{") && line.contains("\"Authenticate\"")
    });
    let number = line.and_then(|line| line.rsplit(' ').next());
    number.expect("the server counts them").parse().unwrap()
}

/// Simple tokens that expire after one second without use. All callers use the client at once, and
/// then not until the token has expired. No call fails.
#[tokio::test]
async fn simple_tokens_that_expire_between_two_calls_fail_no_call() {
    each_alone(
        &["--auth-token-ttl=1", "--bcrypt-cost=4"],
        |etcd| async move {
            const ROUNDS: u64 = 3;
            const CALLERS: usize = 16;
            enable(&etcd).await;
            let client = root(&etcd).await;
            let together = Arc::new(Barrier::new(CALLERS));
            let mut callers = JoinSet::new();
            for caller in 0..CALLERS {
                let (client, together) = (client.clone(), Arc::clone(&together));
                callers.spawn(async move {
                    let key = format!("hush-{caller}");
                    for round in 1..=ROUNDS {
                        together.wait().await;
                        // The server looks for expired tokens once a second.
                        tokio::time::sleep(Duration::from_millis(3_500)).await;
                        client.put(&key, format!("hush-{round}")).await.unwrap();
                        let kv = client.get(&key).await.unwrap().into_kv().unwrap();
                        assert_eq!(kv.version, i64::try_from(round).unwrap());
                        assert_eq!(kv.value, format!("hush-{round}"));
                    }
                });
            }
            while let Some(caller) = callers.join_next().await {
                caller.unwrap();
            }
            // The tokens have expired, and the sixteen callers shared one login for each.
            let logins = logins(&etcd).await;
            assert!((1 + ROUNDS..1 + 2 * ROUNDS).contains(&logins), "{logins}");
        },
    )
    .await;
}

/// Tokens of two seconds from a provider: the client asks for each once, one after the other.
#[tokio::test]
async fn a_provider_is_asked_for_each_token_once() {
    ends(|binary| async move {
        let keys = Keys::new();
        let etcd = keys.etcd(&binary, "2s").await;
        let address = etcd.client_address();
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let provider = move || -> TokenFuture {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                let token = Token::new(token_of(address).await?);
                Ok(token.valid_for(Duration::from_secs(2)))
            })
        };
        let client = Client::builder().endpoint(etcd.endpoint()).token(provider);
        let client = client.timeout(DEADLINE).connect().await.unwrap();
        let end = Instant::now() + Duration::from_secs(7);
        let mut callers = JoinSet::new();
        for _ in 0..16 {
            let client = client.clone();
            callers.spawn(async move {
                while Instant::now() < end {
                    client.put("hush", "hush").await.unwrap();
                    client.get("hush").await.unwrap();
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        // Seven seconds, and a new token after nine tenths of two seconds.
        let asked = asked.load(Ordering::Relaxed);
        assert!((4..=9).contains(&asked), "{asked}");
    })
    .await;
}

/// Gets a token of root from etcd's JSON gateway.
async fn token_of(address: SocketAddr) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut stream = TcpStream::connect(address).await?;
    let body = serde_json::json!({ "name": "root", "password": PASSWORD }).to_string();
    let length = body.len();
    let head = format!("POST /v3/auth/authenticate HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    let answer: serde_json::Value = serde_json::from_str(body)?;
    Ok(answer["token"].as_str().ok_or("no token")?.to_owned())
}

/// Old releases check no token of a renewal. The others refuse a renewal without one.
#[tokio::test]
async fn without_a_token_a_lease_is_renewed_where_the_server_wants_none() {
    each_alone(&[], |etcd| async move {
        enable(&etcd).await;
        let root = root(&etcd).await;
        let lease = root.grant(Duration::from_secs(2)).await.unwrap().id;
        root.put("hush", "hush").lease(lease).await.unwrap();
        let provider = || -> TokenFuture { Box::pin(async { Err("no token".into()) }) };
        let client = Client::builder().endpoint(etcd.endpoint()).token(provider);
        let client = client.connect_lazy().unwrap();
        let keeper = client.keep(lease);
        // The lease ends meanwhile if it is not renewed.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let state = keeper.state();
        let renewed = root.get("hush").await.unwrap().into_kv();
        if matches!(etcd.version().to_string().as_str(), "3.4.23" | "3.5.1") {
            assert!(matches!(state, LeaseState::Alive { .. }), "{state:?}");
            assert_eq!(renewed.unwrap().lease, Some(lease));
        } else {
            let LeaseState::Unknown {
                cause: Some(cause), ..
            } = state
            else {
                panic!("{state:?}");
            };
            assert_eq!(cause.kind(), ErrorKind::AuthenticationFailed, "{cause}");
            assert!(renewed.is_none());
        }
        let error = client.get("hush").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error}");
    })
    .await;
}

/// A stream of renewals carries a token only in its first headers.
#[tokio::test]
async fn a_lease_outlives_the_token_of_its_stream() {
    ends(|binary| async move {
        let keys = Keys::new();
        let etcd = keys.etcd(&binary, "1s").await;
        let client = root(&etcd).await;
        let lease = client.grant(Duration::from_secs(2)).await.unwrap().id;
        client.put("hush", "hush").lease(lease).await.unwrap();
        let mut keeper = client.keep(lease);
        keeper.changed().await;
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(client.get("hush").string().await.unwrap().is_some());
            // The next stream needs the next token.
            etcd.restart().await.unwrap();
        }
        let state = keeper.state();
        assert!(!matches!(state, etcdex::LeaseState::Lost(_)), "{state:?}");
        assert!(client.get("hush").string().await.unwrap().is_some());
    })
    .await;
}

/// A JWT is valid at every server with the key, and so at a restarted server.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_survive_a_restart_without_a_login() {
    const CLIENTS: u64 = 1_000;
    let Some(binary) = newest() else { return };
    let keys = Keys::new();
    let etcd = keys.etcd(binary, "1h").await;
    root(&etcd).await.put("hush", "hush").await.unwrap();
    let mut connecting = JoinSet::new();
    for _ in 0..CLIENTS {
        // A thousand clients at once are slow on a loaded machine.
        let builder = builder(&etcd).connect_timeout(DEADLINE);
        connecting.spawn(builder.credentials("root", PASSWORD).connect());
    }
    let mut clients: Vec<Client> = Vec::new();
    while let Some(client) = connecting.join_next().await {
        clients.push(client.unwrap().unwrap());
    }
    all_read(&clients).await;
    assert_eq!(logins(&etcd).await, CLIENTS + 1);

    etcd.kill();
    let reads = tokio::spawn({
        let clients = clients.clone();
        async move { all_read(&clients).await }
    });
    etcd.launch().unwrap();
    etcd.ready().await.unwrap();
    reads.await.unwrap();
    all_read(&clients).await;
    // The new process counts from zero, and the counter works.
    assert_eq!(logins(&etcd).await, 0);
    root(&etcd).await;
    assert_eq!(logins(&etcd).await, 1);
}

async fn all_read(clients: &[Client]) {
    let mut reads = JoinSet::new();
    for client in clients {
        reads.spawn(client.get("hush").string().into_future());
    }
    while let Some(read) = reads.join_next().await {
        assert_eq!(read.unwrap().unwrap().as_deref(), Some("hush"));
    }
}

async fn root(etcd: &Etcd) -> Client {
    let builder = builder(etcd).credentials("root", PASSWORD);
    builder.connect().await.unwrap()
}

/// The keys with which a server signs tokens.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        write("private.pem", pair.serialize_pem()).unwrap();
        write("public.pem", pair.public_key_pem()).unwrap();
        Self { folder }
    }

    /// Starts a server with authentication, whose tokens live for `ttl`.
    async fn etcd(&self, binary: &Binary, ttl: &str) -> Etcd {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (public, private) = (file("public.pem"), file("private.pem"));
        let token = format!(
            "--auth-token=jwt,pub-key={public},priv-key={private},sign-method=ES256,ttl={ttl}"
        );
        let builder = Etcd::builder().binary(binary);
        let builder = builder.args([&token, "--bcrypt-cost=4"]);
        let etcd = builder.start().await.unwrap();
        enable(&etcd).await;
        etcd
    }
}
