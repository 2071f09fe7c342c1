//! The client's own byte streams: TCP and unix sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::connector::{ByteStream, Connecting, Connector};
use crate::endpoint::{Address, Endpoint};

/// Connects over TCP or a unix socket, as the endpoint says.
#[derive(Debug)]
pub(crate) struct SocketConnector {
    pub(crate) bind_address: Option<IpAddr>,
    pub(crate) nodelay: bool,
}

impl Connector for SocketConnector {
    fn connect(&self, endpoint: &Endpoint) -> Connecting {
        let (bind, nodelay) = (self.bind_address, self.nodelay);
        match endpoint.address().clone() {
            Address::Tcp { host, port } => Box::pin(async move {
                let stream = connect_tcp(&host, port, bind).await?;
                stream.set_nodelay(nodelay)?;
                Ok(Box::new(stream) as Box<dyn ByteStream>)
            }),
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

/// An address that has not answered after this time gets company by the next one.
///
/// Source: RFC 8305, section 5.
const HEAD_START: Duration = Duration::from_millis(250);

/// Tries the addresses of the name, which is resolved anew each time; the first that answers
/// wins. One that is silent takes nothing from the others but a head start.
async fn connect_tcp(host: &str, port: u16, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut addresses = tokio::net::lookup_host((host, port)).await?;
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
