//! Free ports on the loopback.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Below the ports that systems give to outgoing connections: none of those can take the
/// port of a server that is down for a restart.
const RANGE: Range<u16> = 10_000..32_000;

/// The ports of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) peer: u16,
    /// Health and metrics, in plain text whatever the client port speaks.
    pub(crate) metrics: u16,
    /// The proxy before `peer`, if there is one.
    pub(crate) peer_proxy: Option<u16>,
}

impl Ports {
    /// Ports for so many servers, free just now.
    pub(crate) fn free(servers: usize) -> io::Result<Vec<Self>> {
        // All are held until all are there, so that none is given twice.
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

    /// The URL for the other members.
    pub(crate) fn peer_url(&self) -> String {
        let port = self.peer_proxy.unwrap_or(self.peer);
        format!("http://127.0.0.1:{port}")
    }
}

/// A port that nobody has, and that no server of this process ever had: one that is down for a
/// restart wants its own back, and would be taken for the one that has it meanwhile.
fn one() -> io::Result<(u16, TcpListener)> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    // Nothing that panics leaves it half done.
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
