//! Free ports on the loopback.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the range of ephemeral ports: no outgoing connection can take the port of a server that is
/// being restarted.
const RANGE: Range<u16> = 10_000..32_000;

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) peer: u16,
    /// Health and metrics, in plain text even if the client port has TLS.
    pub(crate) metrics: u16,
    /// The proxy before `peer`, if there is one.
    pub(crate) peer_proxy: Option<u16>,
}

impl Ports {
    /// Finds free ports for this number of servers.
    pub(crate) fn free(servers: usize) -> io::Result<Vec<Self>> {
        // All listeners are held until all ports are found, so that no port is returned twice.
        let mut held = Vec::new();
        let mut ports = Vec::new();
        for _ in 0..servers {
            let mut next = || {
                let (port, listener) = one()?;
                held.push(listener);
                io::Result::Ok(port)
            };
            ports.push(Self {
                client: next()?,
                peer: next()?,
                metrics: next()?,
                peer_proxy: None,
            });
        }
        Ok(ports)
    }

    /// Returns the URL for the other members.
    pub(crate) fn peer_url(&self) -> String {
        let port = self.peer_proxy.unwrap_or(self.peer);
        format!("http://127.0.0.1:{port}")
    }
}

/// Finds a free port that no server of this process has ever had: a server that is being restarted
/// needs its port, and clients would take another server there for it.
fn one() -> io::Result<(u16, TcpListener)> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    // A panic leaves the set consistent.
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let port = fastrand::u16(RANGE);
        if given.contains(&port) {
            continue;
        }
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            given.insert(port);
            return Ok((port, listener));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "found no free port on 127.0.0.1; are very many servers running?",
    ))
}
