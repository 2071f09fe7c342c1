//! The client's own byte streams: TCP and unix sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::connector::{ByteStream, ConnectFuture, Connector};
use crate::endpoint::{Address, Endpoint};

/// Connects over TCP or a unix socket, as the endpoint says.
pub(crate) struct SocketConnector {
    bind_address: Option<IpAddr>,
    nodelay: bool,
    resolve: Resolve,
}

/// Resolves a name and a port to addresses. Tests replace the system's resolver.
type Resolve = Arc<dyn Fn(String, u16) -> Resolving + Send + Sync>;
type Resolving = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

impl SocketConnector {
    pub(crate) fn new(bind_address: Option<IpAddr>, nodelay: bool) -> Self {
        Self {
            bind_address,
            nodelay,
            resolve: Arc::new(|host, port| {
                Box::pin(async move {
                    let addresses = tokio::net::lookup_host((host, port)).await?;
                    Ok(addresses.collect())
                })
            }),
        }
    }
}

impl Connector for SocketConnector {
    fn connect(&self, endpoint: &Endpoint) -> ConnectFuture {
        let (bind, nodelay) = (self.bind_address, self.nodelay);
        match endpoint.address().clone() {
            Address::Tcp { host, port } => {
                // INVARIANT: a name is resolved again for each connection. A member that has moved is
                // found as soon as its name has the new address.
                let resolving = (self.resolve)(host, port);
                Box::pin(async move {
                    let stream = connect_tcp(resolving.await?, bind).await?;
                    stream.set_nodelay(nodelay)?;
                    Ok(Box::new(stream) as Box<dyn ByteStream>)
                })
            }
            #[cfg(unix)]
            Address::Unix(path) => Box::pin(async move {
                let stream = tokio::net::UnixStream::connect(path).await?;
                Ok(Box::new(stream) as Box<dyn ByteStream>)
            }),
            #[cfg(not(unix))]
            Address::Unix(_) => Box::pin(async {
                Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "this system has no unix sockets",
                ))
            }),
        }
    }
}

/// If an address has not answered after this time, the next one is tried at the same time.
///
/// Source: RFC 8305, section 5.
const HEAD_START: Duration = Duration::from_millis(250);

/// Tries the addresses of a name; the first that answers is used. An address that is silent delays
/// the next one by no more than that time.
async fn connect_tcp(addresses: Vec<SocketAddr>, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        let more = match addresses.next() {
            Some(address) => {
                attempts.spawn(connect_address(address, bind));
                true
            }
            None => false,
        };
        let head_start = async {
            match more {
                true => tokio::time::sleep(HEAD_START).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            attempt = attempts.join_next() => match attempt {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None => return Err(last),
            },
            () = head_start => {}
        }
    }
}

async fn connect_address(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(local) = bind.filter(|local| local.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::endpoint::Endpoint;

    /// A server that says its name.
    async fn server(name: u8) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.writable().await;
                let _ = stream.try_write(&[name]);
            }
        });
        address
    }

    #[tokio::test]
    async fn a_name_is_resolved_anew_for_each_connection() {
        let (one, other) = (server(1).await, server(2).await);
        let nobody = {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
            listener.local_addr().expect("an address")
        };
        let zone = Arc::new(Mutex::new(vec![one]));
        let asked = Arc::clone(&zone);
        let connector = SocketConnector {
            resolve: Arc::new(move |host, port| {
                assert_eq!((host.as_str(), port), ("etcd.example", 2379));
                let answer = asked.lock().expect("no panic").clone();
                Box::pin(async move { Ok(answer) })
            }),
            ..SocketConnector::new(None, true)
        };
        let endpoint: Endpoint = "http://etcd.example".parse().expect("a URL");
        let met = async || -> io::Result<u8> {
            let mut stream = connector.connect(&endpoint).await?;
            let mut name = [0];
            stream.read_exact(&mut name).await?;
            Ok(name[0])
        };
        assert_eq!(met().await.expect("it connects"), 1);
        // The member has moved, and one of its addresses is an old one.
        *zone.lock().expect("no panic") = vec![nobody, other];
        assert_eq!(met().await.expect("it connects"), 2);
        zone.lock().expect("no panic").clear();
        let error = met().await.expect_err("it has no address");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
