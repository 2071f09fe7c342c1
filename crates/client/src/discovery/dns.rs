//! DNS queries for SRV records: over UDP, and over TCP when the answer is too large.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::records::{self, Target};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind};
use crate::srv::Srv;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long one server may take for one answer, and how often each server is asked.
///
/// Source: resolv.conf(5); the time is shorter than its default.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// Size of the receive buffer. RFC 1035 limits an answer over UDP to 512 bytes; some servers send
/// more.
const RECEIVE_BUFFER: usize = 4 << 10;

/// Returns the endpoints of a domain.
pub(crate) async fn lookup(srv: &Srv, only_https: bool) -> Result<Vec<Endpoint>, Error> {
    let name = |secure| records::name(&srv.domain, srv.service.as_deref(), secure);
    let (secure_name, plain_name) = (name(true), name(false));
    let servers = servers(srv).map_err(|cause| failed(&srv.domain, cause))?;
    let (secure, plain) = tokio::join!(ask(&servers, &secure_name), ask(&servers, &plain_name));
    // INVARIANT: without an answer about https, http is not used. Otherwise an attacker who can
    // hold an answer back could make the client connect without TLS.
    let secure = secure.map_err(|cause| failed(&secure_name, cause))?;
    let plain = match plain {
        Ok(plain) => plain,
        Err(_) if !secure.is_empty() => Vec::new(),
        Err(cause) => return Err(failed(&plain_name, cause)),
    };
    let (endpoints, left_out) =
        records::endpoints(&srv.domain, srv.any_host, only_https, &secure, &plain);
    for why in &left_out {
        tracing::warn!(target: "etcdex", %why, "an endpoint of DNS is left out");
    }
    if endpoints.is_empty() {
        let why = match left_out.first() {
            Some(why) => format!("none can be used: {why}"),
            None => "there are none".to_owned(),
        };
        let message = format!("the SRV records {secure_name} and {plain_name}: {why}");
        return Err(Error::new(ErrorKind::Unavailable, message));
    }
    Ok(endpoints)
}

fn failed(name: &str, cause: io::Error) -> Error {
    let message = format!("cannot look up the SRV records of {name}: {cause}");
    Error::new(ErrorKind::Unavailable, message).with_source(cause)
}

fn servers(srv: &Srv) -> io::Result<Vec<SocketAddr>> {
    if !srv.name_servers.is_empty() {
        return Ok(srv.name_servers.clone());
    }
    let text = std::fs::read(RESOLV_CONF).map_err(|cause| {
        let what = format!("{RESOLV_CONF}: {cause} (give a name_server)");
        io::Error::new(cause.kind(), what)
    })?;
    let config = resolv_conf::Config::parse(text).map_err(io::Error::other)?;
    let servers = config.nameservers.into_iter();
    let servers: Vec<_> = servers.map(|ip| (IpAddr::from(ip), 53).into()).collect();
    match servers.is_empty() {
        // The default of the system's resolver.
        true => Ok(vec![([127, 0, 0, 1], 53).into()]),
        false => Ok(servers),
    }
}

/// Asks the servers in turn until one has answered.
async fn ask(servers: &[SocketAddr], name: &str) -> io::Result<Vec<Target>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no name server");
    for server in servers.iter().cycle().take(servers.len() * ATTEMPTS) {
        last = match timeout(TIMEOUT, exchange(*server, name)).await {
            Ok(Ok(targets)) => return Ok(targets),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{server} does not answer within {TIMEOUT:?}"),
            ),
        };
    }
    Err(last)
}

async fn exchange(server: SocketAddr, name: &str) -> io::Result<Vec<Target>> {
    // The ID must be hard to guess: the keys of the hash are from the system's source of
    // randomness.
    #[allow(clippy::cast_possible_truncation, reason = "any 16 bits will do")]
    let id = RandomState::new().build_hasher().finish() as u16;
    let question = question(id, name)?;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => [0, 0, 0, 0].into(),
        SocketAddr::V6(_) => [0_u16; 8].into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // From now on, the socket receives only from that server.
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut answer = vec![0; RECEIVE_BUFFER];
    loop {
        let length = socket.recv(&mut answer).await?;
        match read(&answer[..length], id, name)? {
            Reply::Targets(targets) => return Ok(targets),
            Reply::Truncated => break,
            // The datagram is late or forged: the answer may still come.
            Reply::Other => {}
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&question).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match read(&answer, id, name)? {
        Reply::Targets(targets) => Ok(targets),
        Reply::Truncated | Reply::Other => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the name server has answered another question",
        )),
    }
}

fn question(id: u16, name: &str) -> io::Result<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(io::Error::other)?;
    let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
    packet
        .questions
        .push(Question::new(name, kind, class, false));
    packet.build_bytes_vec().map_err(io::Error::other)
}

enum Reply {
    Targets(Vec<Target>),
    /// The answer is larger than a datagram.
    Truncated,
    /// The message does not answer the question.
    Other,
}

fn read(bytes: &[u8], id: u16, name: &str) -> io::Result<Reply> {
    let asked = Name::new(name).map_err(io::Error::other)?;
    let Ok(packet) = Packet::parse(bytes) else {
        return Ok(Reply::Other);
    };
    let same = |question: &Question<'_>| same(&question.qname, &asked);
    if packet.id() != id
        || !packet.has_flags(PacketFlag::RESPONSE)
        || !packet.questions.iter().all(same)
    {
        return Ok(Reply::Other);
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Ok(Reply::Truncated);
    }
    match packet.rcode() {
        RCODE::NoError => {}
        // The name does not exist, so it has no records.
        RCODE::NameError => return Ok(Reply::Targets(Vec::new())),
        code => {
            return Err(io::Error::other(format!(
                "the name server answers {code:?}"
            )));
        }
    }
    let targets = packet
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::SRV(srv) => Some(Target {
                host: srv.target.to_string(),
                port: srv.port,
            }),
            // A record on the way to the SRV records, such as a CNAME.
            _ => None,
        });
    Ok(Reply::Targets(targets.collect()))
}

fn same(one: &Name<'_>, other: &Name<'_>) -> bool {
    let text = |name: &Name<'_>| name.to_string().to_ascii_lowercase();
    text(one) == text(other)
}
