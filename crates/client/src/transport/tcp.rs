//! The client's own byte streams: TCP and unix sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

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

/// Tries the addresses of the name one after the other; the name is resolved anew each time.
async fn connect_tcp(host: &str, port: u16, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut last = None;
    for address in tokio::net::lookup_host((host, port)).await? {
        match connect_address(address, bind).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
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
