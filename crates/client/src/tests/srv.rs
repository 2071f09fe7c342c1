//! Endpoints by DNS SRV records from a name server of the test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use simple_dns::rdata::{RData, SRV};
use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::peer::{Peers, serve_well};
use crate::{Client, Error, ErrorKind, Srv};

const PLAIN: &str = "_etcd-client._tcp.etcd.example";
const SECURE: &str = "_etcd-client-ssl._tcp.etcd.example";

/// A name server on the loopback; a name outside of its zone does not exist.
#[derive(Clone, Default)]
struct Dns {
    zone: Arc<Mutex<HashMap<String, Vec<String>>>>,
    /// Answers over UDP are marked as truncated.
    truncates: Arc<AtomicBool>,
    /// The server sends a forged answer before its own.
    forges: Arc<AtomicBool>,
    /// The server fails on questions for this name.
    broken: Arc<Mutex<Option<&'static str>>>,
    asked: Arc<AtomicUsize>,
}

impl Dns {
    fn with(self, name: &str, hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(ToString::to_string).collect();
        self.zone
            .lock()
            .expect("no panic")
            .insert(name.to_owned(), hosts);
        self
    }

    /// Serves over UDP and TCP on one port.
    async fn serve(&self) -> SocketAddr {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            let address = udp.local_addr().expect("an address");
            if let Ok(tcp) = TcpListener::bind(address).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("an address");
        let dns = self.clone();
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = udp.recv_from(&mut question).await {
                let question = &question[..length];
                if dns.forges.load(Ordering::Relaxed) {
                    let mut forged = question.to_vec();
                    forged[0] ^= 1;
                    let lie = Dns::default().with(PLAIN, &["evil:1"]);
                    let _ = udp.send_to(&lie.answer(&forged, false), from).await;
                }
                let truncated = dns.truncates.load(Ordering::Relaxed);
                let _ = udp.send_to(&dns.answer(question, truncated), from).await;
            }
        });
        let dns = self.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = stream.read_u16().await.expect("a question");
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await.expect("a question");
                let answer = dns.answer(&question, false);
                let length = u16::try_from(answer.len()).expect("small");
                let _ = stream.write_all(&length.to_be_bytes()).await;
                let _ = stream.write_all(&answer).await;
            }
        });
        address
    }

    fn answer(&self, question: &[u8], truncated: bool) -> Vec<u8> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let packet = Packet::parse(question).expect("a question");
        let name = packet.questions[0].qname.to_string();
        let zone = self.zone.lock().expect("no panic");
        let hosts = zone.get(&name).cloned();
        let mut reply = packet.into_reply();
        if self
            .broken
            .lock()
            .expect("no panic")
            .is_some_and(|broken| broken == name)
        {
            *reply.rcode_mut() = RCODE::ServerFailure;
        } else if truncated {
            reply.set_flags(PacketFlag::TRUNCATION);
        } else if let Some(hosts) = &hosts {
            for host in hosts {
                let (host, port) = host.split_once(':').expect("host:port");
                let srv = SRV {
                    priority: 0,
                    weight: 0,
                    port: port.parse().expect("a port"),
                    target: Name::new(host).expect("a name"),
                };
                let owner = Name::new(&name).expect("a name").into_owned();
                let record = ResourceRecord::new(owner, CLASS::IN, 60, RData::SRV(srv));
                reply.answers.push(record.into_owned());
            }
        } else {
            *reply.rcode_mut() = RCODE::NameError;
        }
        reply.build_bytes_vec().expect("an answer")
    }

    async fn connect(
        &self,
        peers: &Peers,
        change: impl FnOnce(Srv) -> Srv,
    ) -> Result<Client, Error> {
        let srv = change(Srv::new("etcd.example.").name_server(self.serve().await));
        let builder = Client::builder().connector(peers.clone()).srv(srv);
        builder.connect().await
    }
}

fn peers(urls: &[&str]) -> Peers {
    urls.iter().fold(Peers::default(), |peers, url| {
        peers.and(url, |_, stream| serve_well(stream))
    })
}

fn urls(client: &Client) -> Vec<String> {
    let endpoints = client.endpoints();
    let mut urls: Vec<String> = endpoints.iter().map(|one| one.url().to_owned()).collect();
    urls.sort();
    urls
}

#[tokio::test]
async fn endpoints_are_found() {
    let (one, two) = ("http://m1.etcd.example:2379", "http://m2.other:2380");
    let peers = peers(&[one, two]);
    let hosts = ["m1.etcd.example:2379", "m2.other:2380"];
    let dns = Dns::default().with(PLAIN, &hosts);
    let client = dns
        .connect(&peers, |srv| srv)
        .await
        .expect("the client connects");
    assert_eq!(urls(&client), [one, two]);
    client.put("k", "v").await.expect("an answer");

    dns.forges.store(true, Ordering::Relaxed);
    let client = dns
        .connect(&peers, |srv| srv)
        .await
        .expect("the client connects");
    assert_eq!(
        urls(&client),
        [one, two],
        "the client ignores a forged answer"
    );

    let asked = dns.asked.load(Ordering::Relaxed);
    dns.truncates.store(true, Ordering::Relaxed);
    let client = dns
        .connect(&peers, |srv| srv)
        .await
        .expect("the client connects");
    assert_eq!(urls(&client), [one, two], "by TCP");
    assert_eq!(dns.asked.load(Ordering::Relaxed), asked + 4);

    let named = Dns::default().with("_etcd-client-orders._tcp.etcd.example", &hosts);
    let client = named.connect(&peers, |srv| srv.service("orders")).await;
    assert_eq!(urls(&client.expect("the client connects")), [one, two]);
}

#[tokio::test]
async fn records_never_replace_https_by_http() {
    let plain = ["m1.etcd.example:2379"];
    let peers = peers(&["http://m1.etcd.example:2379"]);
    let refusal = async |dns: Dns| dns.connect(&peers, |srv| srv).await.expect_err("refused");
    // The zone has records of https, and the client cannot use them.
    let strange = Dns::default()
        .with(PLAIN, &plain)
        .with(SECURE, &["evil:2379"]);
    let error = refusal(strange.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().contains("not below etcd.example"),
        "{error}"
    );
    // The client cannot learn whether there are any.
    let broken = Dns::default().with(PLAIN, &plain);
    *broken.broken.lock().expect("no panic") = Some(SECURE);
    let error = refusal(broken).await;
    assert!(error.to_string().contains("ServerFailure"), "{error}");
    // The zone has records of neither kind.
    let error = refusal(Dns::default()).await;
    assert!(error.to_string().contains("there are none"), "{error}");
    #[cfg(feature = "tls")]
    {
        let dns = Dns::default().with(PLAIN, &plain);
        let srv = Srv::new("etcd.example").name_server(dns.serve().await);
        let builder = Client::builder().srv(srv).tls(crate::TlsConfig::new());
        let error = builder
            .connect()
            .await
            .expect_err("the client has no https endpoint");
        assert!(error.to_string().contains("is not https"), "{error}");
    }
}

#[tokio::test]
async fn a_lazy_client_does_not_look_records_up() {
    let builder = Client::builder().srv(Srv::new("etcd.example"));
    let error = builder
        .connect_lazy()
        .expect_err("a lazy client cannot look records up");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn records_are_looked_up_again_when_no_endpoint_can_be_reached() {
    let down = Arc::new(AtomicBool::new(false));
    let script = Arc::clone(&down);
    let peers = peers(&["http://new:1"]).and("http://old:1", move |_, stream| {
        let down = Arc::clone(&script);
        async move {
            let dies = async {
                while !down.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                biased;
                () = dies => {}
                () = serve_well(stream) => {}
            }
        }
    });
    let dns = Dns::default().with(PLAIN, &["old:1"]);
    let client = dns
        .connect(&peers, |srv| srv)
        .await
        .expect("the client connects");
    client.get("k").await.expect("an answer");
    let dns = dns.with(PLAIN, &["new:1"]);
    assert_eq!(urls(&client), ["http://old:1"]);
    down.store(true, Ordering::Relaxed);
    let found = async {
        while urls(&client) != ["http://new:1", "http://old:1"] {
            // The client connects only if a call needs a connection.
            let _ = client.get("k").timeout(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(30), found).await;
    found.expect("the records are looked up again");
    let get = client.get("k").timeout(Duration::from_secs(30));
    get.await.expect("the new endpoint answers");
    drop(dns);
}
