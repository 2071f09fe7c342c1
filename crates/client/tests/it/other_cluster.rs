//! Members that advertise an address at which another cluster listens: that cluster gets no secret.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use etcdex::{Client, ErrorKind};
use etcdex_testkit::{Binary, Etcd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::credentials::{PASSWORD, enable};
use crate::stage::{DEADLINE, each_binary, eventually};

const INTERVAL: Duration = Duration::from_millis(50);

/// The name of the header `token` in HPACK, for a header that is marked as sensitive: its length
/// with the Huffman bit, and its code (RFC 7541, 5.2 and appendix B).
const TOKEN: [u8; 5] = [0x84, 0x49, 0xfa, 0x96, 0xaf];

/// Forwards bytes, and records the bytes of the client.
struct Recorder {
    address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::default();
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, Arc::clone(&kept)));
            }
        });
        Self { address, received }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn has_seen(&self, bytes: &[u8]) -> bool {
        let received = self.received.lock().unwrap();
        received.windows(bytes.len()).any(|part| part == bytes)
    }

    fn has_seen_anything(&self) -> bool {
        !self.received.lock().unwrap().is_empty()
    }
}

async fn pass(client: TcpStream, target: SocketAddr, kept: Arc<Mutex<Vec<u8>>>) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(target).await?.into_split();
    let forth = async {
        let mut piece = vec![0; 16 << 10];
        loop {
            let length = from_client.read(&mut piece).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            kept.lock().unwrap().extend_from_slice(&piece[..length]);
            to_server.write_all(&piece[..length]).await?;
        }
    };
    let back = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! {
        end = forth => end,
        end = back => end.map(drop),
    }
}

async fn advertising(binary: &Binary, url: &str) -> Etcd {
    let advertised = format!("--advertise-client-urls={url}");
    let etcd = Etcd::builder().binary(binary).args([advertised]);
    etcd.start().await.unwrap()
}

async fn connect(seed: &Recorder) -> Client {
    Client::builder()
        .endpoint(seed.endpoint())
        .timeout(DEADLINE)
        .auto_sync_interval(INTERVAL)
        .credentials("root", PASSWORD)
        .connect()
        .await
        .unwrap()
}

fn urls(client: &Client) -> Vec<String> {
    let endpoints = client.endpoints();
    endpoints.iter().map(|one| one.url().to_owned()).collect()
}

async fn check_that_no_secret_is_sent(binary: Binary, guarded: bool) {
    let other = Etcd::start(&binary).await.unwrap();
    if guarded {
        let _ = other.etcdctl(["role", "add", "root"]).await;
        other.etcdctl(["user", "add", "root:other"]).await.unwrap();
        other
            .etcdctl(["user", "grant-role", "root", "root"])
            .await
            .unwrap();
        other.etcdctl(["auth", "enable"]).await.unwrap();
    }
    let advertised = Recorder::before(other.client_address()).await;
    let own = advertising(&binary, &advertised.endpoint()).await;
    enable(&own).await;
    let seed = Recorder::before(own.client_address()).await;
    let client = connect(&seed).await;
    eventually("the client has connected to the other cluster", || async {
        advertised.has_seen_anything()
    })
    .await;
    for number in 0..100 {
        client.put("hush-k", number.to_string()).await.unwrap();
        tokio::time::sleep(INTERVAL / 10).await;
    }
    assert_eq!(urls(&client), [seed.endpoint()]);
    // The recorder of the own cluster shows that the search finds these bytes.
    assert!(seed.has_seen(&TOKEN) && seed.has_seen(PASSWORD.as_bytes()));
    assert!(
        !advertised.has_seen(&TOKEN),
        "the other cluster has received the token"
    );
    assert!(
        !advertised.has_seen(PASSWORD.as_bytes()),
        "the other cluster has received the password"
    );
    assert!(
        !advertised.has_seen(b"hush-"),
        "the other cluster has received a request"
    );

    // A handle of the member that advertises the address sends nothing there either.
    let list = client.list_members().await.unwrap();
    let member = client.member(list.members[0].id).await.unwrap();
    let error = member
        .put("hush-k", "hush-v")
        .timeout(Duration::from_secs(1));
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ClusterMismatch, "{error}");
    assert!(!advertised.has_seen(&TOKEN) && !advertised.has_seen(b"hush-"));
}

#[tokio::test]
async fn another_cluster_with_users_gets_no_secret() {
    each_binary(|binary| check_that_no_secret_is_sent(binary, true)).await;
}

#[tokio::test]
async fn another_cluster_without_users_gets_no_secret() {
    each_binary(|binary| check_that_no_secret_is_sent(binary, false)).await;
}

/// Without a token, versions differ in the method that gives their cluster ID.
#[tokio::test]
async fn a_member_that_requires_a_token_is_learned() {
    each_binary(|binary| async move {
        let target = Etcd::builder().binary(&binary);
        // The advertised address leads to the member itself.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let advertised = format!("http://{}", listener.local_addr().unwrap());
        let own = target.args([format!("--advertise-client-urls={advertised}")]);
        let own = own.start().await.unwrap();
        let address = own.client_address();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, address, Arc::default()));
            }
        });
        enable(&own).await;
        let seed = Recorder::before(address).await;
        let client = connect(&seed).await;
        eventually("the member is learned", || async {
            urls(&client) == [advertised.clone()]
        })
        .await;
        client.put("hush-k", "hush-v").await.unwrap();
        let list = client.list_members().await.unwrap();
        let member = client.member(list.members[0].id).await.unwrap();
        member.get("hush-k").await.unwrap();
    })
    .await;
}
