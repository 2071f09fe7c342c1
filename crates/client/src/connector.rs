//! What supplies the byte stream below HTTP/2.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::endpoint::Endpoint;

/// A byte stream in both directions.
///
/// Every type with these bounds is one: a socket, a TLS session, one half of
/// `tokio::io::duplex`.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// The future of a byte stream.
pub type ConnectFuture =
    Pin<Box<dyn Future<Output = io::Result<Box<dyn ByteStream>>> + Send + 'static>>;

/// Opens the byte stream to an endpoint.
///
/// The client brings one for TCP and unix sockets. Bring your own to go through a proxy, to
/// run in a simulator, or to see every byte. It is called again for each reconnect; the client
/// puts a limit of `connect_timeout` around it and drops the future when that is over.
///
/// The client tells requests that never left from those that may have by what the stream's
/// `poll_write` returns: bytes that it has taken may have left, and those of a write that fails,
/// too. While it returns `Poll::Pending` it must have taken none.
///
/// It gives plain bytes: where the endpoint is `https`, the client speaks TLS over them. One
/// that speaks TLS by itself belongs to an `http` endpoint.
///
/// ```
/// use etcdex::{Address, ByteStream, ConnectFuture, Connector, Endpoint};
///
/// /// Goes to one fixed address, whatever the endpoint says.
/// struct Tunnel;
///
/// impl Connector for Tunnel {
///     fn connect(&self, _endpoint: &Endpoint) -> ConnectFuture {
///         Box::pin(async {
///             let socket = tokio::net::TcpStream::connect("127.0.0.1:2379").await?;
///             Ok(Box::new(socket) as Box<dyn ByteStream>)
///         })
///     }
/// }
/// ```
pub trait Connector: Send + Sync + 'static {
    /// Starts to connect to `endpoint`.
    fn connect(&self, endpoint: &Endpoint) -> ConnectFuture;
}
